//! Series that are read off the state when somebody asks, so that they cannot drift from it.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::api;
use crate::keys::health::STATES;
use crate::request::Server;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KeyState {
    key: Arc<str>,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KeySlots {
    key: Arc<str>,
    kind: &'static str,
}

pub(super) fn register(server: &Server, registry: &mut Registry) {
    let now = Instant::now();
    let snapshot = server.live.load();
    let key_state = Family::<KeyState, Gauge>::default();
    let key_slots = Family::<KeySlots, Gauge>::default();
    for key in snapshot.keys.listed() {
        let slots = key.account.slots(&key.limits, now);
        let used = i64::try_from(slots.used).unwrap_or(i64::MAX);
        for (kind, slots) in [("used", Some(used)), ("max", slots.max.map(i64::from))] {
            if let Some(slots) = slots {
                let key = Arc::clone(&key.name);
                key_slots.get_or_create(&KeySlots { key, kind }).set(slots);
            }
        }
        for state in STATES {
            let is = i64::from(state == api::state(key, now));
            key_state
                .get_or_create(&KeyState {
                    key: Arc::clone(&key.name),
                    state,
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
    gauge(
        registry,
        "waiting_submits",
        "Submits that wait in line for a key: scale by this",
        server.line.waiting() as u64,
    );

    gauge(
        registry,
        "parked_submits",
        "Submits that clients wait for and that are sent once a key is usable",
        server.parked.count() as u64,
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
    gauge(
        registry,
        "store_lost",
        "Changes that the store never took, since the start",
        health.lost,
    );
    gauge(
        registry,
        "unheard_submits",
        "Submits whose client hung up: the same submit sent again is given their answer",
        server.unheard.count(now) as u64,
    );
    gauge(
        registry,
        "tasks_in_memory",
        "Tasks that are known without asking the store",
        server.tasks.in_memory() as u64,
    );
    gauge(
        registry,
        "body_bytes_free",
        "What is left of listen.max_body_total",
        server.bodies.free() as u64,
    );
    registry.register(
        "log_lines_dropped",
        "Log lines that found no room because nobody read stdout fast enough",
        ConstCounter::new(server.metrics.log_lines_dropped()),
    );
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}
