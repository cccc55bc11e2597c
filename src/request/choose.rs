//! The key for one try of a submit, waited if it is to wait, in order of arrival.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Server;
use super::line::Taking;
use super::refuse::Refusal;
use super::room::{LOOK_EVERY, Slots, Standing};
use crate::keys::account::Slot;
use crate::keys::egress::Egress;
use crate::keys::health::Condition;
use crate::keys::key::Key;
use crate::keys::pool::NoKey;
use crate::live::Snapshot;
use crate::store::TaskKey;
use crate::tenants::{Pools, Tenant};

/// At a start the first submits wait for the first round of probes, so that a thousand processes that submit once spread
/// over all their keys and not over the one that is proven first. Half a second buys some ten probes.
pub(super) const LEARNING: Duration = Duration::from_millis(500);

/// The slot that a try goes out with. It counts as its tenant's until a task has it.
pub(super) struct TakenSlot {
    slot: Slot,
    _taking: Option<Taking>,
}

pub(super) async fn choose(
    server: &Server,
    snapshot: &Snapshot,
    tenant: &Tenant,
    waits: bool,
    wait_until: Instant,
    deadline: Instant,
) -> Result<(Arc<Key>, TakenSlot), Refusal> {
    // An error is the end of the time, and then what was learnt so far has to do.
    let _ = timeout_at(server.started + LEARNING, server.prober.has_learnt()).await;
    let line = server.lines.of(tenant.first_pool());
    let held = |tenant: &Arc<str>| server.tenants.of(tenant).tasks();
    let came = held(&tenant.name);
    line.room().came(&tenant.name, came, Instant::now());
    let (mut front, mut gave_up, mut below) = (None, false, None);
    loop {
        let now = Instant::now();
        let (standing, taking) = match below.take() {
            Some(taking) => (Standing::Below, Some(taking)),
            None => {
                let look = || slots(snapshot, tenant, now);
                line.stand(&tenant.name, held, look, now)
            }
        };
        // Nobody overtakes those who wait, except who has less than its share.
        if standing != Standing::Below && waits && front.is_none() && !gave_up && !line.is_empty() {
            drop(taking);
            front = Arc::clone(&line).join(&tenant.name, wait_until).await;
            gave_up = front.is_none();
            continue;
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
            None if standing == Standing::MustWait => NoKey::Full {
                again: None,
                until: None,
            },
            None => match pick(snapshot, tenant, &server.egress, now) {
                Ok((key, slot)) => {
                    let _taking = taking;
                    return Ok((key, TakenSlot { slot, _taking }));
                }
                Err(none) => none,
            },
        };
        below = taking.filter(|_| standing == Standing::Below);
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
            NoKey::Full { again, until } => {
                let soonest = again.into_iter().chain(until).min();
                let refusal = match until {
                    Some(_) => Refusal::AllBusy,
                    None => no_slot(snapshot),
                };
                (
                    soonest.map_or(wait_until, |time| time.min(wait_until)),
                    refusal,
                )
            }
        };
        if !waits || gave_up || until > wait_until || Instant::now() >= wait_until {
            return Err(match refusal {
                Refusal::AllBusy if server.egress.banned_until(Instant::now()).is_none() => {
                    why_resting(snapshot, tenant)
                }
                refusal => refusal,
            });
        }
        if standing == Standing::MustWait && front.is_some() {
            let _ = timeout_at(until.min(now + LOOK_EVERY), something).await;
            // The room is kept for somebody, who may stand behind.
            if line.has_others(&tenant.name) {
                front = None;
            }
        } else if front.is_some() || below.is_some() {
            // At that time, or when something brings a key back earlier.
            let _ = timeout_at(until, something).await;
        } else {
            front = Arc::clone(&line).join(&tenant.name, wait_until).await;
            gave_up = front.is_none();
        }
    }
}

impl TakenSlot {
    /// The vendor accepted: the slot is the task's from now on.
    pub(super) fn give_to(self, task: TaskKey, price_micro_usd: i64, key: &Key, now: Instant) {
        self.slot.give_to(task, price_micro_usd, &key.limits, now);
    }

    /// Nobody knows whether there is a task.
    pub(super) fn keep(self, now: Instant) {
        self.slot.keep(now);
    }
}

/// Of the keys that can be used. None: the vendor does not say how many some key has.
fn slots(snapshot: &Snapshot, tenant: &Tenant, now: Instant) -> Option<Slots> {
    let mut slots = Slots { all: 0, free: 0 };
    for key in snapshot.keys.in_pool(tenant.first_pool()) {
        if key.look(|health| health.condition(now)) == Condition::Healthy {
            let seen = key.account.slots(&key.limits, now);
            let max = seen.max? as usize;
            slots.all += max;
            slots.free += max.saturating_sub(seen.used);
        }
    }
    Some(slots)
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
