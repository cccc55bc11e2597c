//! What the JSON API tells: names and fingerprints, never values.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::keys::health::Health;
use crate::keys::key::{Key, Standing};
use crate::request::Server;
use crate::store::StoreError;

/// Newest first; the rest is in the store, which can be asked in SQL.
const UNCERTAIN_SHOWN: usize = 1000;
const PARKED_SHOWN: usize = 1000;

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
    let seconds = |duration: std::time::Duration| (duration.as_secs_f64() * 10.0).round() / 10.0;
    json!({
        "name": &*key.name,
        "fingerprint": key.identity.fingerprint(),
        "state": state(key, now),
        "since_seconds": seconds(now.duration_since(described.since)),
        // The end of cooling, or the next probe.
        "until_seconds": described.until.map(|until| seconds(until.saturating_duration_since(now))),
        "why": described.why,
        "proven": key.look(Health::is_proven),
        // Of the name, whatever value stands under it. `max` is null where no limit is known.
        "slots": { "used": slots.used, "max": slots.max },
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

/// The oldest first: those are sent first.
pub(super) fn parked(server: &Server) -> Value {
    let now = Instant::now();
    let rows: Vec<_> = server
        .parked
        .list(PARKED_SHOWN)
        .iter()
        .map(|seen| {
            let record = &seen.record;
            json!({
                "id": record.id.to_string(),
                "state": if seen.sending { "sending" } else { "waiting" },
                "lacks": record.lacks.as_str(),
                "at_ms": record.parked_at_ms,
                "polled_seconds": now.duration_since(seen.polled).as_secs(),
                "type": &*record.kind,
                "project": record.project.as_deref(),
                "bytes": record.bytes,
            })
        })
        .collect();
    json!({ "parked": rows, "count": server.parked.count() })
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
