//! What the meters know at a start: a limit holds over a restart, however the last run ended.
//!
//! What was settled is in the bill. What ran goes on running and holds its reservation. A submit of which nobody can know
//! whether it made a task counts as one that did, for the day in which it was sent.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::Tenants;
use super::accounts::Accounts;
use super::meter::{Day, Used};
use crate::config::settings::Prices;
use crate::store::{Store, StoreError};
use crate::tasks::{MOST_RESUMED, course};

pub async fn restore(
    store: &Store,
    tenants: &Tenants,
    usual: &Prices,
    now: Instant,
    now_ms: i64,
) -> Result<Accounts, StoreError> {
    let accounts = Accounts::default();
    // A clock that was set back while nothing ran must not give a day or a month a second time.
    let last_ms = store.last_end(now_ms + WRONG_CLOCK_MS).await?;
    let at_ms = now_ms.max(last_ms.unwrap_or(now_ms));
    let today = Day::of(at_ms);
    let settled = store
        .settled(today.began_ms(), today.month_began_ms())
        .await?;
    let mut used: HashMap<Arc<str>, Used> = HashMap::new();
    for (tenant, settled) in settled {
        let used = used.entry(tenant).or_default();
        used.solves_today = settled.solves_today;
        used.spent_micro_usd = settled.charged_this_month_micro_usd;
    }
    for row in store.uncertain_list(UNCERTAIN_READ).await? {
        let intent = &row.intent;
        if row.resolved.is_none() && intent.at_ms >= today.began_ms() {
            let tenant = tenants.by_name(&intent.tenant);
            let price = tenant.map_or_else(
                || usual.price(&intent.kind),
                |tenant| tenant.price(&intent.kind, usual),
            );
            let used = used.entry(Arc::clone(&intent.tenant)).or_default();
            used.uncertain_today += 1;
            used.uncertain_micro_usd += price;
        }
    }
    // Also of a tenant that used nothing yet: its day is not earlier than the others'.
    let named = tenants.all().map(|tenant| &tenant.name);
    for tenant in named.filter(|tenant| !used.contains_key(*tenant)) {
        accounts.restore(tenant, Used::default(), at_ms);
    }
    for (tenant, used) in &used {
        accounts.restore(tenant, *used, at_ms);
    }
    // Each replica counts its own refusals, and follows the tasks that are its own.
    if store.replicas().is_some() {
        return Ok(accounts);
    }
    // Exactly those that are followed to their end.
    let since_ms = now_ms - i64::try_from(course::LONGEST_FOLLOWED.as_millis()).unwrap_or(0);
    for task in store.running_tasks(since_ms, MOST_RESUMED).await? {
        let expected = task.charge_micro_usd.or(task.price_micro_usd);
        let price = expected.unwrap_or_else(|| usual.price(&task.kind));
        accounts.of(&task.key.tenant).hold(task.key, price, now);
    }
    for refused in store.refusals(today.day).await? {
        accounts.restore_refusals(&refused);
    }
    Ok(accounts)
}

/// More than all tenants together can have in a day: each was an alarm.
const UNCERTAIN_READ: usize = 100_000;
/// Whatever is further ahead than the longest time of a limit was written by a clock that was wrong, and must not hold
/// every tenant to one limit until that day comes.
const WRONG_CLOCK_MS: i64 = 31 * 86_400_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::settings::{Mode, Role, Sync, TenantEntry, TenantLimits};
    use crate::keys::secret::Identity;
    use crate::store::{
        Ended, Endpoint, Intent, IntentId, TaskKey, TaskRecord, TaskState, UncertainRow, UsageRow,
    };
    use crate::tenants::TokenHash;
    use crate::tenants::meter::Limit;

    /// 2026-11-30T12:00:00Z.
    const NOON: i64 = 1_796_040_000_000;
    const HOUR: i64 = 3_600_000;
    const PRICE: i64 = 3_000;

    fn tenants() -> Tenants {
        let entry = TenantEntry {
            name: "alice".to_owned(),
            token: TokenHash::of(b"token"),
            pool: None,
            keys: None,
            fallback_pool: None,
            fallback_when_empty: false,
            limits: TenantLimits::default(),
            active: true,
            role: Role::User,
            project: None,
            prices: BTreeMap::from([("image", PRICE)]),
        };
        Tenants::default().next(Mode::Tenants, &[entry])
    }

    fn key(id: &str) -> TaskKey {
        TaskKey {
            profile: "captchaai".into(),
            tenant: "alice".into(),
            id: id.into(),
        }
    }

    fn solved(id: &str, ended_at_ms: i64) -> UsageRow {
        UsageRow {
            task: key(id),
            submitted_at_ms: ended_at_ms - 1,
            ended_at_ms,
            ended: Ended::Solved,
            project: None,
            kind: "image".into(),
            owner_name: "account-1".into(),
            cost_micro_usd: 1,
            charge_micro_usd: PRICE,
        }
    }

    fn intent(at_ms: i64) -> Intent {
        Intent {
            profile: "captchaai".into(),
            tenant: "alice".into(),
            project: None,
            kind: "image".into(),
            endpoint: Endpoint::Submit,
            owner_name: "account-1".into(),
            owner_identity: Identity([1; 32]),
            at_ms,
        }
    }

    fn uncertain(id: IntentId, at_ms: i64, why: &str) -> UncertainRow {
        UncertainRow {
            id,
            intent: intent(at_ms),
            why: why.into(),
            parameters_hash: None,
            resolved: None,
        }
    }

    fn task(id: &str, at_ms: i64) -> TaskRecord {
        TaskRecord {
            key: key(id),
            owner_name: "account-1".into(),
            owner_identity: Identity([1; 32]),
            kind: "image".into(),
            project: None,
            price_micro_usd: Some(1),
            charge_micro_usd: Some(PRICE),
            state: TaskState::Running,
            submitted_at_ms: at_ms,
            used_at_ms: at_ms,
        }
    }

    async fn used(store: &Store, now_ms: i64) -> (Accounts, Used) {
        let prices = Prices(BTreeMap::new());
        let (tenants, now) = (tenants(), Instant::now());
        let accounts = restore(store, &tenants, &prices, now, now_ms)
            .await
            .unwrap();
        let used = accounts.of(&"alice".into()).used(now_ms);
        (accounts, used)
    }

    fn store() -> (tempfile::TempDir, Store) {
        let place = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&place.path().join("store.db"), Sync::Process).unwrap();
        (place, store)
    }

    #[tokio::test]
    async fn a_start_knows_what_was_solved_what_runs_and_what_nobody_can_know() {
        let (_place, store) = store();
        store.settle(solved("last month", NOON - 30 * 24 * HOUR));
        store.settle(solved("yesterday", NOON - 13 * HOUR));
        store.settle(solved("today", NOON - HOUR));
        let (id, _) = store.intend(intent(NOON - HOUR), None);
        let written = store.accept(id, task("runs", NOON - HOUR / 4));
        written.await.unwrap();
        for at_ms in [NOON - 13 * HOUR, NOON - HOUR] {
            let (id, _) = store.intend(intent(at_ms), None);
            let written = store.uncertain(uncertain(id, at_ms, "lost"));
            written.await.unwrap();
        }
        let (late, _) = store.intend(intent(NOON), None);
        let written = store.uncertain(uncertain(late, NOON, "slow"));
        written.await.unwrap();
        let written = store.resolve_uncertain(late, task("late", NOON));
        written.await.unwrap();
        let (accounts, used) = used(&store, NOON).await;
        let expected = Used {
            solves_today: 1,
            spent_micro_usd: 2 * PRICE,
            uncertain_today: 1,
            uncertain_micro_usd: PRICE,
            running: 2,
            reserved_micro_usd: 2 * PRICE,
            wanted_micro_usd: 0,
        };
        assert_eq!(used, expected);
        let limits = TenantLimits {
            daily: Some(4),
            ..TenantLimits::default()
        };
        let alice = accounts.of(&"alice".into());
        let refused = alice.reserve(&limits, PRICE, Instant::now(), NOON);
        assert_eq!(refused.unwrap_err(), Limit::Daily);
        alice.task_ended(&key("runs"), None, NOON);
        let reserved = alice.reserve(&limits, PRICE, Instant::now(), NOON);
        assert!(reserved.is_ok(), "it failed and was given back");
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_over_a_restart_gives_no_day_and_no_month_twice() {
        let (_place, store) = store();
        // On the first of December.
        let tomorrow = NOON + 20 * HOUR;
        store.settle(solved("1", tomorrow));
        store.flush().await.unwrap();
        let (accounts, used) = used(&store, NOON).await;
        assert_eq!((used.solves_today, used.spent_micro_usd), (1, PRICE));
        let again = accounts.of(&"alice".into()).used(tomorrow + HOUR);
        assert_eq!(again, used, "the day it was, not a new one");
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_clock_that_was_wrong_by_years_does_not_stop_the_days() {
        let (_place, store) = store();
        store.settle(solved("1", NOON + 400 * 24 * HOUR));
        store.flush().await.unwrap();
        let (accounts, _) = used(&store, NOON).await;
        let tomorrow = accounts.of(&"alice".into()).used(NOON + 24 * HOUR);
        assert_eq!(tomorrow.solves_today, 0);
        store.close().await.unwrap();
    }
}
