//! What belongs to an account, which is what a key's name stands for: its slots, its request rates, its balance. All of
//! it outlives reloads and new values under the same name.

mod slot;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::beyond::Beyond;
use super::count::Count;
use super::events::Events;
pub use super::funds::Money;
use super::funds::{Funds, Shortage};
use super::history::{History, Point};
use super::key::Availability;
pub use super::limits::Limits;
use super::rate::{Allowance, Window};
pub use super::slots::LEASE;
use super::slots::Slots;
pub use super::tally::Solves;
use super::tally::Tally;
use crate::store::{Spent, TaskKey};
use crate::vendor::account::Threads;
pub use slot::Slot;

#[derive(Debug)]
pub struct Account {
    pub name: Arc<str>,
    /// A std lock with sections of a few instructions; never held over an await.
    state: Mutex<State>,
    events: Arc<Events>,
}

#[derive(Debug, Default)]
struct State {
    slots: Slots,
    /// Slots, where the vendor says, and when it said so.
    threads: Option<u32>,
    threads_at: Option<Instant>,
    /// Slots that somebody else uses, by the vendor's own count, believed for a while. Somebody else's tasks end unseen, so
    /// this sends work elsewhere but never closes the key: the vendor's refusals do that, for as long as they say.
    elsewhere: Option<(u32, Instant)>,
    /// What all replicas together use, by the store's count, and when it said so.
    together: Option<(u32, Instant)>,
    submits: Window,
    requests: Window,
    polls: Allowance,
    funds: Funds,
    beyond: Beyond,
    history: History,
    count: Count,
    tally: Tally,
}

/// What the final answer of a task says of its bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bill {
    /// What failed is not charged.
    Nothing,
    /// The price that was expected at the submit.
    AsExpected,
    /// In micro-dollars, by the vendor.
    Said(i64),
}

/// For those who look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotsSeen {
    pub used: usize,
    /// None: no limit is known.
    pub max: Option<u32>,
}

const ELSEWHERE_FOR: Duration = Duration::from_secs(60);
/// The store's own count comes every quarter of a second, with ten thousand accounts every five seconds.
const TOGETHER_FOR: Duration = Duration::from_secs(10);
/// Before the store is asked again for a slot of an account that was full.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// What the vendor said of threads is repeated to clients for so many refreshes.
const THREADS_KNOWN: u32 = 3;

impl Account {
    pub(super) fn new(name: Arc<str>, events: &Arc<Events>) -> Self {
        Self {
            name,
            state: Mutex::default(),
            events: Arc::clone(events),
        }
    }

    pub(super) fn availability(&self, limits: &Limits, now: Instant) -> Availability {
        self.fresh(now).availability(limits, now)
    }

    /// A slot, and the right to send one submit.
    pub(super) fn take(
        self: &Arc<Self>,
        limits: &Limits,
        now: Instant,
    ) -> Result<Slot, Availability> {
        let mut state = self.fresh(now);
        match state.availability(limits, now) {
            Availability::Now => {}
            other => return Err(other),
        }
        state.submits.note(limits.submits, now);
        state.requests.note(limits.requests, now);
        let number = state.slots.take();
        Ok(Slot {
            account: Arc::clone(self),
            number,
            is_kept: false,
        })
    }

    /// The right to send one call that is no submit.
    pub fn take_call(&self, limits: &Limits, now: Instant) -> bool {
        let mut state = self.state();
        let free = state.requests.next_at(limits.requests, now).is_none()
            && state.polls.take(limits.polls, now);
        if free {
            state.requests.note(limits.requests, now);
        }
        free
    }

    /// Whether questions of our own leave enough calls to the polls of the account's tasks.
    pub fn has_calls_to_spare(&self, limits: &Limits, now: Instant) -> bool {
        let state = self.state();
        state.requests.next_at(limits.requests, now).is_none()
            && state.polls.has_to_spare(limits.polls, now)
    }

    /// A task from before a restart, or a submit of which nobody knows how it ended.
    pub fn restore(self: &Arc<Self>, task: Option<(TaskKey, i64)>, until: Instant) {
        let mut state = self.state();
        let number = state.slots.take();
        state.slots.lease(number, until);
        if let Some((key, price_micro_usd)) = task {
            state.slots.give_to(number, key, price_micro_usd);
        }
    }

    /// All replicas together use so many of its slots.
    pub fn used_together(&self, used: u32, now: Instant) {
        let mut state = self.state();
        let before = state.together.replace((used, now));
        drop(state);
        // After a count that was too old to go by, a key may have been full by another one.
        if before.is_none_or(|(before, at)| used < before || now >= at + TOGETHER_FOR) {
            self.events.freed(&self.name);
        }
    }

    /// The vendor says that the task still runs.
    pub fn task_runs(&self, task: &TaskKey, now: Instant) {
        self.state().slots.renew(task, now + LEASE);
    }

    /// The final answer of a task.
    pub fn task_ended(&self, task: &TaskKey, bill: Bill) {
        let mut state = self.state();
        let Some(expected) = state.slots.end(task) else {
            return;
        };
        let (spent, is_said) = match bill {
            Bill::Nothing => (0, false),
            Bill::AsExpected => (expected, false),
            Bill::Said(price) => (price, true),
        };
        state.funds.spend(spent);
        state.beyond.settled(spent, is_said);
        drop(state);
        self.events.freed(&self.name);
    }

    /// Ends the leases that are over.
    pub fn expire(&self, now: Instant) {
        drop(self.fresh(now));
    }

    pub fn learn_threads(&self, threads: Threads, now: Instant) {
        let mut state = self.state();
        // A plan without a thread has expired. That is the health's to judge, and no limit that would outlast a renewal.
        state.threads = Some(threads.total).filter(|total| *total > 0);
        state.threads_at = Some(now);
        state.funds.heard(super::chance(), now);
        let own = u32::try_from(state.slots.used()).unwrap_or(u32::MAX);
        let ours = state.together.map_or(own, |(used, _)| used.max(own));
        let elsewhere = threads.working.saturating_sub(ours);
        state.elsewhere = (elsewhere > 0).then_some((elsewhere, now + ELSEWHERE_FOR));
        state.count = Count::answered(now);
        drop(state);
        self.events.freed(&self.name);
    }

    /// Whether somebody else spends of it, where nobody shares it: this is the next balance, not learnt yet.
    pub fn compare(&self, micro_usd: i64, now: Instant) {
        let mut state = self.state();
        state.slots.expire(now);
        let lapsed = state.slots.take_lapsed();
        let running = state.slots.price_micro_usd();
        let unknown = state.slots.without_task().saturating_add(lapsed);
        if let Some(before) = state.funds.last() {
            let fell = before.saturating_sub(micro_usd);
            state.beyond.looked(fell, running, unknown, now);
        }
    }

    /// The same where replicas share it, with what all of them used when the vendor had said the balance.
    pub fn compare_together(&self, micro_usd: i64, used: Spent, now: Instant) {
        self.state().beyond.looked_together(micro_usd, used, now);
    }

    pub fn learn_balance(&self, micro_usd: i64, now: Instant) {
        let mut state = self.state();
        state.funds.learn(micro_usd, super::chance(), now);
        state.history.learn(micro_usd, now);
        drop(state);
        // Whoever was out of money may be back.
        self.events.freed(&self.name);
    }

    /// What is asked for now and then, was.
    pub fn refresh_asked(&self, now: Instant) {
        self.state().funds.asked(super::chance(), now);
    }

    /// None: at once, and before all others.
    pub fn refresh_due(&self, limits: &Limits) -> Option<Instant> {
        let state = self.state();
        state.funds.due(limits, state.slots.price_micro_usd())
    }

    /// What the vendor said last, however long ago, and what that comes to.
    pub fn money(&self, now: Instant) -> Option<Money> {
        let state = self.state();
        state.funds.money(state.slots.price_micro_usd(), now)
    }

    /// What the vendor said over the last day, oldest first. `from` None: all of it.
    pub fn history(&self, from: Option<Instant>) -> Vec<Point> {
        self.state().history.since(from)
    }

    /// What somebody else has spent of it, in micro-dollars: lately, while that is news, and since the start.
    pub fn spent_by_others(&self, now: Instant) -> (Option<i64>, i64) {
        let state = self.state();
        (state.beyond.recent(now), state.beyond.total())
    }

    /// The last known balance less what was settled since. None: nobody knows.
    pub fn balance(&self, limits: &Limits, now: Instant) -> Option<i64> {
        self.state().funds.current(limits, now)
    }

    /// The same less what runs.
    pub fn virtual_balance(&self, limits: &Limits, now: Instant) -> Option<i64> {
        let state = self.state();
        let balance = state.funds.current(limits, now)?;
        Some(balance.saturating_sub(state.slots.price_micro_usd()))
    }

    pub(super) fn shortage(&self, limits: &Limits, now: Instant) -> Option<Shortage> {
        self.state().funds.shortage(limits, now)
    }

    /// As the vendor said last, with our own slots as they are now. None: nobody knows.
    pub fn threads(&self, limits: &Limits, now: Instant) -> Option<Threads> {
        let state = self.fresh(now);
        let is_recent = |at: Instant| now.duration_since(at) < limits.refresh * THREADS_KNOWN;
        state.threads_at.filter(|at| is_recent(*at))?;
        // None of them is a plan that has expired.
        let total = state.threads.unwrap_or(0);
        let total = total.min(state.max(limits).unwrap_or(total));
        let ours = u32::try_from(state.slots.used()).unwrap_or(u32::MAX);
        let working = ours.saturating_add(state.elsewhere(now)).min(total);
        Some(Threads { total, working })
    }

    /// The vendor refused a submit for want of a slot.
    pub fn refused_for_slots(&self) {
        let is_news = self.state().count.contradict();
        if is_news {
            self.events.happened();
        }
    }

    /// Whether the vendor's own count is worth a question.
    pub fn wants_count(&self, now: Instant) -> bool {
        let state = self.state();
        state.count.is_wanted(state.threads.is_some(), now)
    }

    /// When a refusal that contradicts our own count may be asked about.
    pub fn next_count(&self, now: Instant) -> Option<Instant> {
        self.state().count.next(now)
    }

    /// One question at a time, whatever comes of it.
    pub fn count_asked(&self, now: Instant) {
        self.state().count.asked(now);
    }

    /// A task ended with its final answer.
    pub fn count_solve(&self, kind: &'static str, done: bool) {
        self.state().tally.solve(kind, done);
    }

    /// The vendor refused a call and blamed the key.
    pub fn count_failure(&self, code: &str) {
        self.state().tally.failure(code);
    }

    /// Since the start, by type.
    pub fn solves(&self) -> Vec<(&'static str, Solves)> {
        self.state().tally.solves()
    }

    /// Since the start, by code.
    pub fn failures(&self) -> Vec<(String, u64)> {
        self.state().tally.failures()
    }

    pub fn slots(&self, limits: &Limits, now: Instant) -> SlotsSeen {
        let state = self.fresh(now);
        SlotsSeen {
            used: state.used(limits, now),
            max: state.max(limits),
        }
    }

    /// Its slots, where somebody says how many there are.
    pub fn most_tasks(&self, limits: &Limits) -> Option<u32> {
        self.state().max(limits)
    }

    /// The share of its slots that is taken; without a limit, how many.
    pub(super) fn load(&self, limits: &Limits, now: Instant) -> f64 {
        let state = self.state();
        let used = state.used(limits, now) as f64 + f64::from(state.elsewhere(now));
        used / state.max(limits).map_or(1.0, f64::from).max(1.0)
    }

    #[cfg(test)]
    pub(super) fn holds(&self, task: &TaskKey) -> bool {
        self.state().slots.holds(task)
    }

    pub(super) fn is_used(&self) -> bool {
        self.state().slots.used() > 0
    }

    /// The state without the leases that are over. Whoever notices their end tells those who wait, because nobody after it
    /// could. The events' own lock is taken last, everywhere.
    fn fresh(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.state();
        let freed = state.slots.expire(now);
        if freed > 0 {
            tracing::debug!(key = %self.name, slots = freed, "slots were freed by the end of their lease");
            self.events.freed(&self.name);
        }
        state
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn availability(&mut self, limits: &Limits, now: Instant) -> Availability {
        if self.funds.shortage(limits, now).is_some() {
            return Availability::Short;
        }
        let max = self.max(limits);
        // While the store is gone each counts its own.
        let is_counted = self.together(limits, now).is_some();
        let ours = match is_counted {
            true => self.slots.on_their_way(),
            false => self.slots.used(),
        };
        if max.is_some_and(|max| ours >= max as usize) {
            self.count.is_full();
            return Availability::Full { again: None };
        }
        if let (Some(max), Some((used, at))) = (max, self.together)
            && used >= max
            && now < at + ASK_AGAIN
        {
            self.count.is_full();
            let again = Some(at + ASK_AGAIN);
            return Availability::Full { again };
        }
        let submits = self.submits.next_at(limits.submits, now);
        let requests = self.requests.next_at(limits.requests, now);
        match submits.max(requests) {
            Some(until) => Availability::At(until),
            None => Availability::Now,
        }
    }

    fn used(&self, limits: &Limits, now: Instant) -> usize {
        let together = self.together(limits, now);
        together.map_or_else(|| self.slots.used(), |used| used as usize)
    }

    /// None: nobody shares it, or nobody knows.
    fn together(&self, limits: &Limits, now: Instant) -> Option<u32> {
        let (used, at) = self.together.filter(|_| limits.shared)?;
        (now < at + TOGETHER_FOR).then_some(used)
    }

    fn elsewhere(&self, now: Instant) -> u32 {
        self.elsewhere
            .filter(|(_, until)| *until > now)
            .map_or(0, |(slots, _)| slots)
    }

    fn max(&self, limits: &Limits) -> Option<u32> {
        limits.max_tasks.or(self.threads)
    }
}
