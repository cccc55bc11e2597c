//! What the JSON API tells: names and fingerprints, never values.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::calendar::rfc3339;
use crate::keys::health::{Condition, Evidence, Health};
use crate::keys::key::{Key, Standing};
use crate::keys::set::DEFAULT_POOL;
use crate::keys::state::State;
use crate::live::{Reloads, Snapshot};
use crate::money::usd;
use crate::request::prober::is_probed;
use crate::request::{Server, clock};
use crate::store::StoreError;
use crate::tasks::kind;
use crate::vendor::profile::Billing;

/// Newest first; the rest is in the store, which can be asked in SQL.
const UNCERTAIN_SHOWN: usize = 1000;
const PARKED_SHOWN: usize = 1000;

pub(super) async fn status(server: &Server, ready: bool) -> Value {
    // Null while the store cannot be read.
    let uncertain = server.store.uncertain_open().await.ok();
    let clocks = Clocks::now();
    let snapshot = server.live.load();
    let profile = &snapshot.settings.vendor.profile;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "profile": profile.name,
        "vendor": profile.url,
        "ready": ready,
        "started": clocks.wall(server.started),
        "reload": reload(&server.live.reloads()),
        "keys": snapshot.keys.listed().count(),
        "waiting": server.lines.waiting(),
        "parked": server.parked.count(),
        // Of all that are listed, those that no late id has resolved.
        "uncertain": uncertain,
        "vendor_unreachable_since": server.outage.since().map(|since| clocks.wall(since)),
        "banned_until": server.egress.banned_until(clocks.now).map(|until| clocks.wall(until)),
    })
}

/// `refused` is the last look at the configuration, where that cannot be used; null otherwise.
fn reload(reloads: &Reloads) -> Value {
    json!({
        "adopted": rfc3339(reloads.adopted_ms),
        "refused": reloads.refused.as_ref().map(|refused| json!({
            "at": rfc3339(refused.at_ms),
            "why": refused.why,
        })),
    })
}

pub(super) fn keys(server: &Server) -> Value {
    let snapshot = server.live.load();
    let keys = snapshot.keys.keys().iter();
    let keys: Vec<_> = keys.map(|key| describe(server, key)).collect();
    json!({ "keys": keys })
}

pub(super) fn describe(server: &Server, key: &Key) -> Value {
    let clocks = Clocks::now();
    let now = clocks.now;
    let described = key.describe(now);
    let snapshot = server.live.load();
    // Of what `state` says: the files' word comes before the health.
    let since = match key.standing {
        Standing::Active => described.since.max(key.standing_since),
        Standing::Disabled | Standing::Draining => key.standing_since,
    };
    let until = match key.standing {
        Standing::Active => described.until,
        Standing::Disabled | Standing::Draining => None,
    };
    let why = described.why.as_deref();
    let why = why.or_else(|| by_whom(key, &snapshot));
    let why = why.or_else(|| unheard(server, key, now));
    let slots = key.account.slots(&key.limits, now);
    let solves = key.account.solves();
    let next_probe = next_probe(server, key, now);
    let money = key.account.money(now);
    let pools = snapshot.keys.pools_of(&key.name);
    let pool = pools.first().or(key.pool.as_ref());
    let pool = pool.map_or(DEFAULT_POOL, |pool| &**pool);
    json!({
        "name": &*key.name,
        "fingerprint": key.identity.fingerprint(),
        "pool": pool,
        // Also those that tenants' own keys make: `tenant:NAME`.
        "pools": pools.iter().map(|pool| &**pool).collect::<Vec<_>>(),
        "priority": key.priority,
        "weight": key.weight,
        "standing": match key.standing {
            Standing::Active => "active",
            Standing::Disabled => "disabled in the file",
            Standing::Draining => "draining",
        },
        "state": key.state(now).as_str(),
        "since": clocks.wall(since),
        "since_seconds": seconds(now.saturating_duration_since(since)),
        // The end of cooling, or the next probe or refresh.
        "until": until.map(|until| clocks.wall(until)),
        "until_seconds": until.map(|until| seconds(until.saturating_duration_since(now))),
        "why": why,
        "proven": key.look(Health::is_proven),
        "next_probe": next_probe.map(|at| clocks.wall(at)),
        "next_probe_seconds": next_probe.map(|at| seconds(at.saturating_duration_since(now))),
        "last_probe": described.probed.map(|(at, evidence)| json!({
            "at": clocks.wall(at),
            "outcome": outcome(&evidence),
        })),
        // Of the name, whatever value stands under it. `max` is null where no limit is known.
        "slots": { "used": slots.used, "max": slots.max },
        "billing": match key.limits.billing {
            Billing::Balance => "balance",
            Billing::Threads => "threads",
        },
        // Of the account, in dollars as the vendor said last; null while nobody knows.
        "balance": money.map(|money| usd(money.micro_usd)),
        "balance_micro_usd": money.map(|money| money.micro_usd),
        // Less what was settled since and what runs.
        "left_micro_usd": money.map(|money| money.virtual_micro_usd),
        "balance_age_seconds": money.map(|money| seconds(now.duration_since(money.at))),
        "burn_per_hour": money.map(|money| usd(money.burn_micro_usd_per_hour)),
        "hours_left": money.and_then(|money| money.hours_left),
        "solves": {
            "done": solves.iter().map(|(_, solves)| solves.done).sum::<u64>(),
            "failed": solves.iter().map(|(_, solves)| solves.failed).sum::<u64>(),
        },
    })
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
                "at": rfc3339(record.parked_at_ms),
                "polled_seconds": now.duration_since(seen.polled).as_secs(),
                "type": &*record.kind,
                "project": record.project.as_deref(),
                "bytes": record.bytes,
            })
        })
        .collect();
    json!({ "parked": rows, "count": server.parked.count() })
}

pub(super) fn outcome(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Passed => "passed".to_owned(),
        Evidence::Refused { code, .. } => format!("refused: {code}"),
        Evidence::Nothing => "no usable answer".to_owned(),
    }
}

/// What each type of task costs and takes.
pub(super) fn types(server: &Server) -> Value {
    let prices = &server.live.load().settings.prices;
    let types = kind::ALL.map(|kind| {
        let solved = server.metrics.solves(kind);
        let mean = solved.took.as_secs_f64() / solved.count.max(1) as f64;
        json!({
            "type": kind,
            "price_micro_usd": prices.price(kind),
            "solves": solved.count,
            "mean_seconds": (solved.count > 0).then_some((mean * 10.0).round() / 10.0),
        })
    });
    json!({ "types": types })
}

pub(super) async fn uncertain(server: &Server) -> Result<Value, StoreError> {
    let rows = server.store.uncertain_list(UNCERTAIN_SHOWN).await?;
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "id": row.id.0,
                "at": rfc3339(row.intent.at_ms),
                "endpoint": row.intent.endpoint.as_str(),
                "key": &*row.intent.owner_name,
                "type": &*row.intent.kind,
                "tenant": Some(&*row.intent.tenant).filter(|tenant| !tenant.is_empty()),
                "project": row.intent.project.as_deref(),
                "why": &*row.why,
                "task": row.resolved.as_ref().map(|resolved| &*resolved.task_id),
            })
        })
        .collect();
    Ok(json!({ "uncertain": rows }))
}

/// One moment on both clocks.
#[derive(Clone, Copy)]
pub(super) struct Clocks {
    pub(super) now: Instant,
    now_ms: i64,
}

impl Clocks {
    pub(super) fn now() -> Self {
        Self {
            now: Instant::now(),
            now_ms: clock::now_ms(),
        }
    }

    pub(super) fn wall(self, at: Instant) -> String {
        let ahead = at.saturating_duration_since(self.now).as_millis();
        let ago = self.now.saturating_duration_since(at).as_millis();
        let millis = |span: u128| i64::try_from(span).unwrap_or(i64::MAX);
        rfc3339(
            self.now_ms
                .saturating_add(millis(ahead))
                .saturating_sub(millis(ago)),
        )
    }
}

/// Who disabled it.
fn by_whom(key: &Key, snapshot: &Snapshot) -> Option<&'static str> {
    match key.standing {
        Standing::Disabled => Some("disabled = true in the keys file"),
        _ if key.look(Health::is_disabled) => Some("disabled by hand"),
        Standing::Draining if snapshot.keys.by_name(&key.name).is_some() => {
            Some("old value, replaced")
        }
        Standing::Draining => Some("in no keys file any more"),
        Standing::Active => None,
    }
}

/// The vendor has no word about it yet.
fn unheard(server: &Server, key: &Key, now: Instant) -> Option<&'static str> {
    (key.state(now) == State::Unproven).then(|| {
        if server.outage.since().is_some() {
            "not proven yet: the vendor is out of reach"
        } else if server.egress.banned_until(now).is_some() {
            "not proven yet: the vendor bans this address"
        } else {
            "not proven yet: no probe was answered"
        }
    })
}

/// Also the limits on all probes together hold it up.
pub(super) fn next_probe(server: &Server, key: &Key, now: Instant) -> Option<Instant> {
    if !is_probed(&server.live.load().keys, key, now) {
        return None;
    }
    let due = key.look(|health| health.next_probe(now))?;
    let waits = match key.look(|health| health.condition(now)) {
        Condition::Empty => None,
        Condition::Suspect => server.egress.exhausted_for_suspects_until(now),
        _ => server.egress.exhausted_until(now),
    };
    Some(due).max(waits).max(server.egress.banned_until(now))
}

pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}
