//! The key for one try of a submit, waited if it is to wait, in order of arrival.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Server;
use super::line::Taking;
use super::refuse::Refusal;
use super::room::{LOOK_EVERY, Slots, Standing};
use crate::keys::account::Slot;
use crate::keys::health::Condition;
use crate::keys::key::Key;
use crate::keys::pool::NoKey;
use crate::live::Snapshot;
use crate::store::TaskKey;
use crate::tenants::Tenant;

/// At a start the first submits wait for the first round of probes, so that a thousand processes that submit once spread
/// over all their keys and not over the one that is proven first. Half a second buys some ten probes.
pub(super) const LEARNING: Duration = Duration::from_millis(500);

/// The slot that a try goes out with. It counts as its tenant's until a task has it.
pub(super) struct TakenSlot {
    /// From which it was taken.
    pub pool: Arc<str>,
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
    loop {
        let choice = Choice {
            server,
            snapshot,
            tenant,
            pool: pool_now(server, snapshot, tenant),
            waits,
            wait_until,
            deadline,
        };
        match choice.make().await {
            Ok(chosen) => return Ok(chosen),
            Err(Unserved::Refused(refusal)) => return Err(refusal),
            Err(Unserved::Elsewhere) => {}
        }
    }
}

pub(super) fn pool_now<'a>(
    server: &Server,
    snapshot: &Snapshot,
    tenant: &'a Tenant,
) -> &'a Arc<str> {
    tenant.pool_now(&snapshot.keys, &server.egress, Instant::now())
}

/// From one pool, in its line.
struct Choice<'a> {
    server: &'a Server,
    snapshot: &'a Snapshot,
    tenant: &'a Tenant,
    pool: &'a Arc<str>,
    waits: bool,
    wait_until: Instant,
    deadline: Instant,
}

enum Unserved {
    Refused(Refusal),
    /// Another pool serves the tenant by now.
    Elsewhere,
}

impl Choice<'_> {
    async fn make(&self) -> Result<(Arc<Key>, TakenSlot), Unserved> {
        let (server, snapshot, tenant) = (self.server, self.snapshot, self.tenant);
        let line = server.lines.of(self.pool);
        let held = |tenant: &Arc<str>| server.tenants.of(tenant).tasks();
        let came = held(&tenant.name);
        line.room().came(&tenant.name, came, Instant::now());
        let (mut front, mut gave_up, mut below) = (None, false, None);
        loop {
            let now = Instant::now();
            if !self.is_of_tenant() {
                return Err(Unserved::Elsewhere);
            }
            let (standing, taking) = match below.take() {
                Some(taking) => (Standing::Below, Some(taking)),
                None => {
                    let look = || self.slots(now);
                    line.stand(&tenant.name, held, look, now)
                }
            };
            // Nobody overtakes those who wait, except who has less than its share.
            if standing != Standing::Below
                && self.waits
                && front.is_none()
                && !gave_up
                && !line.is_empty()
            {
                drop(taking);
                front = Arc::clone(&line).join(&tenant.name, self.wait_until).await;
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
                None => match self.pick(now) {
                    Ok((key, slot)) => {
                        let taken = TakenSlot {
                            pool: Arc::clone(self.pool),
                            slot,
                            _taking: taking,
                        };
                        return Ok((key, taken));
                    }
                    Err(none) => none,
                },
            };
            below = taking.filter(|_| standing == Standing::Below);
            let (until, refusal) = match none {
                NoKey::None => return Err(Unserved::Refused(Refusal::NoKey)),
                NoKey::Empty if !self.is_of_tenant() => return Err(Unserved::Elsewhere),
                NoKey::Empty => return Err(Unserved::Refused(Refusal::AllEmpty)),
                NoKey::Learning => {
                    // Not a busy pool but one that is just being learnt, so this waits as long as a submit may.
                    if timeout_at(self.deadline, something).await.is_err() {
                        return Err(Unserved::Refused(Refusal::AllBusy));
                    }
                    continue;
                }
                NoKey::Busy { until } if outage.is_some() => (until, Refusal::VendorUnreachable),
                NoKey::Busy { until } => (until, Refusal::AllBusy),
                NoKey::Full { again, until } => {
                    let soonest = again.into_iter().chain(until).min();
                    let refusal = match until {
                        Some(_) => Refusal::AllBusy,
                        None => self.no_slot(),
                    };
                    (
                        soonest.map_or(self.wait_until, |time| time.min(self.wait_until)),
                        refusal,
                    )
                }
            };
            if !self.waits
                || gave_up
                || until > self.wait_until
                || Instant::now() >= self.wait_until
            {
                return Err(Unserved::Refused(match refusal {
                    Refusal::AllBusy if server.egress.banned_until(Instant::now()).is_none() => {
                        self.why_resting()
                    }
                    refusal => refusal,
                }));
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
                front = Arc::clone(&line).join(&tenant.name, self.wait_until).await;
                gave_up = front.is_none();
            }
        }
    }

    /// Whether it still serves its tenant.
    fn is_of_tenant(&self) -> bool {
        pool_now(self.server, self.snapshot, self.tenant) == self.pool
    }

    /// Of the keys that can be used. None: the vendor does not say how many some key has.
    fn slots(&self, now: Instant) -> Option<Slots> {
        let mut slots = Slots { all: 0, free: 0 };
        for key in self.snapshot.keys.in_pool(self.pool) {
            if key.look(|health| health.condition(now)) == Condition::Healthy {
                let seen = key.account.slots(&key.limits, now);
                let max = seen.max? as usize;
                slots.all += max;
                slots.free += max.saturating_sub(seen.used);
            }
        }
        Some(slots)
    }

    fn pick(&self, now: Instant) -> Result<(Arc<Key>, Slot), NoKey> {
        let keys = &self.snapshot.keys;
        let pool = keys.pool(self.pool).ok_or(NoKey::None)?;
        pool.choose(&self.server.egress, keys.events(), now)
    }

    /// Keys that all rest because the vendor had no slot for them are as full as those whose slots we count ourselves.
    fn why_resting(&self) -> Refusal {
        let (now, profile) = (Instant::now(), &self.snapshot.settings.vendor.profile);
        let mut resting = self.snapshot.keys.in_pool(self.pool).filter_map(|key| {
            key.look(|health| {
                let cools = health.condition(now) == Condition::Cooling && !health.is_disabled();
                cools.then(|| health.describe(now).why.unwrap_or_default())
            })
        });
        match resting.next() {
            Some(first)
                if profile.is_no_slot(&first) && resting.all(|code| profile.is_no_slot(&code)) =>
            {
                self.no_slot()
            }
            _ => Refusal::AllBusy,
        }
    }

    fn no_slot(&self) -> Refusal {
        let code = self.snapshot.settings.vendor.profile.no_slot_json.as_str();
        Refusal::NoSlot(code.into())
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
