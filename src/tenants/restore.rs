//! What the meters know at a start: a limit holds over a restart, however the last run ended.
//!
//! What was settled is in the bill. What ran goes on running and holds its reservation. A submit of which nobody can know
//! whether it made a task counts as one that did, for the day in which it was sent.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::accounts::Accounts;
use super::meter::{Day, Used};
use crate::live::Snapshot;
use crate::store::{Store, StoreError};
use crate::tasks::{MOST_RESUMED, course};

pub async fn restore(
    store: &Store,
    snapshot: &Snapshot,
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
    let usual = &snapshot.settings.prices;
    for row in store.uncertain_list(UNCERTAIN_READ).await? {
        let intent = &row.intent;
        if row.resolved.is_none() && intent.at_ms >= today.began_ms() {
            let tenant = snapshot.tenants.by_name(&intent.tenant);
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
    let named = snapshot.tenants.all().map(|tenant| &tenant.name);
    for tenant in named.filter(|tenant| !used.contains_key(*tenant)) {
        accounts.restore(tenant, Used::default(), at_ms);
    }
    for (tenant, used) in &used {
        accounts.restore(tenant, *used, at_ms);
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
