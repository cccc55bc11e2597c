//! The meters of all tenants. They belong to the names, so they outlive reloads, new tokens and changed limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::meter::{Left, Limit, Meter, Used};
use super::shared::SharedReservation;
use super::tally::Tally;
use crate::config::settings::TenantLimits;
use crate::request::clock;
use crate::store::{OwnId, Refused, Reserved, Settled, TaskKey};

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
    /// What the store counts for all replicas. Dropped after the other.
    shared: Option<SharedReservation>,
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

    pub fn sweep(&self, longest: Duration, now: Instant) {
        for (_, account) in self.all() {
            account.meter().sweep(longest, now);
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
                shared: None,
            }),
            Err(limit) => {
                self.refused(limit, now_ms);
                Err(limit)
            }
        }
    }

    /// The store has reserved it, so that nothing here limits it.
    pub fn reserved(
        self: &Arc<Self>,
        shared: SharedReservation,
        price_micro_usd: i64,
        now: Instant,
        now_ms: i64,
    ) -> Reservation {
        let no_limits = TenantLimits::default();
        let reserved = self
            .meter()
            .reserve(&no_limits, price_micro_usd, now, now_ms);
        Reservation {
            account: Arc::clone(self),
            submit: reserved.unwrap_or_else(|_| unreachable!("there is no limit")),
            shared: Some(shared),
        }
    }

    /// All replicas together have used so much, by the store's count.
    pub fn used_together(&self, used: Settled, now_ms: i64) {
        self.meter().used_together(used, now_ms);
    }

    /// A submit was refused for this limit.
    pub fn refused(&self, limit: Limit, now_ms: i64) {
        self.tally().refuse(limit, now_ms);
    }

    /// A task from before a restart.
    pub fn hold(&self, task: TaskKey, price_micro_usd: i64, now: Instant) {
        self.meter().hold(task, price_micro_usd, now);
    }

    /// A parked submit from before a restart.
    pub fn hold_parked(&self, own: TaskKey, price_micro_usd: i64) {
        self.meter().hold_parked(own, price_micro_usd);
    }

    /// What a parked submit has reserved, for whoever sends it; to drop it is the end of one that was not sent.
    pub fn unpark(self: &Arc<Self>, own: &TaskKey) -> Option<Reservation> {
        let submit = self.meter().unpark(own)?;
        Some(Reservation {
            account: Arc::clone(self),
            submit,
            // The store's part belongs to its row until that ends.
            shared: None,
        })
    }

    /// A task ended: with what it is charged, or without a solve. Returns when, for the bill.
    pub fn task_ended(&self, task: &TaskKey, charged_micro_usd: Option<i64>, now_ms: i64) -> i64 {
        self.meter().end(task, charged_micro_usd, now_ms)
    }

    /// Of this type, since the start.
    pub fn count_solve(&self, kind: &'static str, charged_micro_usd: i64) {
        self.tally().solve(kind, charged_micro_usd);
    }

    pub fn used(&self, now_ms: i64) -> Used {
        self.meter().used(now_ms)
    }

    pub fn left(&self, limits: &TenantLimits, now_ms: i64) -> Left {
        self.meter().left(limits, now_ms)
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

    /// What the store counts of it for all replicas.
    pub fn on_server(&self) -> Option<Reserved> {
        self.shared.as_ref().map(SharedReservation::reserved)
    }

    /// The submit waits for a key, under this id of ours.
    pub fn park(&self, own: TaskKey) {
        if let (Some(shared), Some(id)) = (&self.shared, OwnId::parse(&own.id)) {
            shared.park(id);
        }
        self.account.meter().park(self.submit, own);
    }

    /// Nobody can know whether there is a task.
    pub fn keep(&self) {
        if let Some(shared) = &self.shared {
            shared.keep(clock::now_ms());
        }
        self.account.meter().is_uncertain(self.submit);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Nobody knows what was sent.
            return self.keep();
        }
        self.account.meter().give_back(self.submit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenants::meter::LONGEST_HELD;

    const LIMITS: TenantLimits = TenantLimits {
        daily: Some(1),
        rate_per_minute: None,
        budget_micro_usd: None,
        max_tasks: None,
    };

    fn own() -> TaskKey {
        TaskKey {
            profile: "captchaai".into(),
            tenant: "alice".into(),
            id: "9000000000000000".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_parked_submit_holds_what_it_reserved_until_it_is_sent_or_ends() {
        let accounts = Accounts::default();
        let (alice, now) = (accounts.of(&"alice".into()), Instant::now());
        let reserve = || alice.reserve(&LIMITS, 3, now, 0);
        let submit = reserve().unwrap();
        submit.park(own());
        drop(submit);
        accounts.sweep(LONGEST_HELD, now + Duration::from_secs(100_000));
        assert_eq!(reserve().unwrap_err(), Limit::Daily);
        let sent = alice.unpark(&own()).unwrap();
        assert!(alice.unpark(&own()).is_none(), "it is on its way");
        assert_eq!(reserve().unwrap_err(), Limit::Daily);
        drop(sent);
        assert_eq!(alice.used(0), Used::default());
        alice.hold_parked(own(), 3);
        assert_eq!(reserve().unwrap_err(), Limit::Daily);
        drop(alice.unpark(&own()));
        assert!(reserve().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_nobody_follows_does_not_hold_a_limit_for_ever() {
        let accounts = Accounts::default();
        let (alice, now) = (accounts.of(&"alice".into()), Instant::now());
        let submit = alice.reserve(&LIMITS, 3, now, 0).unwrap();
        submit.give_to(own(), now);
        accounts.sweep(LONGEST_HELD, now + Duration::from_secs(1800));
        assert_eq!(alice.used(0).running, 1);
        accounts.sweep(LONGEST_HELD, now + Duration::from_secs(3600));
        assert_eq!(alice.used(0), Used::default());
    }
}
