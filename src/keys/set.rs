//! All keys that this process knows: those in the files, and those that left them while their tasks still run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::events::Events;
use super::health::Health;
use super::key::{Key, Life, Standing};
use super::pool::Pool;
use super::secret::{Identity, Salt};
use crate::config::settings::KeyEntry;

/// Part of the snapshot that a request sees. Immutable; a reload makes the next one out of it.
#[derive(Debug, Default)]
pub struct KeySet {
    /// In the order of the files; draining keys last, latest first.
    keys: Vec<Arc<Key>>,
    by_identity: HashMap<Identity, Arc<Key>>,
    /// Only keys that stand in a file: a name's current value.
    by_name: HashMap<Arc<str>, Arc<Key>>,
    pub pool: Pool,
    /// Of all sets of this process: a reload does not part those who wait from what they wait for.
    events: Arc<Events>,
}

/// What the store knows of keys.
#[derive(Clone, Debug)]
pub struct Remembered {
    pub salt: Salt,
    /// Accepted by the vendor in an earlier run: trusted until it says otherwise, so that a restart costs no probe.
    pub good_keys: HashSet<Identity>,
}

/// Bounds the memory of an operator who replaces keys without end.
const MAX_DRAINING: usize = 10_000;

impl KeySet {
    /// The set after a reload. What belongs to an identity is carried over; a key that left drains until nobody used it for `keep`.
    pub fn next(
        &self,
        entries: &[KeyEntry],
        remembered: &Remembered,
        keep: Duration,
        now: Instant,
        random: impl FnMut() -> f64,
    ) -> Self {
        let mut keys: Vec<_> = entries
            .iter()
            .map(|entry| Arc::new(self.key(entry, remembered, now)))
            .collect();
        let by_name = keys
            .iter()
            .map(|key| (Arc::clone(&key.name), Arc::clone(key)))
            .collect();
        let listed: HashSet<_> = keys.iter().map(|key| key.identity).collect();
        let left = self
            .keys
            .iter()
            .filter(|key| !listed.contains(&key.identity))
            .filter(|key| {
                key.standing != Standing::Draining || now.duration_since(key.last_used()) < keep
            })
            .map(|key| Arc::new(key.draining(now)))
            .take(MAX_DRAINING);
        keys.extend(left);
        let by_identity = keys
            .iter()
            .map(|key| (key.identity, Arc::clone(key)))
            .collect();
        let pool = Pool::new(&keys, &self.pool, random);
        Self {
            keys,
            by_identity,
            by_name,
            pool,
            events: Arc::clone(&self.events),
        }
    }

    pub fn events(&self) -> &Events {
        &self.events
    }

    pub fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    pub fn by_identity(&self, identity: &Identity) -> Option<&Arc<Key>> {
        self.by_identity.get(identity)
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<Key>> {
        self.by_name.get(name)
    }

    /// Keys that stand in a file, disabled ones too.
    pub fn listed(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys
            .iter()
            .filter(|key| key.standing != Standing::Draining)
    }

    /// Whether `next` would let a draining key go.
    pub fn has_drained(&self, keep: Duration, now: Instant) -> bool {
        let drains = |key: &&Arc<Key>| key.standing == Standing::Draining;
        self.keys
            .iter()
            .filter(drains)
            .any(|key| now.duration_since(key.last_used()) >= keep)
    }

    fn key(&self, entry: &KeyEntry, remembered: &Remembered, now: Instant) -> Key {
        let identity = Identity::of(&entry.value, &remembered.salt);
        let life = match self.by_identity(&identity) {
            Some(old) => Arc::clone(&old.life),
            None if remembered.good_keys.contains(&identity) => {
                Arc::new(Life::new(Health::known_good(now), now, &self.events))
            }
            None => Arc::new(Life::new(Health::new(now), now, &self.events)),
        };
        Key {
            name: entry.name.as_str().into(),
            identity,
            weight: entry.weight,
            priority: entry.priority,
            standing: if entry.disabled {
                Standing::Disabled
            } else {
                Standing::Active
            },
            life,
            value: entry.value.expose_bytes(),
        }
    }
}

impl Key {
    fn draining(&self, now: Instant) -> Self {
        if self.standing != Standing::Draining {
            self.touch(now);
        }
        Self {
            name: Arc::clone(&self.name),
            identity: self.identity,
            weight: self.weight,
            priority: self.priority,
            standing: Standing::Draining,
            life: Arc::clone(&self.life),
            value: self.value.clone(),
        }
    }
}
