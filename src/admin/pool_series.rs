//! How pools are: what can be used, what runs, and how long the money lasts. Made from the pools of the configuration, so
//! that a series ends with its pool.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::pools::Sum;
use crate::keys::state::State;
use crate::live::Snapshot;
use crate::money::usd;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Member {
    pool: Arc<str>,
    key: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Keys {
    pool: Arc<str>,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Slots {
    pool: Arc<str>,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Pool {
    pool: Arc<str>,
}

pub(super) fn register(snapshot: &Snapshot, registry: &mut Registry, now: Instant) {
    let members = Family::<Member, Gauge>::default();
    let keys = Family::<Keys, Gauge>::default();
    let slots = Family::<Slots, Gauge>::default();
    let balance = Family::<Pool, Gauge<f64, AtomicU64>>::default();
    let runway = Family::<Pool, Gauge<f64, AtomicU64>>::default();
    for pool in snapshot.keys.pools() {
        let name = || Arc::clone(pool);
        let sum = Sum::of(snapshot.keys.in_pool(pool), now);
        for state in State::LISTED.map(State::as_str) {
            let count = sum.states.get(state).copied().unwrap_or_default();
            keys.get_or_create(&Keys {
                pool: name(),
                state,
            })
            .set(count as i64);
        }
        for key in snapshot.keys.in_pool(pool) {
            let member = Member {
                pool: name(),
                key: Arc::clone(&key.name),
            };
            members.get_or_create(&member).set(1);
        }
        for (kind, count) in [("used", Some(sum.used as u64)), ("max", sum.max)] {
            if let Some(count) = count {
                slots
                    .get_or_create(&Slots { pool: name(), kind })
                    .set(count as i64);
            }
        }
        if let Some(left) = sum.left {
            balance.get_or_create(&Pool { pool: name() }).set(usd(left));
        }
        if let Some(hours) = sum.hours_left() {
            let seconds = hours * 3600.0;
            runway.get_or_create(&Pool { pool: name() }).set(seconds);
        }
    }
    registry.register(
        "key_info",
        "1 for each pool that a key is in, to join series of keys with pools",
        members,
    );
    registry.register(
        "pool_keys",
        "Keys of a pool by the state that they are in",
        keys,
    );
    registry.register(
        "pool_slots",
        "Slots of a pool that are used, and how many its keys have that are neither revoked nor disabled; no max where one of them has no known limit",
        slots,
    );
    registry.register(
        "pool_balance_usd",
        "What a pool's accounts have left, less what runs; none where they pay for threads or nobody knows",
        balance,
    );
    registry.register(
        "pool_runway_seconds",
        "How long that lasts at the spending of the last hour; none while nothing is spent",
        runway,
    );
}
