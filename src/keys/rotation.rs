//! Whose turn it is: smooth weighted round robin, which spreads each key's turns evenly in proportion to its weight.
//!
//! Every key has a virtual time at which its next turn is due; the earliest is taken and moves on by `1 / weight`.
//! That is the order of nginx's smooth round robin at `log n` instead of `n` a pick, so that ten thousand keys cost
//! a request no more than three. The other strategies are small changes of it: `balance` takes the account's share of the
//! money for a weight, `least-busy` looks at the taken slots first and at the turn only among equals.
//! A key that may not submit leaves the queue: until a time, until its account has a slot or money again, or
//! until something happens.

use std::cmp::{Ordering, Reverse};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::account::Slot;
use super::events::Events;
use super::key::{Availability, Key};
use super::secret::Identity;
use super::shares::Shares;
use crate::config::settings::Strategy;

#[derive(Debug)]
pub(super) struct Rotation {
    strategy: Strategy,
    shares: Shares,
    due: BTreeMap<Place, Arc<Key>>,
    /// By name, where in `due`; only `least-busy` moves keys that wait for their turn.
    places: HashMap<Arc<str>, Place>,
    /// Keys that cool: they come back by themselves.
    cooling: BinaryHeap<Reverse<Cooling>>,
    /// By name, keys that come back when one of their slots is freed, or their balance was asked for.
    full: HashMap<Arc<str>, Full>,
    /// When some of these are worth another try. Those that came back since are passed over.
    again: BinaryHeap<Reverse<(Instant, Arc<str>)>>,
    /// Keys that come back by an event: a probe that passes, a hand that enables them.
    out: Vec<Turn>,
    /// Of all the set's events, how many were seen when `out` was looked through last, and when that was.
    events_seen: u64,
    freed_seen: u64,
    looked: Option<Instant>,
    /// The virtual time of the turn that was taken last; a key that comes back does not get the turns it missed.
    now: f64,
}

/// Where in the order a key stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Of its slots, the part that is taken; 0 where the strategy does not ask.
    load: f64,
    at: f64,
    /// Breaks ties, so that equal keys keep the order of the file.
    position: usize,
}

#[derive(Debug)]
struct Turn {
    place: Place,
    key: Arc<Key>,
}

#[derive(Debug)]
struct Cooling {
    until: Instant,
    turn: Turn,
}

#[derive(Debug)]
struct Full {
    turn: Turn,
    again: Option<Instant>,
}

/// With ten thousand keys out, looking through them costs a fifth of a millisecond: not at every pick.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

impl Rotation {
    /// `random` gives numbers in [0, 1). The first turn is drawn in proportion to the weights: a thousand processes
    /// that submit once must spread evenly over their keys.
    pub(super) fn new(
        keys: &[Arc<Key>],
        strategy: Strategy,
        now: Instant,
        mut random: impl FnMut() -> f64,
    ) -> Self {
        let total: f64 = keys.iter().map(|key| f64::from(key.weight)).sum();
        let mut left = random() * total;
        let first = keys.iter().position(|key| {
            left -= f64::from(key.weight);
            left < 0.0
        });
        let mut rotation = Self::empty(strategy, 0.0);
        for (position, key) in keys.iter().enumerate() {
            let at = if Some(position) == first {
                0.0
            } else {
                random() / f64::from(key.weight)
            };
            rotation.add(at, position, key, now);
        }
        rotation
    }

    /// The rotation over the keys of a reload: keys that stay keep their place, new ones get one.
    pub(super) fn carry_over(
        &self,
        keys: &[Arc<Key>],
        strategy: Strategy,
        now: Instant,
        mut random: impl FnMut() -> f64,
    ) -> Self {
        let old: HashMap<Identity, f64> = self.turns().collect();
        if old.is_empty() {
            return Self::new(keys, strategy, now, random);
        }
        let mut rotation = Self::empty(strategy, self.now);
        for (position, key) in keys.iter().enumerate() {
            let step = 1.0 / f64::from(key.weight);
            let at = old
                .get(&key.identity)
                .map_or_else(|| self.now + random() * step, |at| at.min(self.now + step));
            rotation.add(at, position, key, now);
        }
        rotation
    }

    /// The key whose turn it is among those that may submit at `now`. `count` is that of the events, read before.
    pub(super) fn next(
        &mut self,
        now: Instant,
        events: &Events,
        count: u64,
    ) -> Option<(Arc<Key>, Slot)> {
        self.bring_back_freed(now, events);
        self.bring_back(now, count);
        if self.strategy == Strategy::Balance {
            let keys = self.due.values();
            self.shares.refresh(keys, now);
        }
        while let Some((place, key)) = self.due.pop_first() {
            self.places.remove(&key.name);
            let turn = Turn { place, key };
            // Somebody with another snapshot may have taken slots since.
            if self.load(&turn.key, now) > place.load {
                self.put(turn, now);
                continue;
            }
            match turn.key.take(now) {
                Ok(slot) => {
                    let key = Arc::clone(&turn.key);
                    self.now = self.now.max(place.at);
                    let at = self.now + 1.0 / self.weight(&key, now);
                    let place = Place { at, ..place };
                    self.put(Turn { place, ..turn }, now);
                    return Some((key, slot));
                }
                Err(available) => self.leave(turn, available, now),
            }
        }
        None
    }

    fn weight(&self, key: &Key, now: Instant) -> f64 {
        let weight = f64::from(key.weight);
        match self.strategy {
            Strategy::RoundRobin | Strategy::LeastBusy => weight,
            Strategy::Balance => weight * self.shares.of(key, now),
        }
    }

    fn load(&self, key: &Key, now: Instant) -> f64 {
        match self.strategy {
            Strategy::RoundRobin | Strategy::Balance => 0.0,
            Strategy::LeastBusy => key.account.load(&key.limits, now) / f64::from(key.weight),
        }
    }

    fn bring_back_freed(&mut self, now: Instant, events: &Events) {
        let Some(freed) = events.freed_since(&mut self.freed_seen) else {
            // Too many to be remembered by name.
            for (_, full) in std::mem::take(&mut self.full) {
                self.rejoin(full.turn, now);
            }
            if self.strategy == Strategy::LeastBusy {
                for (place, key) in std::mem::take(&mut self.due) {
                    self.put(Turn { place, key }, now);
                }
            }
            return;
        };
        for name in freed {
            if let Some(full) = self.full.remove(&name) {
                self.rejoin(full.turn, now);
            } else if let Some(place) = self.places.remove(&name)
                && let Some(key) = self.due.remove(&place)
            {
                self.put(Turn { place, key }, now);
            }
        }
    }

    fn bring_back(&mut self, now: Instant, events: u64) {
        while self
            .cooling
            .peek()
            .is_some_and(|Reverse(cooling)| cooling.until <= now)
        {
            if let Some(Reverse(Cooling { turn, .. })) = self.cooling.pop() {
                self.rejoin(turn, now);
            }
        }
        while let Some(Reverse((again, _))) = self.again.peek()
            && *again <= now
            && let Some(Reverse((again, name))) = self.again.pop()
        {
            if let Entry::Occupied(full) = self.full.entry(name)
                && full.get().again == Some(again)
            {
                let full = full.remove();
                self.rejoin(full.turn, now);
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
                    Availability::Now => self.rejoin(turn, now),
                    available => self.leave(turn, available, now),
                }
            }
        }
    }

    fn leave(&mut self, turn: Turn, available: Availability, now: Instant) {
        match available {
            // It changed its mind since; the next look decides.
            Availability::Now => self.rejoin(turn, now),
            Availability::At(until) => self.cooling.push(Reverse(Cooling { until, turn })),
            Availability::OnEvent => self.out.push(turn),
            Availability::Full { again } => self.put_aside(turn, again),
            Availability::Short => self.put_aside(turn, None),
        }
    }

    fn put_aside(&mut self, turn: Turn, again: Option<Instant>) {
        let name = &turn.key.name;
        self.again
            .extend(again.map(|again| Reverse((again, Arc::clone(name)))));
        self.full.insert(Arc::clone(name), Full { turn, again });
    }

    fn rejoin(&mut self, mut turn: Turn, now: Instant) {
        turn.place.at = turn.place.at.max(self.now);
        self.put(turn, now);
    }

    fn put(&mut self, Turn { place, key }: Turn, now: Instant) {
        let load = self.load(&key, now);
        let place = Place { load, ..place };
        if self.strategy == Strategy::LeastBusy {
            self.places.insert(Arc::clone(&key.name), place);
        }
        self.due.insert(place, key);
    }

    fn add(&mut self, at: f64, position: usize, key: &Arc<Key>, now: Instant) {
        let place = Place {
            load: 0.0,
            at,
            position,
        };
        let key = Arc::clone(key);
        self.put(Turn { place, key }, now);
    }

    fn turns(&self) -> impl Iterator<Item = (Identity, f64)> {
        let due = self.due.iter().map(|(place, key)| (key.identity, place.at));
        let cooling = self.cooling.iter().map(|Reverse(cooling)| &cooling.turn);
        let others = cooling
            .chain(self.full.values().map(|full| &full.turn))
            .chain(&self.out);
        due.chain(others.map(|turn| (turn.key.identity, turn.place.at)))
    }

    fn empty(strategy: Strategy, now: f64) -> Self {
        Self {
            strategy,
            shares: Shares::default(),
            due: BTreeMap::new(),
            places: HashMap::new(),
            cooling: BinaryHeap::new(),
            full: HashMap::new(),
            again: BinaryHeap::new(),
            out: Vec::new(),
            events_seen: 0,
            freed_seen: 0,
            looked: None,
            now,
        }
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.load
            .total_cmp(&other.load)
            .then(self.at.total_cmp(&other.at))
            .then(self.position.cmp(&other.position))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Place {}

impl Ord for Cooling {
    fn cmp(&self, other: &Self) -> Ordering {
        self.until
            .cmp(&other.until)
            .then_with(|| self.turn.place.cmp(&other.turn.place))
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
