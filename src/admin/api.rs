//! What the JSON API tells: names and fingerprints, never values.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::keys::health::Health;
use crate::keys::key::{Key, Standing};
use crate::money::usd;
use crate::request::Server;
use crate::store::StoreError;

/// Newest first; the rest is in the store, which can be asked in SQL.
const UNCERTAIN_SHOWN: usize = 1000;

pub(super) fn keys(server: &Server) -> Value {
    let now = Instant::now();
    let snapshot = server.live.load();
    let keys: Vec<_> = snapshot
        .keys
        .keys()
        .iter()
        .map(|key| describe(key, now))
        .collect();
    json!({ "keys": keys })
}

fn describe(key: &Key, now: Instant) -> Value {
    let described = key.describe(now);
    let slots = key.account.slots(&key.limits, now);
    let money = key.account.money(now);
    let seconds = |duration: std::time::Duration| (duration.as_secs_f64() * 10.0).round() / 10.0;
    json!({
        "name": &*key.name,
        "fingerprint": key.identity.fingerprint(),
        "state": state(key, now),
        "since_seconds": seconds(now.duration_since(described.since)),
        // The end of cooling, or the next probe or refresh.
        "until_seconds": described.until.map(|until| seconds(until.saturating_duration_since(now))),
        "why": described.why,
        "proven": key.look(Health::is_proven),
        // Of the name, whatever value stands under it. `max` is null where no limit is known.
        "slots": { "used": slots.used, "max": slots.max },
        // Of the account, in dollars as the vendor said last; null while nobody knows.
        "balance": money.map(|money| usd(money.micro_usd)),
        "balance_age_seconds": money.map(|money| seconds(now.duration_since(money.at))),
        "burn_per_hour": money.map(|money| usd(money.burn_micro_usd_per_hour)),
        "hours_left": money.and_then(|money| money.hours_left),
        "weight": key.weight,
        "priority": key.priority,
    })
}

/// One word for how a key is; the same in the metric.
pub(super) fn state(key: &Key, now: Instant) -> &'static str {
    match key.standing {
        Standing::Draining => "draining",
        Standing::Disabled => "disabled",
        Standing::Active => key.describe(now).state,
    }
}

pub(super) async fn uncertain(server: &Server) -> Result<Value, StoreError> {
    let rows = server.store.uncertain_list(UNCERTAIN_SHOWN).await?;
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "id": row.id.0,
                "at_ms": row.intent.at_ms,
                "endpoint": row.intent.endpoint.as_str(),
                "key": &*row.intent.owner_name,
                "type": &*row.intent.kind,
                "project": row.intent.project.as_deref(),
                "why": &*row.why,
                "task": row.resolved.as_ref().map(|resolved| &*resolved.task_id),
            })
        })
        .collect();
    Ok(json!({ "uncertain": rows }))
}
