//! Which key a submit goes out with: tiers by `priority`, turns by `weight`, never one that rests.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::egress::{Egress, Trial};
use super::key::{Key, Standing};
use super::rotation::Rotation;
use crate::vendor::profile::Class;

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

/// The key for one try of a submit.
#[derive(Debug)]
pub struct Chosen<'a> {
    pub key: Arc<Key>,
    /// Of an unproven key; it ends when this is dropped, and then others may be tried.
    pub trial: Option<Trial<'a>>,
}

/// Why no key can be chosen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// There is none, or the vendor calls all of them bad.
    None,
    /// All that are left are out of money.
    Empty,
    /// Some key will be usable at this time.
    Busy { until: Instant },
    /// An unproven key is being tried; its outcome decides.
    OnTrial,
}

impl Pool {
    pub(super) fn new(keys: &[Arc<Key>], previous: &Self, mut random: impl FnMut() -> f64) -> Self {
        let mut active: Vec<_> = keys
            .iter()
            .filter(|key| key.standing == Standing::Active)
            .cloned()
            .collect();
        active.sort_by_key(|key| key.priority);
        let tiers = active
            .chunk_by(|a, b| a.priority == b.priority)
            .map(|keys| {
                let priority = keys[0].priority;
                let old = previous.tiers.iter().find(|tier| tier.priority == priority);
                let rotation = match old {
                    Some(tier) => tier.rotation().carry_over(keys, &mut random),
                    None => Rotation::new(keys, &mut random),
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

    /// The key whose turn it is among those that do not rest.
    pub fn choose<'a>(&self, egress: &'a Egress, now: Instant) -> Result<Chosen<'a>, NoKey> {
        if let Some(until) = egress.banned_until(now) {
            return Err(NoKey::Busy { until });
        }
        let trial = egress.begin(now);
        let key = self
            .tiers
            .iter()
            .find_map(|tier| tier.rotation().next(now, trial.is_some()));
        match key {
            Some(key) => Ok(Chosen {
                trial: trial.filter(|_| !key.is_proven()),
                key,
            }),
            None => Err(self.why_none(egress, now)),
        }
    }

    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.tiers.iter().flat_map(|tier| &tier.keys)
    }

    /// Looks at every key, which only a submit that found none has to pay for.
    fn why_none(&self, egress: &Egress, now: Instant) -> NoKey {
        let (mut busy, mut empty, mut unproven): (Option<Instant>, bool, bool) =
            (None, false, false);
        for key in self.keys() {
            match key.rest(now) {
                Some(rest) if rest.class == Class::KeyEmpty => empty = true,
                Some(rest) if rest.class == Class::KeyBad => {}
                Some(rest) => busy = Some(busy.map_or(rest.until, |until| until.min(rest.until))),
                None => unproven = true,
            }
        }
        match (busy, unproven) {
            (_, true) if egress.is_trying() => NoKey::OnTrial,
            (Some(until), _) => NoKey::Busy { until },
            (None, true) => egress
                .exhausted_until(now)
                .map_or(NoKey::OnTrial, |_| NoKey::None),
            (None, false) if empty => NoKey::Empty,
            (None, false) => NoKey::None,
        }
    }
}

impl Tier {
    fn rotation(&self) -> std::sync::MutexGuard<'_, Rotation> {
        self.rotation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
