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
use crate::store::TaskKey;

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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: TenantLimits = TenantLimits {
        daily: None,
        rate_per_minute: None,
        budget_micro_usd: None,
        max_tasks: None,
    };
    /// 2026-11-30T23:59:59Z.
    const LAST_SECOND: i64 = 1_796_083_199_000;

    fn task(id: u64) -> TaskKey {
        TaskKey {
            profile: "captchaai".into(),
            tenant: "alice".into(),
            id: id.to_string().as_str().into(),
        }
    }

    #[test]
    fn days_and_months_turn_at_midnight_utc() {
        let (before, after) = (Day::of(LAST_SECOND), Day::of(LAST_SECOND + 1000));
        assert_eq!((after.day - before.day, after.month - before.month), (1, 1));
        assert_eq!(Day::of(-1).day, -1);
    }

    #[test]
    fn a_failed_task_is_not_charged_and_a_solved_one_is_once() {
        let limits = TenantLimits {
            daily: Some(2),
            ..LIMITS
        };
        let (mut meter, now) = (Meter::default(), Instant::now());
        for id in 0..3 {
            let submit = meter.reserve(&limits, 5, now, LAST_SECOND).unwrap();
            meter.give_to(submit, task(id), now);
            meter.end(&task(id), None, LAST_SECOND);
        }
        let refused = meter.reserve(&limits, 5, now, LAST_SECOND).unwrap();
        meter.give_back(refused);
        for id in 0..2 {
            let submit = meter.reserve(&limits, 5, now, LAST_SECOND).unwrap();
            meter.give_to(submit, task(id), now);
            meter.end(&task(id), Some(7), LAST_SECOND);
        }
        assert_eq!(
            meter.reserve(&limits, 5, now, LAST_SECOND),
            Err(Limit::Daily)
        );
        let used = meter.used(LAST_SECOND);
        assert_eq!(
            (
                used.solves_today,
                used.spent_micro_usd,
                used.reserved_micro_usd
            ),
            (2, 14, 0)
        );
        assert!(meter.reserve(&limits, 5, now, LAST_SECOND + 1000).is_ok());
        assert_eq!(meter.used(LAST_SECOND + 1000).spent_micro_usd, 0);
    }

    #[test]
    fn a_clock_set_back_gives_no_limit_a_second_time() {
        let limits = TenantLimits {
            daily: Some(1),
            ..LIMITS
        };
        let (mut meter, now) = (Meter::default(), Instant::now());
        let submit = meter.reserve(&limits, 1, now, LAST_SECOND).unwrap();
        meter.give_to(submit, task(1), now);
        meter.end(&task(1), Some(1), LAST_SECOND);
        let yesterday = LAST_SECOND - DAY_MS;
        assert_eq!(meter.reserve(&limits, 1, now, yesterday), Err(Limit::Daily));
        assert_eq!(
            meter.reserve(&limits, 1, now, LAST_SECOND),
            Err(Limit::Daily)
        );
        let today = LAST_SECOND + 1000 - DAY_MS;
        assert_eq!(meter.end(&task(2), Some(1), yesterday), today);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_of_any_sixty_seconds_and_a_refusal_does_not_lengthen_it() {
        let limits = TenantLimits {
            rate_per_minute: Some(2),
            ..LIMITS
        };
        let (mut meter, start) = (Meter::default(), Instant::now());
        let mut submit = |seconds| {
            let now = start + Duration::from_secs(seconds);
            let reserved = meter.reserve(&limits, 0, now, 0);
            if let Ok(submit) = reserved {
                meter.give_back(submit);
            }
            reserved.map(|_| ())
        };
        assert_eq!(submit(0), Ok(()));
        assert_eq!(submit(30), Ok(()));
        assert_eq!(submit(59), Err(Limit::Rate));
        assert_eq!(submit(60), Ok(()));
        assert_eq!(submit(89), Err(Limit::Rate));
        assert_eq!(submit(90), Ok(()));
    }

    proptest! {
        /// Whatever comes in whatever order: no limit is passed, and what is reserved is what runs.
        #[test]
        fn no_order_of_events_overshoots(steps in proptest::collection::vec((0u8..5, 0u64..6, 1i64..4), 1..200)) {
            let limits = TenantLimits {
                daily: Some(6),
                budget_micro_usd: Some(15),
                max_tasks: Some(3),
                rate_per_minute: None,
            };
            let (mut meter, now) = (Meter::default(), Instant::now());
            let mut on_their_way = Vec::new();
            let mut alive = HashMap::new();
            for (what, id, price) in steps {
                match what {
                    0 | 1 => {
                        if let Ok(submit) = meter.reserve(&limits, price, now, 0) {
                            on_their_way.push((submit, price));
                        }
                    }
                    2 => {
                        if let Some((submit, _)) = on_their_way.pop() {
                            meter.give_back(submit);
                        }
                    }
                    3 => {
                        if let Some((submit, price)) = on_their_way.pop() {
                            meter.give_to(submit, task(id), now);
                            alive.insert(id, price);
                        }
                    }
                    _ => {
                        if let Some(price) = alive.remove(&id) {
                            meter.end(&task(id), (price > 1).then_some(price), 0);
                        }
                    }
                }
                let used = meter.used(0);
                let reserved: i64 = on_their_way.iter().map(|(_, price)| price).chain(alive.values()).sum();
                prop_assert_eq!(used.reserved_micro_usd, reserved);
                prop_assert_eq!(used.running, on_their_way.len() + alive.len());
                prop_assert!(used.running <= 3 && used.solves_today as usize + used.running <= 6);
                prop_assert!(used.spent_micro_usd + used.reserved_micro_usd <= 15);
            }
        }
    }
}
