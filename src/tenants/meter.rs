//! What one tenant has used of its limits. Pure: both clocks are parameters.
//!
//! A submit reserves what its solve would use: one solve of the day, its price, one of the parallel tasks. The
//! reservation is the task's until it ends: a solve turns it into use, everything else gives it back. So no concurrency
//! can overshoot a limit, and nothing is charged for a failure. A solve belongs to the day in which its answer came;
//! whatever runs counts for today, because it may be solved today.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::config::settings::TenantLimits;
use crate::store::{Settled, TaskKey};

#[derive(Debug, Default)]
pub struct Meter {
    day: Day,
    solves: u32,
    /// Of the month.
    spent_micro_usd: i64,
    last: u64,
    /// Submits on their way, by number, and tasks that run, with what each would cost.
    submits: HashMap<u64, i64>,
    tasks: HashMap<TaskKey, Held>,
    /// Submits that wait for a key under an id of ours.
    parked: HashMap<TaskKey, i64>,
    reserved_micro_usd: i64,
    /// Submits of today of which nobody can know whether they made a task: each counts as one that did.
    uncertain: u32,
    uncertain_micro_usd: i64,
    /// What the month would have come to with the dearest submit that was refused although nothing else ran.
    wanted_micro_usd: i64,
    /// When the submits of the last minute came.
    rate: VecDeque<Instant>,
}

/// What a task that runs has reserved.
#[derive(Clone, Copy, Debug)]
struct Held {
    price_micro_usd: i64,
    since: Instant,
}

/// A UTC day, and the month that it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    pub day: i64,
    pub month: i64,
}

/// The limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limit {
    Daily,
    Budget,
    Tasks,
    Rate,
}

impl Limit {
    pub const ALL: [Self; 4] = [Self::Daily, Self::Budget, Self::Tasks, Self::Rate];

    /// As the tenants file calls it; in log, metric and store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Daily => "daily_limit",
            Self::Budget => "monthly_budget",
            Self::Tasks => "max_tasks",
            Self::Rate => "rate_per_minute",
        }
    }
}

/// For those who look, and from the store at a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub solves_today: u32,
    pub spent_micro_usd: i64,
    /// Submits of today of which nobody can know whether they made a task, and what those would cost.
    pub uncertain_today: u32,
    pub uncertain_micro_usd: i64,
    /// Not restored by this: see `Meter::hold`.
    pub running: usize,
    pub reserved_micro_usd: i64,
    /// What the month would have come to with a submit that its budget had no room for; 0 if there was none.
    pub wanted_micro_usd: i64,
}

/// What may still be used. None: there is no such limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Below 0 where the budget was lowered, or a solve cost more than was expected.
    pub budget_micro_usd: Option<i64>,
    pub solves: Option<u32>,
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;
/// SECURITY: tasks are followed for half an hour. One that nobody follows any more, because there were too many, must not
/// hold its tenant's limit and our memory for ever.
pub const LONGEST_HELD: Duration = Duration::from_secs(3600);

impl Day {
    pub fn of(now_ms: i64) -> Self {
        let date = OffsetDateTime::from_unix_timestamp(now_ms.div_euclid(1000))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Self {
            day: now_ms.div_euclid(DAY_MS),
            month: i64::from(date.year()) * 12 + i64::from(u8::from(date.month())) - 1,
        }
    }

    pub fn began_ms(self) -> i64 {
        self.day * DAY_MS
    }

    pub fn month_began_ms(self) -> i64 {
        let date = OffsetDateTime::from_unix_timestamp(self.began_ms() / 1000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        self.began_ms() - (i64::from(date.day()) - 1) * DAY_MS
    }
}

impl Meter {
    /// As the store knows it at a start.
    pub fn restored(used: Used, now_ms: i64) -> Self {
        Self {
            day: Day::of(now_ms),
            solves: used.solves_today,
            spent_micro_usd: used.spent_micro_usd,
            uncertain: used.uncertain_today,
            uncertain_micro_usd: used.uncertain_micro_usd,
            ..Self::default()
        }
    }

    /// A number for the submit, to be given back or to a task.
    pub fn reserve(
        &mut self,
        limits: &TenantLimits,
        price_micro_usd: i64,
        now: Instant,
        now_ms: i64,
    ) -> Result<u64, Limit> {
        self.turn(now_ms);
        while self
            .rate
            .front()
            .is_some_and(|then| now.duration_since(*then) >= MINUTE)
        {
            self.rate.pop_front();
        }
        let running = self.running();
        let solves = self.solves as usize + self.uncertain as usize + running;
        let alone = self.spent_micro_usd.saturating_add(price_micro_usd);
        let spent = alone
            .saturating_add(self.reserved_micro_usd)
            .saturating_add(self.uncertain_micro_usd);
        let reached =
            |limit: Option<u32>, used: usize| limit.is_some_and(|limit| used >= limit as usize);
        if reached(limits.daily, solves) {
            return Err(Limit::Daily);
        }
        if let Some(budget) = limits.budget_micro_usd
            && spent > budget
        {
            if alone > budget {
                self.wanted_micro_usd = self.wanted_micro_usd.max(alone);
            }
            return Err(Limit::Budget);
        }
        if reached(limits.max_tasks, running) {
            return Err(Limit::Tasks);
        }
        if reached(limits.rate_per_minute, self.rate.len()) {
            return Err(Limit::Rate);
        }
        if limits.rate_per_minute.is_some() {
            self.rate.push_back(now);
        }
        self.last += 1;
        self.submits.insert(self.last, price_micro_usd);
        self.reserved_micro_usd += price_micro_usd;
        Ok(self.last)
    }

    /// The submit made no task.
    pub fn give_back(&mut self, submit: u64) {
        self.reserved_micro_usd -= self.submits.remove(&submit).unwrap_or_default();
    }

    /// It waits for a key: nothing ends this but `unpark`.
    pub fn park(&mut self, submit: u64, own: TaskKey) {
        if let Some(price) = self.submits.remove(&submit) {
            self.reserved_micro_usd -= price;
            self.hold_parked(own, price);
        }
    }

    /// From before a restart.
    pub fn hold_parked(&mut self, own: TaskKey, price_micro_usd: i64) {
        self.reserved_micro_usd += price_micro_usd;
        self.reserved_micro_usd -= self.parked.insert(own, price_micro_usd).unwrap_or_default();
    }

    /// It goes on its way again, under the number returned, or to its end.
    pub fn unpark(&mut self, own: &TaskKey) -> Option<u64> {
        let price = self.parked.remove(own)?;
        self.last += 1;
        self.submits.insert(self.last, price);
        Some(self.last)
    }

    /// Nobody can know whether it made a task.
    pub fn is_uncertain(&mut self, submit: u64) {
        if let Some(price) = self.submits.remove(&submit) {
            self.reserved_micro_usd -= price;
            self.uncertain_micro_usd += price;
            self.uncertain = self.uncertain.saturating_add(1);
        }
    }

    /// The vendor accepted: the reservation is the task's from now on.
    pub fn give_to(&mut self, submit: u64, task: TaskKey, now: Instant) {
        if let Some(price) = self.submits.remove(&submit) {
            self.reserved_micro_usd -= price;
            self.hold(task, price, now);
        }
    }

    /// A task runs; also one from before a restart. A second one of the same id takes its place.
    pub fn hold(&mut self, task: TaskKey, price_micro_usd: i64, now: Instant) {
        let held = Held {
            price_micro_usd,
            since: now,
        };
        self.reserved_micro_usd += price_micro_usd;
        if let Some(replaced) = self.tasks.insert(task, held) {
            self.reserved_micro_usd -= replaced.price_micro_usd;
        }
    }

    /// The task ended: with what it is charged, or without a solve. Returns when, for the bill: after a clock was set back,
    /// a solve still belongs to the day that it is counted in.
    pub fn end(&mut self, task: &TaskKey, charged_micro_usd: Option<i64>, now_ms: i64) -> i64 {
        self.turn(now_ms);
        if let Some(held) = self.tasks.remove(task) {
            self.reserved_micro_usd -= held.price_micro_usd;
        }
        if let Some(price) = charged_micro_usd {
            self.solves = self.solves.saturating_add(1);
            self.spent_micro_usd = self.spent_micro_usd.saturating_add(price);
        }
        now_ms.max(self.day.began_ms())
    }

    /// Several processes count, and this is what they came to.
    pub fn used_together(&mut self, used: Settled, now_ms: i64) {
        self.turn(now_ms);
        // After a clock was set back they are those of a day that is over here.
        if self.day == Day::of(now_ms) {
            self.solves = used.solves_today;
            self.spent_micro_usd = used.charged_this_month_micro_usd;
        }
    }

    /// Gives back what tasks have reserved that nobody follows any more, after so long.
    pub fn sweep(&mut self, longest: Duration, now: Instant) {
        let reserved = &mut self.reserved_micro_usd;
        self.tasks.retain(|_, held| {
            let follows = now.duration_since(held.since) < longest;
            if !follows {
                *reserved -= held.price_micro_usd;
            }
            follows
        });
    }

    pub fn used(&mut self, now_ms: i64) -> Used {
        self.turn(now_ms);
        Used {
            solves_today: self.solves,
            spent_micro_usd: self.spent_micro_usd,
            uncertain_today: self.uncertain,
            uncertain_micro_usd: self.uncertain_micro_usd,
            running: self.running(),
            reserved_micro_usd: self.reserved_micro_usd,
            wanted_micro_usd: self.wanted_micro_usd,
        }
    }

    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// By the same count as `reserve`.
    pub fn left(&mut self, limits: &TenantLimits, now_ms: i64) -> Left {
        self.turn(now_ms);
        let running = u32::try_from(self.running()).unwrap_or(u32::MAX);
        let solves = [self.uncertain, running]
            .into_iter()
            .fold(self.solves, u32::saturating_add);
        let spent = [self.reserved_micro_usd, self.uncertain_micro_usd]
            .into_iter()
            .fold(self.spent_micro_usd, i64::saturating_add);
        Left {
            budget_micro_usd: limits
                .budget_micro_usd
                .map(|budget| budget.saturating_sub(spent)),
            solves: limits.daily.map(|daily| daily.saturating_sub(solves)),
        }
    }

    fn running(&self) -> usize {
        self.submits.len() + self.tasks.len() + self.parked.len()
    }

    /// A clock that is set back begins no day anew: that would give the limit a second time.
    fn turn(&mut self, now_ms: i64) {
        let now = Day::of(now_ms);
        if now.day > self.day.day {
            self.solves = 0;
            self.uncertain = 0;
            self.uncertain_micro_usd = 0;
            if now.month > self.day.month {
                self.spent_micro_usd = 0;
                self.wanted_micro_usd = 0;
            }
            self.day = now;
        }
    }
}

#[cfg(test)]
mod tests;
