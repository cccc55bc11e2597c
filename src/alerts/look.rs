//! The state of the moment, as the plain values that `findings` judges.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::findings::{KeyView, Reach, View};
use super::tenants::TenantView;
use crate::keys::health::Condition;
use crate::keys::key::{Key, Standing};
use crate::live::Snapshot;
use crate::request::Server;
use crate::tenants::Tenant;
use crate::vendor::profile::Billing;

/// No client waits that long for a submit.
const LONG_REST: Duration = Duration::from_secs(60);

pub(super) fn look(server: &Server, now: Instant) -> View {
    let snapshot = server.live.load();
    let active = |key: &&Arc<Key>| key.standing == Standing::Active;
    let vendor = if server.egress.banned_until(now).is_some() {
        Reach::Banned
    } else if server.outage.open_until().is_some() {
        Reach::OutOfReach
    } else {
        Reach::Reached
    };
    View {
        pools: snapshot
            .tenants
            .callers()
            .map(|tenant| tenant.pool_now(&snapshot.keys, &server.egress, now))
            .cloned()
            .collect(),
        keys: snapshot
            .keys
            .listed()
            .filter(active)
            .map(|key| key_view(&snapshot, key, now))
            .collect(),
        balance: snapshot.settings.balance,
        vendor,
    }
}

pub(super) fn tenants(server: &Server, now_ms: i64) -> Vec<TenantView> {
    let snapshot = server.live.load();
    let view = |tenant: &Arc<Tenant>| TenantView {
        name: Arc::clone(&tenant.name),
        limits: tenant.limits,
        used: server.tenants.of(&tenant.name).used(now_ms),
    };
    snapshot.tenants.all().map(view).collect()
}

fn key_view(snapshot: &Snapshot, key: &Key, now: Instant) -> KeyView {
    let (condition, disabled, cools_until) = key.look(|health| {
        let cools_until = health.cools_until(now);
        (health.condition(now), health.is_disabled(), cools_until)
    });
    let why = match condition {
        Condition::Healthy | Condition::Unproven => None,
        _ => key.describe(now).why,
    };
    let slots = key.account.slots(&key.limits, now);
    let is_refused_a_slot = condition == Condition::Cooling
        && why
            .as_ref()
            .is_some_and(|code| snapshot.settings.vendor.profile.is_no_slot(code));
    let sells_threads = key.limits.billing == Billing::Threads;
    KeyView {
        name: Arc::clone(&key.name),
        pools: snapshot.keys.pools_of(&key.name).to_vec(),
        condition,
        disabled,
        sells_threads,
        // The vendor's own word, as for putting a key out of use: estimates come and go.
        micro_usd: key
            .account
            .money(now)
            .map(|money| money.micro_usd)
            .filter(|_| !sells_threads),
        // A vendor without a slot is busy, not gone, however long it is left alone.
        rests_long: !is_refused_a_slot && cools_until.is_some_and(|until| until > now + LONG_REST),
        is_full: is_refused_a_slot || slots.max.is_some_and(|max| slots.used >= max as usize),
        spent_by_others: key
            .account
            .spent_by_others(now)
            .0
            .filter(|_| !sells_threads),
        why,
    }
}
