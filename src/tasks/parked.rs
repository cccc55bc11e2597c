//! Submits that no key can take now. Their clients have an id of ours and poll it; they are sent in order once a key is
//! usable again.
//!
//! The store has every one of them, with its request. Here are those that may still be sent, all of them, and those that
//! ended of late.

mod queue;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::store::{self, Lack, OwnId, ParkedRecord, ParkedState, Store, StoreError, Unsent};
use crate::tenants::accounts::Accounts;
pub use queue::Room;
use queue::{End, Place, Queue};

pub struct Parked {
    store: Store,
    /// Each holds what its submit has reserved, until it is sent or ends unsent.
    tenants: Arc<Accounts>,
    /// A std lock with sections of a few map operations; never held over an await.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    queue: Queue,
    ended: HashMap<OwnId, Past>,
    /// Exactly the keys of `ended`, the oldest first.
    order: VecDeque<OwnId>,
}

struct Past {
    record: ParkedRecord,
    /// When the store was told last that it is in use.
    noted: Instant,
}

/// For those who look.
#[derive(Clone, Debug)]
pub struct Seen {
    pub record: ParkedRecord,
    pub sending: bool,
    pub polled: Instant,
}

/// SECURITY: of their requests, on the disk. Images are 100 kB: 2,600 of them.
pub const MOST_BYTES: u64 = 256 << 20;
/// SECURITY: the same without a disk; as much as all bodies in flight may take.
pub const MOST_BYTES_IN_MEMORY: u64 = 64 << 20;
/// Further ones are looked up in the store. About 300 bytes each.
const MOST_ENDED: usize = 20_000;

impl Parked {
    pub fn new(store: Store, tenants: Arc<Accounts>) -> Self {
        Self {
            store,
            tenants,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Those that waited when the program ended, or another replica.
    pub async fn resume(
        &self,
        price: impl Fn(&ParkedRecord) -> i64,
        now: Instant,
        now_ms: i64,
    ) -> Result<usize, StoreError> {
        let waiting = self.store.waiting_parked().await?;
        let mut resumed = 0;
        let mut state = self.state();
        for record in waiting {
            if state.queue.record(record.id).is_some() || state.ended.contains_key(&record.id) {
                continue;
            }
            resumed += 1;
            // A clock that was set back must not make anything younger than new.
            let age = u64::try_from(now_ms - record.parked_at_ms).unwrap_or_default();
            let tenant = self.tenants.of(&record.tenant);
            tenant.hold_parked(record.key(), price(&record));
            state.queue.restore(record, Duration::from_millis(age), now);
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(resumed)
    }

    /// False: there is no room. It is not sent before `ready`.
    pub fn add(&self, record: ParkedRecord, submits: usize, now: Instant) -> bool {
        let bytes = match self.store {
            // A replica remembers what it wrote to Redis.
            Store::Memory(_) | Store::Redis(_) => MOST_BYTES_IN_MEMORY,
            Store::Sqlite(_) => MOST_BYTES,
        };
        self.state().queue.add(record, Room { submits, bytes }, now)
    }

    /// Its record is durable. False when it was cancelled meanwhile.
    pub fn ready(&self, id: OwnId) -> bool {
        let ready = self.state().queue.ready(id);
        self.changed.notify_waiters();
        ready
    }

    /// Where it stands, for its own tenant; that counts as a use of it.
    pub async fn find(
        &self,
        id: OwnId,
        tenant: &str,
        keep: Duration,
        now: Instant,
        now_ms: i64,
    ) -> Result<Option<ParkedState>, StoreError> {
        // SECURITY: another tenant's goes the whole way of one that nobody has, also where memory would answer, so that their
        // times are the same.
        let of_tenant = |record: &ParkedRecord| &*record.tenant == tenant;
        {
            let mut state = self.state();
            if state.queue.record(id).is_some_and(of_tenant) {
                state.queue.polled(id, now);
                return Ok(Some(ParkedState::Waiting));
            }
            let past = state.ended.get_mut(&id);
            if let Some(past) = past.filter(|past| of_tenant(&past.record)) {
                let found = past.record.state.clone();
                // Seldom: the store's time only has to be right within a part of `keep`.
                if now.duration_since(past.noted) >= keep / 8 {
                    past.noted = now;
                    self.store.touch_parked(id, now_ms);
                }
                return Ok(Some(found));
            }
        }
        if tenant.is_empty() && !self.store.may_have_given(id) {
            return Ok(None);
        }
        let record = store::in_time(self.store.find_parked(id, tenant)).await?;
        let Some(record) = record else {
            return Ok(None);
        };
        let found = record.state.clone();
        if !found.is_open() {
            self.store.touch_parked(id, now_ms);
            self.state().remember(record, now);
        }
        Ok(Some(found))
    }

    /// Its client polled it at another replica.
    pub fn polled(&self, id: OwnId, now: Instant) {
        self.state().queue.polled(id, now);
    }

    /// Whether it is here that it waits.
    pub fn is_here(&self, id: OwnId) -> bool {
        self.state().queue.record(id).is_some()
    }

    /// What those in front wait for, so that a new submit goes behind them.
    pub fn lacks(&self, among: impl Fn(&ParkedRecord) -> bool) -> Option<Lack> {
        self.state().queue.lacks(among)
    }

    /// Each tenant of which one is parked.
    pub fn all_tenants(&self) -> Vec<Arc<str>> {
        self.state().queue.all_tenants()
    }

    /// The tenants of which one would go now if there were a key. Submits for another vendor wait until that is
    /// configured again.
    pub fn tenants(&self, profile: &str, now: Instant) -> Vec<Arc<str>> {
        self.state().queue.tenants(profile, now)
    }

    /// The next one of these goes. Whoever takes it says how it ended.
    pub fn take(
        self: &Arc<Self>,
        among: impl Fn(&ParkedRecord) -> bool,
        now: Instant,
    ) -> Option<Taken> {
        let record = self.state().queue.take(among, now)?;
        Some(Taken {
            parked: Arc::clone(self),
            record,
            has_left: false,
            has_ended: false,
        })
    }

    /// There is no money at all, as far as the keys know.
    pub fn out_of_money(&self) {
        self.state().queue.out_of_money();
    }

    /// Ends those whose time is over, and those that nobody polls. Returns how many.
    pub fn end_due(&self, park_for: Duration, now: Instant, now_ms: i64) -> usize {
        let mut state = self.state();
        let due = state.queue.due(park_for, now);
        let ended = due.len();
        for (row, why) in due {
            self.unsent(&mut state, row.record, why, now, now_ms);
        }
        ended
    }

    /// By the operator. False: it is on its way, has ended, or never was.
    pub fn cancel(&self, id: OwnId, now: Instant, now_ms: i64) -> bool {
        let mut state = self.state();
        let Some(row) = state.queue.cancel(id) else {
            return false;
        };
        self.unsent(&mut state, row.record, Unsent::Cancelled, now, now_ms);
        true
    }

    fn unsent(
        &self,
        state: &mut State,
        record: ParkedRecord,
        why: Unsent,
        now: Instant,
        now_ms: i64,
    ) {
        drop(self.tenants.of(&record.tenant).unpark(&record.key()));
        let (id, end) = (record.id, ParkedState::Unsent(why));
        self.store.end_parked(id, end.clone(), now_ms);
        let record = ParkedRecord {
            state: end,
            ..record
        };
        state.remember(record, now);
    }

    /// Those that wait or are on their way, the oldest first.
    pub fn list(&self, most: usize) -> Vec<Seen> {
        let state = self.state();
        let rows = state.queue.rows().take(most);
        rows.map(|row| Seen {
            record: row.record.clone(),
            sending: row.place == Place::Sending,
            polled: row.polled,
        })
        .collect()
    }

    /// The id of an uncertain one, which the store knows already. One that is forgotten here is looked up there.
    pub fn came_late(&self, id: OwnId, task: Arc<str>) {
        if let Some(past) = self.state().ended.get_mut(&id) {
            past.record.state = ParkedState::Submitted(task);
        }
    }

    pub fn count(&self) -> usize {
        self.state().queue.rows().len()
    }

    /// Resolves when there is something new to send. Enable it before looking.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self, record: ParkedRecord, now: Instant) {
        let id = record.id;
        let past = Past { record, noted: now };
        if self.ended.insert(id, past).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > MOST_ENDED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }
}

/// One that is being sent.
pub struct Taken {
    parked: Arc<Parked>,
    pub record: ParkedRecord,
    has_left: bool,
    has_ended: bool,
}

impl Taken {
    /// From here on nobody knows what became of it, unless it is said.
    pub fn leaves(&mut self) {
        self.has_left = true;
    }

    /// No key would take it.
    pub fn back(mut self, now: Instant) {
        self.wait_again(now);
    }

    /// The store knows already.
    pub fn submitted(mut self, task: Arc<str>, now: Instant) {
        self.end(ParkedState::Submitted(task), End::Accepted, now);
    }

    /// The store knows already.
    pub fn uncertain(mut self, now: Instant) {
        self.end(ParkedState::Uncertain, End::Uncertain, now);
    }

    /// The vendor blames the submit itself.
    pub fn refused(mut self, code: Arc<str>, now: Instant, now_ms: i64) {
        let state = ParkedState::Refused(code);
        self.parked
            .store
            .end_parked(self.record.id, state.clone(), now_ms);
        self.end(state, End::Blamed, now);
    }

    /// Another replica sends it, so the store tells what comes of it.
    pub fn elsewhere(mut self, now: Instant) {
        self.has_ended = true;
        drop(
            self.parked
                .state()
                .queue
                .end(self.record.id, End::Blamed, now),
        );
        self.parked.changed.notify_waiters();
    }

    fn wait_again(&mut self, now: Instant) {
        self.has_ended = true;
        self.parked.state().queue.back(self.record.id, now);
        self.parked.changed.notify_waiters();
    }

    fn end(&mut self, to: ParkedState, end: End, now: Instant) {
        self.has_ended = true;
        let mut state = self.parked.state();
        if let Some(row) = state.queue.end(self.record.id, end, now) {
            let record = ParkedRecord {
                state: to,
                ..row.record
            };
            state.remember(record, now);
        }
        drop(state);
        self.parked.changed.notify_waiters();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let now = Instant::now();
        match (self.has_ended, self.has_left) {
            (true, _) => {}
            // The program stops: it goes with the next start, as the store says.
            (false, false) => self.wait_again(now),
            // After a panic nobody knows what was sent. Its intent is still open in the store, and becomes uncertain at the
            // next start.
            (false, true) => self.end(ParkedState::Uncertain, End::Uncertain, now),
        }
    }
}

#[cfg(test)]
mod tests;
