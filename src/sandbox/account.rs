//! One account: what runs on it, what it owes, what it has done.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::config::{AccountConfig, Dialect};
use super::vendor::AccountState;

#[derive(Debug)]
pub(super) struct Account {
    pub(super) config: AccountConfig,
    pub(super) totals: Totals,
    /// Tasks whose time has not been seen to come, the next one on top.
    running: BinaryHeap<Reverse<(Instant, Arc<str>, Charge)>>,
    /// The sum of what is running: `balance` less this is free for new tasks.
    reserved_micros: i64,
}

/// What ends with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Charge {
    price_micros: i64,
    fails: bool,
}

/// What an account has done, exact however many tasks are no longer remembered.
/// `made` = `running` + `solved` + `failed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Tasks made.
    pub made: u64,
    pub running: u64,
    pub solved: u64,
    /// Tasks that ended in an error; free of charge.
    pub failed: u64,
    /// Submits answered with an error code: no task.
    pub refused: u64,
    /// Submits that a fault struck before they took effect: no task.
    pub struck: u64,
    pub charged_micros: i64,
    pub polls: u64,
    /// Polls and reports for another account's task.
    pub foreign: u64,
    pub reported_good: u64,
    pub reported_bad: u64,
}

impl Account {
    pub(super) fn new(config: AccountConfig) -> Self {
        Self {
            config,
            totals: Totals::default(),
            running: BinaryHeap::new(),
            reserved_micros: 0,
        }
    }

    /// Ends every task whose time has come: places become free, solved ones are paid.
    pub(super) fn settle(&mut self, now: Instant) {
        while self
            .running
            .peek()
            .is_some_and(|Reverse((ready_at, ..))| *ready_at <= now)
        {
            let Some(Reverse((_, _, charge))) = self.running.pop() else {
                return;
            };
            self.reserved_micros -= charge.price_micros;
            self.totals.running -= 1;
            if charge.fails {
                self.totals.failed += 1;
            } else {
                self.totals.solved += 1;
                self.totals.charged_micros += charge.price_micros;
                self.config.balance_micros -= charge.price_micros;
            }
        }
    }

    /// Call `settle` first.
    pub(super) fn may_submit(&self, dialect: Dialect) -> Result<(), &'static str> {
        let price = self.config.price_micros;
        if price > 0 && self.config.balance_micros - self.reserved_micros < price {
            return Err("ERROR_ZERO_BALANCE");
        }
        match (self.config.threads, dialect) {
            // "Your account has no threads": an expired plan.
            (Some(0), Dialect::Captchaai) => Err("ERROR_KEY_DOES_NOT_EXIST"),
            (Some(threads), _) if self.running.len() < threads as usize => Ok(()),
            (Some(_), Dialect::Captchaai) => Err("ERROR_ZERO_BALANCE"),
            (Some(_), Dialect::Twocaptcha) => Err("ERROR_NO_SLOT_AVAILABLE"),
            (None, _) => Ok(()),
        }
    }

    /// When the task will be ready.
    pub(super) fn start(&mut self, id: &Arc<str>, now: Instant) -> Instant {
        let charge = Charge {
            price_micros: self.config.price_micros,
            fails: self
                .config
                .answer
                .as_deref()
                .is_some_and(|answer| answer.starts_with("ERROR")),
        };
        let ready_at = now + Duration::from_millis(self.config.solve_ms);
        self.running
            .push(Reverse((ready_at, Arc::clone(id), charge)));
        self.reserved_micros += charge.price_micros;
        self.totals.made += 1;
        self.totals.running += 1;
        ready_at
    }

    pub(super) fn state(&self, known: bool) -> AccountState {
        AccountState {
            name: self.config.name.clone(),
            key: self.config.key.clone(),
            enabled: self.config.enabled && known,
            balance_micros: self.config.balance_micros,
            price_micros: self.config.price_micros,
            threads: self.config.threads,
            working: self.running.len(),
            solve_ms: self.config.solve_ms,
        }
    }
}
