//! Series that are read off the state when somebody asks, so that they cannot drift from it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::{config_series, pool_series, tenant_series};
use crate::alerts::cause::Cause;
use crate::keys::state::State;
use crate::listen::Certificates;
use crate::money::usd;
use crate::otlp::Traces;
use crate::request::Server;
use crate::vendor::profile::Billing;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KeyState {
    key: Arc<str>,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Told {
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KeySlots {
    key: Arc<str>,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KeyFailures {
    key: Arc<str>,
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Solves {
    key: Arc<str>,
    r#type: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TaskState {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KeyLabel {
    key: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Connections {
    kind: &'static str,
}

pub(super) fn register(server: &Server, registry: &mut Registry) {
    let now = Instant::now();
    let snapshot = server.live.load();
    let key_state = Family::<KeyState, Gauge>::default();
    let key_slots = Family::<KeySlots, Gauge>::default();
    let key_failures = Family::<KeyFailures, Counter>::default();
    let solves = Family::<Solves, Counter>::default();
    let beyond = Family::<KeyLabel, Counter<f64, AtomicU64>>::default();
    let key_balance = Family::<KeyLabel, Gauge<f64, AtomicU64>>::default();
    for key in snapshot.keys.listed() {
        let slots = key.account.slots(&key.limits, now);
        let used = i64::try_from(slots.used).unwrap_or(i64::MAX);
        for (kind, slots) in [("used", Some(used)), ("max", slots.max.map(i64::from))] {
            if let Some(slots) = slots {
                let key = Arc::clone(&key.name);
                key_slots.get_or_create(&KeySlots { key, kind }).set(slots);
            }
        }
        for (code, count) in key.account.failures() {
            let key = Arc::clone(&key.name);
            key_failures
                .get_or_create(&KeyFailures { key, code })
                .inc_by(count);
        }
        for (kind, counted) in key.account.solves() {
            for (outcome, count) in [("done", counted.done), ("failed", counted.failed)] {
                let labels = Solves {
                    key: Arc::clone(&key.name),
                    r#type: kind,
                    outcome,
                };
                solves.get_or_create(&labels).inc_by(count);
            }
        }
        if let Some(money) = key.account.money(now) {
            let key = Arc::clone(&key.name);
            let balance = key_balance.get_or_create(&KeyLabel { key });
            balance.set(usd(money.micro_usd));
        }
        if key.limits.billing == Billing::Balance {
            let key_label = Arc::clone(&key.name);
            let (_, total) = key.account.spent_by_others(now);
            beyond
                .get_or_create(&KeyLabel { key: key_label })
                .inc_by(usd(total));
        }
        let current = key.state(now);
        for state in State::LISTED {
            let is = i64::from(state == current);
            key_state
                .get_or_create(&KeyState {
                    key: Arc::clone(&key.name),
                    state: state.as_str(),
                })
                .set(is);
        }
    }
    registry.register("key_state", "1 for the state that a key is in", key_state);

    registry.register(
        "key_slots",
        "Slots of an account that are used, and how many there are where that is known",
        key_slots,
    );
    let active = Family::<Told, Gauge>::default();
    for cause in Cause::ALL {
        let subjects = i64::try_from(server.alerts.active(cause)).unwrap_or(i64::MAX);
        let cause = cause.name();
        active.get_or_create(&Told { cause }).set(subjects);
    }
    registry.register(
        "alerts_active",
        "Keys, pools or tenants that an alert holds for, by cause",
        active,
    );
    registry.register(
        "key_failures",
        "Refusals that blame a key, by code",
        key_failures,
    );
    registry.register(
        "solves",
        "Tasks that ended, by account, type and whether there was a solution",
        solves,
    );
    let tasks = Family::<TaskState, Gauge>::default();
    let (running, ended) = server.tasks.in_memory();
    for (state, count) in [("running", running), ("ended", ended)] {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        tasks.get_or_create(&TaskState { state }).set(count);
    }
    registry.register(
        "tasks",
        "Tasks that are known without asking the store",
        tasks,
    );
    registry.register(
        "key_balance_usd",
        "What the vendor said last that an account has; none while nobody knows",
        key_balance,
    );
    registry.register(
        "key_unexplained_spend_usd",
        "What an account lost beyond what we used, as far as it cannot be play: somebody else uses the key",
        beyond,
    );
    gauge(
        registry,
        "waiting_submits",
        "Submits that wait in line for a key: scale by this",
        server.lines.waiting() as u64,
    );

    gauge(
        registry,
        "parked_submits",
        "Submits that clients wait for and that are sent once a key is usable",
        server.parked.count() as u64,
    );

    gauge(
        registry,
        "parked_submits_max",
        "How many may be parked: submit.park_max",
        snapshot.settings.submit.park_max as u64,
    );
    gauge(
        registry,
        "vendor_reachable",
        "0 while the vendor is out of reach and nothing but probes is sent",
        u64::from(server.outage.open_until().is_none()),
    );
    gauge(
        registry,
        "vendor_banned",
        "1 while the vendor refuses all calls from this address",
        u64::from(server.egress.banned_until(now).is_some()),
    );
    let health = server.store.health();
    gauge(
        registry,
        "store_writing",
        "0 while changes wait in memory for the store",
        u64::from(health.writing),
    );
    gauge(
        registry,
        "store_queued",
        "Changes that are not on the disk yet",
        health.queued,
    );
    registry.register(
        "store_lost",
        "Changes that the store never took, since the start",
        ConstCounter::new(health.lost),
    );
    registry.register(
        "store_replaced",
        "Tasks whose id was known already, since the start: the vendor uses ids again, or there are two vendors",
        ConstCounter::new(health.replaced),
    );
    gauge(
        registry,
        "unheard_submits",
        "Submits whose client hung up: the same submit sent again is given their answer",
        server.unheard.count(now) as u64,
    );
    gauge(
        registry,
        "body_free_bytes",
        "What is left of listen.max_body_total",
        server.bodies.free() as u64,
    );
    let (open, max) = server.limits.connections();
    let connections = Family::<Connections, Gauge>::default();
    for (kind, count) in [("open", open), ("max", max)] {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        connections.get_or_create(&Connections { kind }).set(count);
    }
    registry.register(
        "connections",
        "Connections of clients to all data ports together, and how many there may be",
        connections,
    );
    let end = server.certificates.as_ref().and_then(Certificates::end);
    if let Some(end) = end {
        gauge(
            registry,
            "tls_certificate_expiry_timestamp_seconds",
            "When the certificate of the TLS listeners ends, or the one of its chain that ends first",
            end.as_secs(),
        );
    }
    registry.register(
        "log_lines_dropped",
        "Log lines that found no room because nobody read stdout fast enough",
        ConstCounter::new(server.metrics.log_lines_dropped()),
    );
    // Also without a collector, so that a rule about them finds them.
    let traces = server.traces.as_deref();
    registry.register(
        "traces_sent",
        "Traces of requests that the collector took",
        ConstCounter::new(traces.map_or(0, Traces::sent)),
    );
    registry.register(
        "traces_lost",
        "Traces of requests that found no room, or that the collector did not take in time",
        ConstCounter::new(traces.map_or(0, Traces::lost)),
    );
    config_series::register(&snapshot.origin, registry);
    pool_series::register(&snapshot, registry, now);
    tenant_series::register(server, registry);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}
