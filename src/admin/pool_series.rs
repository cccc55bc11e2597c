//! How pools are: what can be used, what runs, and how long the money lasts. Made from the pools of the configuration, so
//! that a series ends with its pool.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::api;
use crate::keys::health::STATES;
use crate::keys::key::Key;
use crate::live::Snapshot;
use crate::money::usd;
use crate::vendor::profile::Billing;

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
        for state in STATES {
            keys.get_or_create(&Keys {
                pool: name(),
                state,
            })
            .set(0);
        }
        let (mut used, mut max) = (0, Some(0));
        let mut money = Money::default();
        for key in snapshot.keys.in_pool(pool) {
            let member = Member {
                pool: name(),
                key: Arc::clone(&key.name),
            };
            members.get_or_create(&member).set(1);
            let state = api::state(key, now);
            keys.get_or_create(&Keys {
                pool: name(),
                state,
            })
            .inc();
            let is_out = matches!(state, "revoked" | "disabled");
            let seen = key.account.slots(&key.limits, now);
            used += i64::try_from(seen.used).unwrap_or(i64::MAX);
            if !is_out {
                max = max.zip(seen.max).map(|(sum, max)| sum + i64::from(max));
            }
            money.add(key, is_out, now);
        }
        for (kind, count) in [("used", Some(used)), ("max", max)] {
            if let Some(count) = count {
                slots
                    .get_or_create(&Slots { pool: name(), kind })
                    .set(count);
            }
        }
        if let Some(left) = money.left {
            balance.get_or_create(&Pool { pool: name() }).set(usd(left));
        }
        if let Some(seconds) = money.lasts() {
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

/// Of accounts that pay for each solve.
#[derive(Debug, Default)]
struct Money {
    left: Option<i64>,
    burn_per_hour: i64,
}

impl Money {
    fn add(&mut self, key: &Key, is_out: bool, now: Instant) {
        if key.limits.billing != Billing::Balance {
            return;
        }
        let Some(money) = key.account.money(now) else {
            return;
        };
        // The others go on with what a key that fell out would have spent, but without its money.
        self.burn_per_hour = self
            .burn_per_hour
            .saturating_add(money.burn_micro_usd_per_hour);
        let left = self.left.unwrap_or_default();
        let more = if is_out {
            0
        } else {
            money.virtual_micro_usd.max(0)
        };
        self.left = Some(left.saturating_add(more));
    }

    /// In seconds. Nothing lasts no time, also when nobody could spend any of it.
    fn lasts(&self) -> Option<f64> {
        match self.left? {
            0 => Some(0.0),
            left if self.burn_per_hour > 0 => {
                Some(left as f64 / self.burn_per_hour as f64 * 3600.0)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_lasts_as_long_as_it_was_spent_of_late() {
        let lasts = |left, burn_per_hour| {
            Money {
                left,
                burn_per_hour,
            }
            .lasts()
        };
        assert_eq!(lasts(Some(3_000_000), 1_000_000), Some(3.0 * 3600.0));
        assert_eq!(lasts(Some(3_000_000), 0), None);
        assert_eq!(lasts(Some(0), 0), Some(0.0));
        assert_eq!(lasts(None, 0), None);
    }
}
