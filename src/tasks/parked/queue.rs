//! Whose turn it is among parked submits, and when one ends unsent. Pure: the clock is a parameter, and nothing here waits.
//!
//! ```text
//!                 durable              its turn           accepted, uncertain, or refused for its own fault
//!   Parking ──────────────▶ Waiting ─────────────▶ Sending ──────────────────────────────────────────▶ gone
//!                            │   ▲                    │
//!     expired, not polled,   │   └────────────────────┘
//!     cancelled ▼            │      no key would take it
//!             gone ◀─────────┘
//! ```
//! They go in the order of their ids, which is that of their arrival. While it is not known whether there is money, one goes
//! by itself; when it is accepted the others follow, and when anything else comes of one, it is one at a time again. So an
//! account that was refilled with little, or not at all, is not met by ten thousand submits at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::{Lack, OwnId, ParkedRecord, Unsent};

/// Clients poll every 20 s at the latest. Who has not for so long is gone, and nobody would hear what its task costs.
const UNPOLLED: Duration = Duration::from_secs(120);
/// On their way at the same time. As much as a vendor of 100 ms takes from 600 submits a second.
const AT_ONCE: usize = 64;
/// After a try that brought nothing; doubled as long as none does.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Queue {
    rows: BTreeMap<OwnId, Row>,
    /// How many rows each tenant has.
    of_tenants: HashMap<Arc<str>, usize>,
    bytes: u64,
    sending: usize,
    flow: Flow,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) record: ParkedRecord,
    pub(super) place: Place,
    /// How old it was, and when that was: its age is of two runs, perhaps.
    age: (Duration, Instant),
    pub(super) polled: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its record is not durable yet.
    Parking,
    Waiting,
    Sending,
}

/// How many may go.
#[derive(Debug, Default)]
struct Flow {
    /// The last that was sent was accepted.
    open: bool,
    /// The one that goes by itself.
    trial: Option<OwnId>,
    pause: Option<(Duration, Instant)>,
}

/// What came of a sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Accepted,
    /// The vendor blames the submit itself, which says nothing about the keys.
    Blamed,
    Uncertain,
}

/// What may wait at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub submits: usize,
    pub bytes: u64,
}

impl Queue {
    /// False: there is no room.
    pub(super) fn add(&mut self, record: ParkedRecord, room: Room, now: Instant) -> bool {
        if self.rows.len() >= room.submits || self.bytes + record.bytes > room.bytes {
            return false;
        }
        self.insert(record, Place::Parking, Duration::ZERO, now);
        true
    }

    /// From the last run. Its client has had no chance to poll, so that counts from now.
    pub(super) fn restore(&mut self, record: ParkedRecord, age: Duration, now: Instant) {
        self.insert(record, Place::Waiting, age, now);
    }

    fn insert(&mut self, record: ParkedRecord, place: Place, age: Duration, now: Instant) {
        let row = Row {
            place,
            age: (age, now),
            polled: now,
            record,
        };
        self.bytes += row.record.bytes;
        let tenant = Arc::clone(&row.record.tenant);
        *self.of_tenants.entry(tenant).or_default() += 1;
        self.rows.insert(row.record.id, row);
    }

    /// It is durable: it may go. False when it has ended meanwhile.
    pub(super) fn ready(&mut self, id: OwnId) -> bool {
        let Some(row) = self.rows.get_mut(&id) else {
            return false;
        };
        row.place = Place::Waiting;
        true
    }

    pub(super) fn record(&self, id: OwnId) -> Option<&ParkedRecord> {
        self.rows.get(&id).map(|row| &row.record)
    }

    /// Its client still waits.
    pub(super) fn polled(&mut self, id: OwnId, now: Instant) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.polled = now;
        }
    }

    /// What those in front of these wait for, so that a new one of them goes behind.
    pub(super) fn lacks(&self, among: impl Fn(&ParkedRecord) -> bool) -> Option<Lack> {
        let waits = |row: &&Row| row.place != Place::Sending && among(&row.record);
        self.rows.values().find(waits).map(|row| row.record.lacks)
    }

    /// Each tenant that has any.
    pub(super) fn all_tenants(&self) -> Vec<Arc<str>> {
        self.of_tenants.keys().cloned().collect()
    }

    /// Of each tenant whose turn could be now, in the order of their first ones.
    pub(super) fn tenants(&self, profile: &str, now: Instant) -> Vec<Arc<str>> {
        let mut tenants: Vec<Arc<str>> = Vec::new();
        if !self.may_go(now) {
            return tenants;
        }
        let mut known = HashSet::new();
        for row in self.rows.values() {
            let waits = row.place == Place::Waiting && &*row.record.profile == profile;
            if waits && known.insert(&row.record.tenant) {
                tenants.push(Arc::clone(&row.record.tenant));
            }
        }
        tenants
    }

    fn may_go(&self, now: Instant) -> bool {
        let is_paused = self.flow.pause.is_some_and(|(_, until)| now < until);
        let most = if self.flow.open { AT_ONCE } else { 1 };
        !is_paused && self.flow.trial.is_none() && self.sending < most
    }

    /// Whose turn it is among these.
    fn next(&self, among: impl Fn(&ParkedRecord) -> bool, now: Instant) -> Option<OwnId> {
        if !self.may_go(now) {
            return None;
        }
        let waits = |row: &&Row| row.place == Place::Waiting && among(&row.record);
        self.rows.values().find(waits).map(|row| row.record.id)
    }

    /// The next one goes.
    pub(super) fn take(
        &mut self,
        among: impl Fn(&ParkedRecord) -> bool,
        now: Instant,
    ) -> Option<ParkedRecord> {
        let id = self.next(among, now)?;
        let row = self.rows.get_mut(&id)?;
        row.place = Place::Sending;
        self.sending += 1;
        if !self.flow.open {
            self.flow.trial = Some(id);
        }
        Some(row.record.clone())
    }

    /// No key would take it: it waits again, at its place.
    pub(super) fn back(&mut self, id: OwnId, now: Instant) {
        if let Some(row) = self.rows.get_mut(&id)
            && row.place == Place::Sending
        {
            row.place = Place::Waiting;
            self.sending -= 1;
            self.flow.landed(id);
            self.flow.shut(now);
        }
    }

    /// The end of a sending.
    pub(super) fn end(&mut self, id: OwnId, end: End, now: Instant) -> Option<Row> {
        let row = self.remove(id)?;
        self.flow.landed(id);
        match end {
            End::Accepted => {
                self.flow.open = true;
                self.flow.pause = None;
            }
            End::Blamed => {}
            End::Uncertain => self.flow.shut(now),
        }
        Some(row)
    }

    /// There is no money at all, as far as the keys know.
    pub(super) fn out_of_money(&mut self) {
        self.flow.open = false;
    }

    /// Those that end unsent, taken out.
    pub(super) fn due(&mut self, park_for: Duration, now: Instant) -> Vec<(Row, Unsent)> {
        let why = |row: &Row| {
            let (age, then) = row.age;
            if row.place == Place::Sending {
                None
            } else if age + now.duration_since(then) >= park_for {
                Some(Unsent::Expired)
            } else if now.duration_since(row.polled) >= UNPOLLED {
                Some(Unsent::Dropped)
            } else {
                None
            }
        };
        let due: Vec<_> = self
            .rows
            .iter()
            .filter_map(|(id, row)| Some((*id, why(row)?)))
            .collect();
        due.into_iter()
            .filter_map(|(id, why)| Some((self.remove(id)?, why)))
            .collect()
    }

    /// Unless it is on its way.
    pub(super) fn cancel(&mut self, id: OwnId) -> Option<Row> {
        let is_free = |row: &Row| row.place != Place::Sending;
        if self.rows.get(&id).is_some_and(is_free) {
            self.remove(id)
        } else {
            None
        }
    }

    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = &Row> {
        self.rows.values()
    }

    fn remove(&mut self, id: OwnId) -> Option<Row> {
        let row = self.rows.remove(&id)?;
        self.bytes -= row.record.bytes;
        if let Some(rows) = self.of_tenants.get_mut(&row.record.tenant) {
            *rows -= 1;
            if *rows == 0 {
                self.of_tenants.remove(&row.record.tenant);
            }
        }
        self.sending -= usize::from(row.place == Place::Sending);
        Some(row)
    }
}

impl Flow {
    fn landed(&mut self, id: OwnId) {
        self.trial.take_if(|trial| *trial == id);
    }

    /// One at a time from now on, after a pause. Those that were sent together lengthen it together once.
    fn shut(&mut self, now: Instant) {
        self.open = false;
        let last = match self.pause {
            Some((_, until)) if now < until => return,
            Some((last, _)) => Some(last),
            None => None,
        };
        let pause = last.map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE));
        self.pause = Some((pause, now + pause));
    }
}

#[cfg(test)]
mod tests;
