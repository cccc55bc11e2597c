//! What a client sees of a parked submit: an id of ours in the place of a refusal, and what its polls and reports hear.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::{Instant, timeout};

use super::admit::Admitted;
use super::call::Call;
use super::choose::pool_now;
use super::poll::task_key;
use super::refuse::Refusal;
use super::respond::Outcome;
use super::submit::STORE_PATIENCE;
use super::{Server, clock};
use crate::config::settings::{Submit as Rules, WhenBusy, WhenEmpty};
use crate::live::Snapshot;
use crate::replicas::News;
use crate::store::{Claim, Lack, OwnId, ParkedRecord, ParkedRequest, ParkedState, StoreError};
use crate::tasks::kind;
use crate::wire::{self, Endpoint};

/// The refusal of a submit that must go behind those that are parked for want of the same.
pub(super) fn behind(server: &Server, snapshot: &Snapshot, admitted: &Admitted) -> Option<Refusal> {
    let rules = &snapshot.settings.submit;
    if !rules.parks() || !may_be_parked(admitted) {
        return None;
    }
    let pool = pool_now(server, snapshot, &admitted.tenant);
    let lacks = server.parked.lacks(waits_for(server, snapshot, pool))?;
    // Nobody is parked now, and those that are cannot be sent: a disk in trouble must not stop submits that have a key.
    if !server.store.health().writing {
        return None;
    }
    rules.parks_for(lacks).then_some(match lacks {
        Lack::Key => Refusal::AllBusy,
        Lack::Money => Refusal::AllEmpty,
    })
}

/// Whether a parked submit is served from this pool. Of a tenant that has left the file nobody knows: its submits wait for
/// it to come back, or to their end.
///
/// Which pool a tenant has may take the locks of all its own keys, so it is asked here, once for each tenant. What is
/// returned borrows nothing, so it cannot ask again: it is called for up to `park_max` rows, under the lock of the queue.
pub(super) fn waits_for(
    server: &Server,
    snapshot: &Snapshot,
    pool: &str,
) -> impl Fn(&ParkedRecord) -> bool + use<> {
    let is_served = |name: &Arc<str>| {
        let tenant = snapshot.tenants.by_name(name);
        tenant.is_some_and(|tenant| &**pool_now(server, snapshot, tenant) == pool)
    };
    let all = server.parked.all_tenants().into_iter();
    let tenants: HashSet<Arc<str>> = all.filter(is_served).collect();
    let profile = Arc::clone(&snapshot.profile_name);
    move |record| record.profile == profile && tenants.contains(&record.tenant)
}

/// Parks a submit that was refused because nothing is usable, where that is configured and there is room.
pub(super) async fn instead(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    claim: Option<Claim>,
    refusal: &Refusal,
) -> Option<OwnId> {
    let lacks = what_lacks(refusal)?;
    if !snapshot.settings.submit.parks_for(lacks) || !may_be_parked(admitted) {
        return None;
    }
    park(server, snapshot, admitted, claim, lacks).await
}

/// None: no room, or the store does not write. What is only in memory is no promise, and nothing was paid yet.
async fn park(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    claim: Option<Claim>,
    lacks: Lack,
) -> Option<OwnId> {
    // SECURITY: while the disk stands still, requests would pile up in the store's queue.
    if !server.store.health().writing {
        return None;
    }
    let request = request(admitted);
    // A request of as many fields as are read has no room for a key that it did not have.
    wire::read(Endpoint::Submit, request.parts()).ok()?;
    let now_ms = clock::now_ms();
    let id = server.store.next_own_id();
    let record = ParkedRecord {
        id,
        profile: Arc::clone(&snapshot.profile_name),
        tenant: Arc::clone(&admitted.tenant.name),
        project: admitted.project.clone(),
        kind: kind::of(admitted.request.message.fields()).into(),
        lacks,
        state: ParkedState::Waiting,
        bytes: request.bytes(),
        parked_at_ms: now_ms,
        used_at_ms: now_ms,
    };
    let most = snapshot.settings.submit.park_max;
    if !server.parked.add(record.clone(), most, Instant::now()) {
        return None;
    }
    let (number, written) = server.store.park(record, request, claim);
    let is_durable = matches!(timeout(STORE_PATIENCE, written).await, Ok(Ok(_)));
    if is_durable && server.parked.ready(id) {
        return Some(id);
    }
    if is_durable {
        tracing::info!(parked = %id, "a submit was refused: while it was parked it was cancelled, or its time was over");
    } else {
        server.metrics.store_error();
        tracing::error!("the store is in trouble, a submit was refused and not parked");
        server.parked.cancel(id, Instant::now(), clock::now_ms());
    }
    if claim.is_some() {
        server.store.forget(number);
    }
    None
}

/// With an empty key in the place of the client's own, so that the real one goes where a legacy client has it. A token
/// identifies a tenant and is stored nowhere.
fn request(admitted: &Admitted) -> ParkedRequest {
    let emptied = admitted.request.message.with_key(b"");
    ParkedRequest {
        post: admitted.request.message.parts().post,
        query: emptied.query,
        content_type: emptied.content_type,
        user_agent: admitted.request.user_agent.clone(),
        body: match &*emptied.body {
            [whole] => whole.clone(),
            pieces => pieces.concat().into(),
        },
    }
}

/// solve.php has no id to wait with. A pingback would tell the vendor's id to a client that only ever heard ours.
fn may_be_parked(admitted: &Admitted) -> bool {
    admitted.request.endpoint == Endpoint::Submit && !admitted.request.message.fields().pingback
}

fn what_lacks(refusal: &Refusal) -> Option<Lack> {
    match refusal {
        Refusal::AllBusy | Refusal::NoSlot(_) | Refusal::VendorUnreachable => Some(Lack::Key),
        Refusal::AllEmpty => Some(Lack::Money),
        _ => None,
    }
}

impl Rules {
    fn parks(&self) -> bool {
        self.parks_for(Lack::Key) || self.parks_for(Lack::Money)
    }

    fn parks_for(&self, lacks: Lack) -> bool {
        match lacks {
            Lack::Key => self.when_busy == WhenBusy::Park,
            Lack::Money => self.when_empty == WhenEmpty::Park,
        }
    }
}

/// A call about a task of ours becomes one about the vendor's task, and the stages behind this know nothing of parking. While
/// there is no task at the vendor, the answer is given here: no vendor is ever asked for an id of ours.
pub(super) async fn resolve(
    server: &Server,
    snapshot: &Snapshot,
    mut admitted: Admitted,
) -> Result<Admitted, Outcome> {
    let Some(id) = admitted.request.call.task_id() else {
        return Ok(admitted);
    };
    let task = match name(server, snapshot, &admitted, id).await {
        Name::Task(Cow::Borrowed(_)) => return Ok(admitted),
        Name::Task(Cow::Owned(task)) => task,
        Name::Said(said) => {
            return Err(match &admitted.request.call {
                Call::Report { .. } => of_report(said),
                _ => said,
            });
        }
    };
    let parts = admitted.request.message.parts();
    let message = wire::renamed(admitted.request.endpoint, parts, id, &task)
        .map_err(|why| Outcome::Refused(Refusal::BadParameters(why)))?;
    admitted.request.message = Box::new(message);
    let (Call::Poll { id } | Call::Report { id } | Call::TaskAction { id }) =
        &mut admitted.request.call
    else {
        return Ok(admitted);
    };
    *id = task;
    Ok(admitted)
}

/// What a client's id stands for.
pub(super) enum Name<'a> {
    /// The vendor's id.
    Task(Cow<'a, str>),
    /// There is no task at the vendor.
    Said(Outcome),
}

/// Answers are passed on as they are: none repeats the id that was asked for.
pub(super) async fn name<'a>(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    id: &'a str,
) -> Name<'a> {
    let Some(own) = OwnId::parse(id) else {
        return Name::Task(Cow::Borrowed(id));
    };
    let (keep, now, now_ms) = (snapshot.settings.poll.keep, Instant::now(), clock::now_ms());
    let found = server
        .parked
        .find(own, &admitted.tenant.name, keep, now, now_ms)
        .await;
    // The replica where it waits must not take it for one that nobody polls.
    if matches!(found, Ok(Some(ParkedState::Waiting | ParkedState::Sending)))
        && server.replicas.are_there()
        && !server.parked.is_here(own)
    {
        server.replicas.tell(News::Polled { parked: own.0 });
    }
    Name::Said(match found {
        Ok(Some(ParkedState::Submitted(task))) => return Name::Task(Cow::Owned(task.to_string())),
        Ok(Some(ParkedState::Waiting | ParkedState::Sending)) => Outcome::NotReady,
        Ok(Some(ParkedState::Uncertain)) => Outcome::Refused(Refusal::Uncertain),
        Ok(Some(ParkedState::Refused(code))) => Outcome::Code(code.as_ref().to_owned()),
        Ok(Some(ParkedState::Unsent(why))) => Outcome::Refused(Refusal::Unsent(why)),
        // A vendor may count where we do. Nobody else is asked: then no vendor ever hears an id of ours.
        Ok(None) => {
            let key = task_key(snapshot, admitted, id);
            match server.tasks.find(&key, now, now_ms).await {
                Ok(Some(_)) => return Name::Task(Cow::Borrowed(id)),
                Ok(None) => Outcome::Refused(Refusal::UnknownTask),
                Err(error) => unreadable(server, &error),
            }
        }
        Err(error) => unreadable(server, &error),
    })
}

fn unreadable(server: &Server, error: &StoreError) -> Outcome {
    tracing::error!(%error, "a parked submit could not be looked up");
    server.metrics.store_error();
    Outcome::Refused(Refusal::PollTrouble)
}

/// The vendor's own word for a report that counts for nothing: there is no answer that it could be about.
fn of_report(said: Outcome) -> Outcome {
    match said {
        Outcome::Refused(Refusal::PollTrouble) => Outcome::Refused(Refusal::VendorTrouble),
        Outcome::Refused(Refusal::UnknownTask) => said,
        _ => Outcome::Code("ERROR_REPORT_NOT_RECORDED".to_owned()),
    }
}
