//! The place of one submit, then of its task, on an account.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::limits::Limits;
use super::super::slots::LEASE;
use super::Account;
use crate::store::TaskKey;

/// Held by a submit, then by its task. Dropped, it gives the slot back.
#[derive(Debug)]
pub struct Slot {
    pub(super) account: Arc<Account>,
    pub(super) number: u64,
    pub(super) is_kept: bool,
}

impl Slot {
    /// The vendor accepted: the slot is the task's from now on.
    pub fn give_to(mut self, task: TaskKey, price_micro_usd: i64, limits: &Limits, now: Instant) {
        self.is_kept = true;
        let mut state = self.account.state();
        state.polls.earn(limits.polls);
        state.slots.lease(self.number, now + LEASE);
        state.slots.give_to(self.number, task, price_micro_usd);
        state.beyond.submitted(price_micro_usd);
        drop(state);
        if limits.shared {
            // From now on the store counts it; one submit less is on its way.
            self.account.events.freed(&self.account.name);
        }
    }

    /// Nobody knows whether there is a task: held until the lease ends.
    pub fn keep(mut self, now: Instant) {
        self.is_kept = true;
        let mut state = self.account.state();
        state.slots.lease(self.number, now + LEASE);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.is_kept && self.account.state().slots.give_back(self.number) {
            self.account.events.freed(&self.account.name);
        }
    }
}
