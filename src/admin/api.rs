//! What the JSON API tells: names and fingerprints, never values.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::keys::key::{Key, Standing};
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
    let rest = key.rest(now);
    json!({
        "name": &*key.name,
        "fingerprint": key.identity.fingerprint(),
        "state": state(key, now),
        "proven": key.is_proven(),
        "weight": key.weight,
        "priority": key.priority,
        "why": rest.as_ref().map(|rest| rest.code.as_str()),
        "seconds_left": rest.as_ref().map(|rest| rest.until.duration_since(now).as_secs_f64().ceil()),
    })
}

/// One word for how a key is; the same in the metric.
pub(super) fn state(key: &Key, now: Instant) -> &'static str {
    match key.standing {
        Standing::Draining => "draining",
        Standing::Disabled => "disabled",
        Standing::Active if key.rests_until(now).is_some() => "resting",
        Standing::Active if key.is_proven() => "usable",
        Standing::Active => "unproven",
    }
}

pub(super) const STATES: [&str; 5] = ["usable", "unproven", "resting", "disabled", "draining"];

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
