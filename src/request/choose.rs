//! The key for one try of a submit, waited for as long as the configuration allows, in order of arrival.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Server;
use super::refuse::Refusal;
use crate::config::settings::WhenBusy;
use crate::keys::account::Slot;
use crate::keys::egress::Egress;
use crate::keys::health::Condition;
use crate::keys::key::Key;
use crate::keys::pool::NoKey;
use crate::live::Snapshot;
use crate::tenants::{Pools, Tenant};

/// At a start the first submits wait for the first round of probes, so that a thousand processes that submit once spread
/// over all their keys and not over the one that is proven first. Half a second buys some ten probes.
pub(super) const LEARNING: Duration = Duration::from_millis(500);

pub(super) async fn choose(
    server: &Server,
    snapshot: &Snapshot,
    tenant: &Tenant,
    wait_until: Instant,
    deadline: Instant,
) -> Result<(Arc<Key>, Slot), Refusal> {
    // An error is the end of the time, and then what was learnt so far has to do.
    let _ = timeout_at(server.started + LEARNING, server.prober.has_learnt()).await;
    let line = server.lines.of(tenant.first_pool());
    let waits = snapshot.settings.submit.when_busy == WhenBusy::Wait;
    let (mut front, mut gave_up) = (None, false);
    loop {
        // Nobody overtakes those who wait.
        if waits && front.is_none() && !gave_up && !line.is_empty() {
            front = Arc::clone(&line).join(&tenant.name, wait_until).await;
            gave_up = front.is_none();
        }
        // Before the look at the keys, so that no news is missed between the two.
        let events = snapshot.keys.events();
        let (news, freed) = (events.next(), events.next_freed());
        tokio::pin!(news, freed);
        news.as_mut().enable();
        freed.as_mut().enable();
        let something = async {
            tokio::select! {
                () = news => {}
                () = freed => {}
            }
        };
        let outage = server.outage.open_until();
        let none = match outage {
            Some(until) => NoKey::Busy { until },
            None => match pick(snapshot, tenant, &server.egress, Instant::now()) {
                Ok(chosen) => return Ok(chosen),
                Err(none) => none,
            },
        };
        let (until, refusal) = match none {
            NoKey::None => return Err(Refusal::NoKey),
            NoKey::Empty => return Err(Refusal::AllEmpty),
            NoKey::Learning => {
                // Not a busy pool but one that is just being learnt, so this waits as long as a submit may.
                if timeout_at(deadline, something).await.is_err() {
                    return Err(Refusal::AllBusy);
                }
                continue;
            }
            NoKey::Busy { until } if outage.is_some() => (until, Refusal::VendorUnreachable),
            NoKey::Busy { until } => (until, Refusal::AllBusy),
            NoKey::Full { until: Some(until) } => (until.min(wait_until), Refusal::AllBusy),
            NoKey::Full { until: None } => (wait_until, no_slot(snapshot)),
        };
        if !waits || gave_up || until > wait_until || Instant::now() >= wait_until {
            return Err(match refusal {
                Refusal::AllBusy if server.egress.banned_until(Instant::now()).is_none() => {
                    why_resting(snapshot, tenant)
                }
                refusal => refusal,
            });
        }
        if front.is_some() {
            // At that time, or when something brings a key back earlier.
            let _ = timeout_at(until, something).await;
        } else {
            front = Arc::clone(&line).join(&tenant.name, wait_until).await;
            gave_up = front.is_none();
        }
    }
}

/// From the tenant's own keys, or from those that it shares.
fn pick(
    snapshot: &Snapshot,
    tenant: &Tenant,
    egress: &Egress,
    now: Instant,
) -> Result<(Arc<Key>, Slot), NoKey> {
    let keys = &snapshot.keys;
    let from = |pool: &str| {
        let pool = keys.pool(pool).ok_or(NoKey::None)?;
        pool.choose(egress, keys.events(), now)
    };
    match &tenant.pools {
        Pools::Shared(pool) => from(pool),
        Pools::Own {
            pool,
            fallback,
            fallback_when_empty,
        } => match (from(pool), fallback) {
            (Err(NoKey::None), Some(fallback)) if keys.has_none(pool) => from(fallback),
            (Err(NoKey::Empty), Some(fallback)) if *fallback_when_empty => from(fallback),
            (own, _) => own,
        },
    }
}

/// Keys that all rest because the vendor had no slot for them are as full as those whose slots we count ourselves.
fn why_resting(snapshot: &Snapshot, tenant: &Tenant) -> Refusal {
    let (now, profile) = (Instant::now(), &snapshot.settings.vendor.profile);
    let mut resting = snapshot
        .keys
        .in_pool(tenant.first_pool())
        .filter_map(|key| {
            key.look(|health| {
                let cools = health.condition(now) == Condition::Cooling && !health.is_disabled();
                cools.then(|| health.describe(now).why.unwrap_or_default())
            })
        });
    match resting.next() {
        Some(first)
            if profile.is_no_slot(&first) && resting.all(|code| profile.is_no_slot(&code)) =>
        {
            no_slot(snapshot)
        }
        _ => Refusal::AllBusy,
    }
}

fn no_slot(snapshot: &Snapshot) -> Refusal {
    let code = snapshot.settings.vendor.profile.no_slot_json.as_str();
    Refusal::NoSlot(code.into())
}
