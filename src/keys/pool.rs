//! Which key a submit goes out with: tiers by `priority`, turns by `weight`, never one that rests.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::account::Slot;
use super::egress::Egress;
use super::events::Events;
use super::health::Condition;
use super::key::{Availability, Key, Standing};
use super::rotation::Rotation;
use crate::config::settings::Strategy;

/// The active keys, ready to be chosen from. Made anew at every reload.
#[derive(Debug, Default)]
pub struct Pool {
    /// Lowest `priority` first.
    tiers: Vec<Tier>,
}

#[derive(Debug)]
struct Tier {
    priority: i32,
    keys: Vec<Arc<Key>>,
    /// A std lock around one pick: a few heap operations, no await.
    rotation: Mutex<Rotation>,
}

/// Why no key can be chosen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// There is none, or all are bad or disabled.
    None,
    /// All that are left are out of money.
    Empty,
    /// Good keys have no free slot; `again` is when other replicas may have freed one. Others, if any, come back at `until`.
    Full {
        again: Option<Instant>,
        until: Option<Instant>,
    },
    /// Some key will be usable at this time.
    Busy { until: Instant },
    /// Some key is being probed, or will be at once; the outcome decides.
    Learning,
}

impl Pool {
    pub(super) fn new(
        keys: Vec<Arc<Key>>,
        previous: &Self,
        strategy: Strategy,
        now: Instant,
        mut random: impl FnMut() -> f64,
    ) -> Self {
        let mut active = keys;
        active.retain(|key| key.standing == Standing::Active);
        active.sort_by_key(|key| key.priority);
        let tiers = active
            .chunk_by(|a, b| a.priority == b.priority)
            .map(|keys| {
                let priority = keys[0].priority;
                let old = previous.tiers.iter().find(|tier| tier.priority == priority);
                let rotation = match old {
                    Some(tier) => tier.rotation().carry_over(keys, strategy, now, &mut random),
                    None => Rotation::new(keys, strategy, now, &mut random),
                };
                Tier {
                    priority,
                    keys: keys.to_vec(),
                    rotation: Mutex::new(rotation),
                }
            });
        Self {
            tiers: tiers.collect(),
        }
    }

    /// The key whose turn it is among those that may submit, with the slot that the submit holds.
    pub fn choose(
        &self,
        egress: &Egress,
        events: &Events,
        now: Instant,
    ) -> Result<(Arc<Key>, Slot), NoKey> {
        // Before the look at the keys, so that nothing that happens meanwhile counts as seen.
        let count = events.count();
        if let Some(until) = egress.banned_until(now) {
            return Err(NoKey::Busy { until });
        }
        let chosen = self
            .tiers
            .iter()
            .find_map(|tier| tier.rotation().next(now, events, count));
        chosen.ok_or_else(|| self.why_none(egress, now))
    }

    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.tiers.iter().flat_map(|tier| &tier.keys)
    }

    /// Whether only money is missing. Asked at every submit of some tenants: the first key that lacks none ends it.
    pub fn is_empty(&self, egress: &Egress, now: Instant) -> bool {
        let may_probe = egress.exhausted_until(now).is_none();
        let mut empty = false;
        for key in self.keys() {
            match lack(key, may_probe, now) {
                Lack::Money => empty = true,
                Lack::Remedy => {}
                Lack::Slot { .. } | Lack::Time(_) | Lack::Verdict | Lack::Nothing => return false,
            }
        }
        empty
    }

    /// Looks at every key, which only a submit that found none has to pay for.
    fn why_none(&self, egress: &Egress, now: Instant) -> NoKey {
        let may_probe = egress.exhausted_until(now).is_none();
        let (mut busy, mut ask_again): (Option<Instant>, Option<Instant>) = (None, None);
        let (mut empty, mut learning, mut full) = (false, false, false);
        for key in self.keys() {
            match lack(key, may_probe, now) {
                Lack::Remedy => {}
                Lack::Money => empty = true,
                Lack::Slot { again } => {
                    full = true;
                    ask_again = ask_again.into_iter().chain(again).min();
                }
                Lack::Time(until) => busy = busy.into_iter().chain([until]).min(),
                // Nothing: it became usable since the look at the rotation.
                Lack::Verdict | Lack::Nothing => learning = true,
            }
        }
        match busy {
            _ if learning => NoKey::Learning,
            until if full => NoKey::Full {
                again: ask_again,
                until,
            },
            Some(until) => NoKey::Busy { until },
            None if empty => NoKey::Empty,
            None => NoKey::None,
        }
    }
}

/// What a key lacks to take a submit now.
enum Lack {
    Nothing,
    Slot {
        again: Option<Instant>,
    },
    Time(Instant),
    /// Its probe decides.
    Verdict,
    Money,
    /// It is bad or disabled, or may not be probed.
    Remedy,
}

fn lack(key: &Key, may_probe: bool, now: Instant) -> Lack {
    let available = key.availability(now);
    key.look(|health| match health.condition(now) {
        _ if health.is_disabled() => Lack::Remedy,
        Condition::Cooling => Lack::Time(health.next_change(now).unwrap_or(now)),
        Condition::Unproven | Condition::Suspect if !may_probe => Lack::Remedy,
        Condition::Unproven | Condition::Suspect => match health.next_change(now) {
            // Its last probe brought nothing: the vendor is in trouble.
            Some(next_probe) => Lack::Time(next_probe),
            None => Lack::Verdict,
        },
        Condition::Empty => Lack::Money,
        Condition::Revoked => Lack::Remedy,
        Condition::Healthy => match available {
            Availability::Full { again } => Lack::Slot { again },
            Availability::Short => Lack::Money,
            Availability::At(until) => Lack::Time(until),
            Availability::Now | Availability::OnEvent => Lack::Nothing,
        },
    })
}

impl Tier {
    fn rotation(&self) -> std::sync::MutexGuard<'_, Rotation> {
        self.rotation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
