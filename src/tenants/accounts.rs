//! The meters of all tenants. They belong to the names, so they outlive reloads, new tokens and changed limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::meter::{Left, Limit, Meter, Used};
use crate::config::settings::TenantLimits;
use crate::store::TaskKey;

#[derive(Debug, Default)]
pub struct Accounts {
    /// As many as tenants were ever named.
    by_name: Mutex<HashMap<Arc<str>, Arc<Account>>>,
}

#[derive(Debug, Default)]
pub struct Account {
    /// A std lock with sections of a few instructions; never held over an await.
    meter: Mutex<Meter>,
}

/// What a submit has reserved. Dropped, it is given back, unless it became a task or a solve.
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
}

impl Account {
    pub fn reserve(
        self: &Arc<Self>,
        limits: &TenantLimits,
        price_micro_usd: i64,
        now: Instant,
        now_ms: i64,
    ) -> Result<Reservation, Limit> {
        let submit = self.meter().reserve(limits, price_micro_usd, now, now_ms)?;
        Ok(Reservation {
            account: Arc::clone(self),
            submit,
        })
    }

    /// A task from before a restart.
    pub fn hold(&self, task: TaskKey, price_micro_usd: i64) {
        self.meter().restore(task, price_micro_usd);
    }

    /// An uncertain submit made this task after all.
    pub fn resolve(&self, task: TaskKey, price_micro_usd: i64) {
        self.meter().resolve(task, price_micro_usd);
    }

    /// A task ended: with what it is charged, or without a solve.
    pub fn task_ended(&self, task: &TaskKey, charged_micro_usd: Option<i64>, now_ms: i64) {
        self.meter().end(task, charged_micro_usd, now_ms);
    }

    pub fn used(&self, now_ms: i64) -> Used {
        self.meter().used(now_ms)
    }

    pub fn left(&self, limits: &TenantLimits, now_ms: i64) -> Left {
        self.meter().left(limits, now_ms)
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    pub fn give_to(&self, task: TaskKey) {
        self.account.meter().give_to(self.submit, task);
    }

    /// Nobody can know whether there is a task.
    pub fn keep(&self) {
        self.account.meter().is_uncertain(self.submit);
    }

    pub fn solved(&self, charged_micro_usd: i64, now_ms: i64) {
        self.account
            .meter()
            .solved(self.submit, charged_micro_usd, now_ms);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.meter().give_back(self.submit);
    }
}
