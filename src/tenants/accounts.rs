//! The meters of all tenants. They belong to the names, so they outlive reloads, new tokens and changed limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::meter::{Limit, Meter, Used};
use super::tally::Tally;
use crate::config::settings::TenantLimits;
use crate::store::{Refused, TaskKey};

#[derive(Debug, Default)]
pub struct Accounts {
    /// As many as tenants were ever named.
    by_name: Mutex<HashMap<Arc<str>, Arc<Account>>>,
}

#[derive(Debug, Default)]
pub struct Account {
    /// A std lock with sections of a few instructions; never held over an await.
    meter: Mutex<Meter>,
    /// Likewise. Never held together with the other.
    tally: Mutex<Tally>,
}

/// What a submit has reserved. Dropped, it is given back, unless there is a task, or may be one.
#[derive(Debug)]
pub struct Reservation {
    account: Arc<Account>,
    submit: u64,
}

impl Accounts {
    pub fn of(&self, tenant: &Arc<str>) -> Arc<Account> {
        let mut accounts = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(Arc::clone(tenant)).or_default())
    }

    /// As the store knows it at a start.
    pub fn restore(&self, tenant: &Arc<str>, used: Used, now_ms: i64) {
        *self.of(tenant).meter() = Meter::restored(used, now_ms);
    }

    /// Likewise.
    pub fn restore_refusals(&self, refused: &Refused) {
        self.of(&refused.tenant).tally().restore(refused);
    }

    /// Refusals since this was asked last, as the store keeps them: a flood of them is one change a tenant and reason.
    pub fn new_refusals(&self) -> Vec<Refused> {
        let mut refused = Vec::new();
        for (tenant, account) in self.all() {
            account.tally().take_new(&tenant, &mut refused);
        }
        refused
    }

    pub fn sweep(&self, now: Instant) {
        for (_, account) in self.all() {
            account.meter().sweep(now);
        }
    }

    fn all(&self) -> Vec<(Arc<str>, Arc<Account>)> {
        let accounts = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let all = accounts.iter();
        all.map(|(tenant, account)| (Arc::clone(tenant), Arc::clone(account)))
            .collect()
    }
}

impl Account {
    pub fn reserve(
        self: &Arc<Self>,
        limits: &TenantLimits,
        price_micro_usd: i64,
        now: Instant,
        now_ms: i64,
    ) -> Result<Reservation, Limit> {
        let reserved = self.meter().reserve(limits, price_micro_usd, now, now_ms);
        match reserved {
            Ok(submit) => Ok(Reservation {
                account: Arc::clone(self),
                submit,
            }),
            Err(limit) => {
                self.tally().refuse(limit, now_ms);
                Err(limit)
            }
        }
    }

    /// A task from before a restart.
    pub fn hold(&self, task: TaskKey, price_micro_usd: i64, now: Instant) {
        self.meter().hold(task, price_micro_usd, now);
    }

    /// A task of this type ended: with what it is charged, or without a solve. Returns when, for the bill.
    pub fn task_ended(
        &self,
        task: &TaskKey,
        kind: &'static str,
        charged_micro_usd: Option<i64>,
        now_ms: i64,
    ) -> i64 {
        let ended_at_ms = self.meter().end(task, charged_micro_usd, now_ms);
        if let Some(charged) = charged_micro_usd {
            self.tally().solve(kind, charged);
        }
        ended_at_ms
    }

    pub fn used(&self, now_ms: i64) -> Used {
        self.meter().used(now_ms)
    }

    /// Those that the vendor accepted.
    pub fn tasks(&self) -> usize {
        self.meter().tasks()
    }

    /// Since the start.
    pub fn counted(&self) -> Tally {
        self.tally().clone()
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// The vendor accepted: from now on it ends with the task.
    pub fn give_to(&self, task: TaskKey, now: Instant) {
        self.account.meter().give_to(self.submit, task, now);
    }

    /// Nobody can know whether there is a task.
    pub fn keep(&self) {
        self.account.meter().is_uncertain(self.submit);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.meter().give_back(self.submit);
    }
}
