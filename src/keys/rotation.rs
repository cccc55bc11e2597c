//! Smooth weighted round robin: each key's turns are spread evenly, in proportion to its weight.
//!
//! Every key has a virtual time at which its next turn is due; the earliest is taken and moves on by `1 / weight`.
//! That is the order of nginx's smooth round robin at `log n` instead of `n` a pick, so that ten thousand keys cost
//! a request no more than three. A key that rests leaves the queue until its rest ends.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::key::Key;
use super::secret::Identity;

#[derive(Debug, Default)]
pub(super) struct Rotation {
    /// Keys that the vendor has accepted.
    proven: Queue,
    /// Keys that it has not accepted yet. Apart, so that a pick among proven keys does not step over thousands of these.
    unproven: Queue,
    /// The unproven key that was handed out last; where it goes next depends on how that call ends.
    on_trial: Option<Turn>,
    resting: BinaryHeap<Reverse<Resting>>,
    /// The virtual time of the turn that was taken last; a key that comes back does not get the turns it missed.
    now: f64,
}

type Queue = BinaryHeap<Reverse<Turn>>;

#[derive(Debug)]
struct Turn {
    at: f64,
    /// Breaks ties, so that equal keys keep the order of the file.
    position: usize,
    key: Arc<Key>,
}

#[derive(Debug)]
struct Resting {
    until: Instant,
    turn: Turn,
}

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
            rotation.queue(Turn {
                at,
                position,
                key: Arc::clone(key),
            });
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
            rotation.queue(Turn {
                at,
                position,
                key: Arc::clone(key),
            });
        }
        rotation
    }

    /// The next key that does not rest at `now`; an unproven one only when `trial` allows it.
    pub(super) fn next(&mut self, now: Instant, trial: bool) -> Option<Arc<Key>> {
        self.sort_in(now);
        while let Some(mut turn) = self.pop(trial) {
            if let Some(until) = turn.key.rests_until(now) {
                self.resting.push(Reverse(Resting { until, turn }));
                continue;
            }
            let key = Arc::clone(&turn.key);
            self.now = self.now.max(turn.at);
            turn.at = self.now + 1.0 / f64::from(key.weight);
            if key.is_proven() {
                self.proven.push(Reverse(turn));
            } else {
                self.on_trial = Some(turn);
            }
            return Some(key);
        }
        None
    }

    /// Puts what has changed since the last pick where it belongs now.
    fn sort_in(&mut self, now: Instant) {
        if let Some(turn) = self.on_trial.take() {
            self.queue(turn);
        }
        while self
            .resting
            .peek()
            .is_some_and(|Reverse(resting)| resting.until <= now)
        {
            if let Some(Reverse(Resting { mut turn, .. })) = self.resting.pop() {
                turn.at = turn.at.max(self.now);
                self.queue(turn);
            }
        }
        while self
            .unproven
            .peek()
            .is_some_and(|Reverse(turn)| turn.key.is_proven())
        {
            self.proven.extend(self.unproven.pop());
        }
        if self.proven.is_empty() {
            // Nothing to lose by looking at every key: proven, or awake, by another way than its own turn.
            let resting = std::mem::take(&mut self.resting)
                .into_iter()
                .map(|Reverse(resting)| resting.turn);
            let unproven = std::mem::take(&mut self.unproven)
                .into_iter()
                .map(|Reverse(turn)| turn);
            for turn in resting.chain(unproven).collect::<Vec<_>>() {
                match turn.key.rests_until(now) {
                    Some(until) => self.resting.push(Reverse(Resting { until, turn })),
                    None => self.queue(turn),
                }
            }
        }
    }

    fn queue(&mut self, turn: Turn) {
        let queue = if turn.key.is_proven() {
            &mut self.proven
        } else {
            &mut self.unproven
        };
        queue.push(Reverse(turn));
    }

    fn pop(&mut self, trial: bool) -> Option<Turn> {
        let unproven_first = match (self.proven.peek(), self.unproven.peek()) {
            (Some(Reverse(proven)), Some(Reverse(unproven))) => unproven < proven,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let queue = if trial && unproven_first {
            &mut self.unproven
        } else {
            &mut self.proven
        };
        queue.pop().map(|Reverse(turn)| turn)
    }

    fn turns(&self) -> impl Iterator<Item = &Turn> {
        let queued = self
            .proven
            .iter()
            .chain(&self.unproven)
            .map(|Reverse(turn)| turn);
        queued
            .chain(&self.on_trial)
            .chain(self.resting.iter().map(|Reverse(resting)| &resting.turn))
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

impl Ord for Resting {
    fn cmp(&self, other: &Self) -> Ordering {
        self.until
            .cmp(&other.until)
            .then_with(|| self.turn.cmp(&other.turn))
    }
}

impl PartialOrd for Resting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Resting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Resting {}
