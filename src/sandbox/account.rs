//! One account: what runs on it, what it owes, what it has done.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::config::{AccountConfig, Dialect, Later, SandboxConfig};
use super::limits::Usage;
use super::vendor::AccountState;

#[derive(Debug)]
pub(super) struct Account {
    pub(super) config: AccountConfig,
    pub(super) totals: Totals,
    pub(super) usage: Usage,
    /// What changes by itself, the next last.
    later: Vec<(Instant, Later)>,
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
    pub(super) fn new(config: AccountConfig, now: Instant) -> Self {
        let mut account = Self {
            config: AccountConfig::default(),
            totals: Totals::default(),
            usage: Usage::default(),
            later: Vec::new(),
            running: BinaryHeap::new(),
            reserved_micros: 0,
        };
        account.put(config, now);
        account
    }

    pub(super) fn put(&mut self, mut config: AccountConfig, now: Instant) {
        let later = config.later.drain(..);
        self.later
            .extend(later.map(|later| (now + Duration::from_millis(later.after_ms), later)));
        self.later.sort_by_key(|(at, _)| Reverse(*at));
        self.config = config;
    }

    /// Changes that are still to come.
    pub(super) fn waiting(&self) -> usize {
        self.later.len()
    }

    /// Lets everything happen whose time has come, in its order.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some((at, later)) = self.later.pop_if(|(at, _)| *at <= now) {
            self.end_tasks(at);
            let config = &mut self.config;
            config.balance_micros = later.balance_micros.unwrap_or(config.balance_micros);
            config.threads = later.threads.or(config.threads);
            config.enabled = later.enabled.unwrap_or(config.enabled);
        }
        self.end_tasks(now);
    }

    /// Places become free, solved tasks are paid.
    fn end_tasks(&mut self, now: Instant) {
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
    pub(super) fn may_submit(&self, vendor: &SandboxConfig) -> Result<(), String> {
        let price = self.config.price_micros;
        if price > 0 && self.config.balance_micros - self.reserved_micros < price {
            return Err("ERROR_ZERO_BALANCE".to_owned());
        }
        let (documented, own) = match (self.config.threads, vendor.dialect) {
            (None, _) => return Ok(()),
            (Some(threads), _) if self.running.len() < threads as usize => return Ok(()),
            // "Your account has no threads": an expired plan.
            (Some(0), Dialect::Captchaai) => ("ERROR_KEY_DOES_NOT_EXIST", &vendor.expired_code),
            (Some(0), Dialect::Twocaptcha) => ("ERROR_NO_SLOT_AVAILABLE", &vendor.expired_code),
            (Some(_), Dialect::Captchaai) => ("ERROR_ZERO_BALANCE", &vendor.full_code),
            (Some(_), Dialect::Twocaptcha) => ("ERROR_NO_SLOT_AVAILABLE", &vendor.full_code),
        };
        Err(own.as_deref().unwrap_or(documented).to_owned())
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

    pub(super) fn state(&self, known: bool, now: Instant) -> AccountState {
        let ban = self.usage.ban(now);
        AccountState {
            name: self.config.name.clone(),
            key: self.config.key.clone(),
            enabled: self.config.enabled && known,
            balance_micros: self.config.balance_micros,
            price_micros: self.config.price_micros,
            threads: self.config.threads,
            working: self.running.len(),
            solve_ms: self.config.solve_ms,
            ban: ban.map(|(ban, _)| ban.code()),
            ban_left_ms: ban.map_or(0, |(_, until)| {
                u64::try_from((until - now).as_millis()).unwrap_or(u64::MAX)
            }),
        }
    }
}
