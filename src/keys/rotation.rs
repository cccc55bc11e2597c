//! Smooth weighted round robin: each key's turns are spread evenly, in proportion to its weight.
//!
//! Every key has a virtual time at which its next turn is due; the earliest is taken and moves on by `1 / weight`.
//! That is the order of nginx's smooth round robin at `log n` instead of `n` a pick, so that ten thousand keys cost
//! a request no more than three. A key that may not submit leaves the queue: until a time, or until something happens.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::key::{Availability, Key};
use super::secret::Identity;

#[derive(Debug, Default)]
pub(super) struct Rotation {
    due: BinaryHeap<Reverse<Turn>>,
    /// Keys that cool: they come back by themselves.
    cooling: BinaryHeap<Reverse<Cooling>>,
    /// Keys that come back by an event: a probe that passes, a hand that enables them.
    out: Vec<Turn>,
    /// Of all the set's events, how many were seen when `out` was looked through last, and when that was.
    events_seen: u64,
    looked: Option<Instant>,
    /// The virtual time of the turn that was taken last; a key that comes back does not get the turns it missed.
    now: f64,
}

#[derive(Debug)]
struct Turn {
    at: f64,
    /// Breaks ties, so that equal keys keep the order of the file.
    position: usize,
    key: Arc<Key>,
}

#[derive(Debug)]
struct Cooling {
    until: Instant,
    turn: Turn,
}

/// With ten thousand keys out, looking through them costs a fifth of a millisecond: not at every pick.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

impl Rotation {
    /// `random` gives numbers in [0, 1). The first turn is drawn in proportion to the weights: a thousand processes
    /// that submit once must spread evenly over their keys.
    pub(super) fn new(keys: &[Arc<Key>], mut random: impl FnMut() -> f64) -> Self {
        let total: f64 = keys.iter().map(|key| f64::from(key.weight)).sum();
        let mut left = random() * total;
        let first = keys.iter().position(|key| {
            left -= f64::from(key.weight);
            left < 0.0
        });
        let mut rotation = Self::default();
        for (position, key) in keys.iter().enumerate() {
            let at = if Some(position) == first {
                0.0
            } else {
                random() / f64::from(key.weight)
            };
            rotation.add(at, position, key);
        }
        rotation
    }

    /// The rotation over the keys of a reload: keys that stay keep their place, new ones get one.
    pub(super) fn carry_over(&self, keys: &[Arc<Key>], mut random: impl FnMut() -> f64) -> Self {
        let old: HashMap<Identity, f64> = self
            .turns()
            .map(|turn| (turn.key.identity, turn.at))
            .collect();
        if old.is_empty() {
            return Self::new(keys, random);
        }
        let mut rotation = Self {
            now: self.now,
            ..Self::default()
        };
        for (position, key) in keys.iter().enumerate() {
            let step = 1.0 / f64::from(key.weight);
            let at = old
                .get(&key.identity)
                .map_or_else(|| self.now + random() * step, |at| at.min(self.now + step));
            rotation.add(at, position, key);
        }
        rotation
    }

    /// The key whose turn it is among those that may submit at `now`. `events` counts what may have brought a key back.
    pub(super) fn next(&mut self, now: Instant, events: u64) -> Option<Arc<Key>> {
        self.bring_back(now, events);
        while let Some(Reverse(mut turn)) = self.due.pop() {
            match turn.key.availability(now) {
                Availability::Now => {
                    let key = Arc::clone(&turn.key);
                    self.now = self.now.max(turn.at);
                    turn.at = self.now + 1.0 / f64::from(key.weight);
                    self.due.push(Reverse(turn));
                    return Some(key);
                }
                Availability::At(until) => self.cooling.push(Reverse(Cooling { until, turn })),
                Availability::OnEvent => self.out.push(turn),
            }
        }
        None
    }

    fn bring_back(&mut self, now: Instant, events: u64) {
        while self
            .cooling
            .peek()
            .is_some_and(|Reverse(cooling)| cooling.until <= now)
        {
            if let Some(Reverse(Cooling { turn, .. })) = self.cooling.pop() {
                self.rejoin(turn);
            }
        }
        let news = events != self.events_seen;
        let rested = self
            .looked
            .is_none_or(|looked| now.duration_since(looked) >= BETWEEN_LOOKS);
        if news && (rested || self.due.is_empty()) {
            self.events_seen = events;
            self.looked = Some(now);
            let cooling = std::mem::take(&mut self.cooling)
                .into_iter()
                .map(|Reverse(cooling)| cooling.turn);
            for turn in std::mem::take(&mut self.out).into_iter().chain(cooling) {
                match turn.key.availability(now) {
                    Availability::Now => self.rejoin(turn),
                    Availability::At(until) => self.cooling.push(Reverse(Cooling { until, turn })),
                    Availability::OnEvent => self.out.push(turn),
                }
            }
        }
    }

    fn rejoin(&mut self, mut turn: Turn) {
        turn.at = turn.at.max(self.now);
        self.due.push(Reverse(turn));
    }

    fn add(&mut self, at: f64, position: usize, key: &Arc<Key>) {
        self.due.push(Reverse(Turn {
            at,
            position,
            key: Arc::clone(key),
        }));
    }

    fn turns(&self) -> impl Iterator<Item = &Turn> {
        let due = self.due.iter().map(|Reverse(turn)| turn);
        due.chain(self.cooling.iter().map(|Reverse(cooling)| &cooling.turn))
            .chain(&self.out)
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at
            .total_cmp(&other.at)
            .then(self.position.cmp(&other.position))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

impl Ord for Cooling {
    fn cmp(&self, other: &Self) -> Ordering {
        self.until
            .cmp(&other.until)
            .then_with(|| self.turn.cmp(&other.turn))
    }
}

impl PartialOrd for Cooling {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cooling {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Cooling {}
