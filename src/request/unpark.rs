//! Sends parked submits, in the order of their arrival, once a key is usable again.
//!
//! Each goes the way of every other submit (`submit`), only that no client is there: what comes of it stands with the
//! parked submit, whose polls hear it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::admit::Admitted;
use super::choose::{TakenSlot, choose, pool_now};
use super::park::waits_for;
use super::refuse::Refusal;
use super::submit::late::Late;
use super::submit::{Ended, Made, Submitting};
use super::trace::Trace;
use super::{Server, clock};
use crate::keys::key::Key;
use crate::listen::body::HeldBody;
use crate::live::Snapshot;
use crate::store::{self, ParkedRecord, ParkedRequest};
use crate::tasks::parked::Taken;
use crate::tenants::Tenant;
use crate::wire::{self, Endpoint};

/// How late it may be noticed that one has to end, and that a key is there of which no news came.
const LOOK: Duration = Duration::from_secs(1);

pub async fn run(server: Arc<Server>) {
    let for_ever = async {
        let mut next_end = Instant::now();
        loop {
            round(&server, &mut next_end).await;
        }
    };
    tokio::select! {
        () = for_ever => {}
        () = server.background.stopping() => {}
    }
}

/// One look, and the pause until the next is worth it.
async fn round(server: &Arc<Server>, next_end: &mut Instant) {
    let parked = &server.parked;
    let changed = parked.changed();
    tokio::pin!(changed);
    changed.as_mut().enable();
    if parked.count() == 0 {
        changed.await;
        return;
    }
    let snapshot = server.live.load();
    let now = Instant::now();
    // All are looked through: not for each one that is sent.
    if *next_end <= now {
        *next_end = now + LOOK;
        end_due(server, &snapshot, now);
    }
    let mut pools: Vec<(&Arc<str>, &Tenant)> = Vec::new();
    let waiting = parked.tenants(&snapshot.profile_name, now);
    for tenant in waiting
        .iter()
        .filter_map(|name| snapshot.tenants.by_name(name))
    {
        let pool = pool_now(server, &snapshot, tenant);
        if pools.iter().all(|(other, _)| *other != pool) {
            pools.push((pool, tenant));
        }
    }
    // While the store does not write none can be sent, and each try would take a slot from those who can.
    if pools.is_empty() || !server.store.health().writing {
        let _ = timeout(LOOK, changed).await;
        return;
    }
    // Before the look at the keys, so that no news is missed between the two.
    let events = snapshot.keys.events();
    let (news, freed) = (events.next(), events.next_freed());
    tokio::pin!(news, freed);
    news.as_mut().enable();
    freed.as_mut().enable();
    let mut has_sent = false;
    for (_, tenant) in pools {
        let until = Instant::now() + LOOK;
        match choose(server, &snapshot, tenant, true, until, until).await {
            Ok(chosen) => {
                send(server, &snapshot, chosen).await;
                has_sent = true;
            }
            Err(Refusal::AllEmpty) => parked.out_of_money(),
            Err(_) => {}
        }
    }
    if !has_sent {
        tokio::select! {
            () = news => {}
            () = freed => {}
            () = sleep(LOOK) => {}
        }
    }
}

fn end_due(server: &Server, snapshot: &Snapshot, now: Instant) {
    let park_for = snapshot.settings.submit.park_for;
    let ended = server.parked.end_due(park_for, now, clock::now_ms());
    if ended > 0 {
        tracing::warn!(
            submits = ended,
            "parked submits ended unsent: submit.park_for is over, or nobody polls them"
        );
    }
}

/// The next one of those that are served from the pool of this key.
async fn send(server: &Arc<Server>, snapshot: &Arc<Snapshot>, chosen: (Arc<Key>, TakenSlot)) {
    let pool = &chosen.1.pool;
    let among = waits_for(server, snapshot, pool);
    let Some(mut taken) = server.parked.take(among, Instant::now()) else {
        return;
    };
    let id = taken.record.id;
    let request = match store::in_time(server.store.parked_request(id)).await {
        Ok(Some(request)) => request,
        Ok(None) => {
            tracing::error!(parked = %id, "the request of a parked submit is not in the store");
            taken.refused(
                Refusal::Internal.code().into(),
                Instant::now(),
                clock::now_ms(),
            );
            return;
        }
        Err(_) => {
            server.metrics.store_error();
            taken.back(Instant::now());
            return;
        }
    };
    // Its share of the bodies in flight, as any other submit.
    let Some(held) = HeldBody::of(request.body.clone(), &server.bodies) else {
        taken.back(Instant::now());
        return;
    };
    let Some(admitted) = admitted(snapshot, &taken.record, request, held) else {
        tracing::error!(parked = %id, "a parked submit cannot be read any more");
        taken.refused(
            Refusal::Internal.code().into(),
            Instant::now(),
            clock::now_ms(),
        );
        return;
    };
    let own = taken.record.key();
    // What it reserved when it was parked. None: whoever parked it is about to say so.
    let Some(reservation) = server.tenants.of(&own.tenant).unpark(&own) else {
        return;
    };
    let work = Submitting {
        reservation,
        server: Arc::clone(server),
        snapshot: Arc::clone(snapshot),
        admitted,
        claim: None,
        left: CancellationToken::new(),
        parked: Some(id),
    };
    taken.leaves();
    server.background.spawn(async move {
        let mut trace = Trace::own();
        let ended = work.tries(Some(chosen), &mut trace).await;
        if ended
            .as_ref()
            .is_none_or(|ended| matches!(ended.made, Made::Nothing))
        {
            work.reservation.park(own);
        }
        if let Some(late) = settle(taken, ended) {
            work.hear_late(late, None).await;
        }
    });
}

/// What was admitted when it was parked.
fn admitted(
    snapshot: &Snapshot,
    record: &ParkedRecord,
    request: ParkedRequest,
    held: HeldBody,
) -> Option<Admitted> {
    let tenant = snapshot.tenants.by_name(&record.tenant)?;
    let message = wire::read(Endpoint::Submit, request.parts()).ok()?;
    Some(Admitted::parked(
        message,
        request.user_agent,
        Arc::clone(tenant),
        record.project.clone(),
        held,
    ))
}

/// What its clients hear from now on. Its answer may still come late, which then stands in the uncertain list.
fn settle<'a>(taken: Taken, ended: Option<Ended<'a>>) -> Option<Box<Late<'a>>> {
    let (id, now) = (taken.record.id, Instant::now());
    let Some(Ended { made, late, .. }) = ended else {
        taken.back(now);
        return None;
    };
    match made {
        Made::Task(task) => {
            tracing::info!(parked = %id, task = %task, "a parked submit was accepted");
            taken.submitted(task, now);
        }
        // in.php gives ids: an answer without one tells nothing about a task.
        Made::Answer | Made::Perhaps => taken.uncertain(now),
        Made::Refused(code) => {
            tracing::info!(parked = %id, %code, "a parked submit was refused");
            taken.refused(code, now, clock::now_ms());
        }
        Made::Elsewhere => {
            tracing::info!(parked = %id, "a parked submit is sent by another replica");
            taken.elsewhere(now);
        }
        Made::Nothing => taken.back(now),
    }
    late
}
