//! How each pool is: what is usable, what runs, and how long the money lasts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::keys::health::Condition;
use crate::keys::key::Key;
use crate::keys::state::State;
use crate::money::usd;
use crate::request::Server;
use crate::vendor::profile::Billing;

/// By name, also those without a key.
pub(super) fn pools(server: &Server) -> Value {
    let now = Instant::now();
    let snapshot = server.live.load();
    let mut names: Vec<_> = snapshot.keys.pools().collect();
    names.sort_unstable();
    let pools: Vec<_> = names
        .into_iter()
        .map(|name| {
            let sum = Sum::of(snapshot.keys.in_pool(name), now);
            json!({
                "name": &**name,
                // Without those that the file disables.
                "keys": sum.keys,
                "usable": sum.usable(),
                // How many are in each state that any is in.
                "states": sum.states,
                // `max` is null where some key has no known limit.
                "slots": { "used": sum.used, "max": sum.max },
                // Of accounts that pay for each solve; null where there is none, or nobody knows yet.
                "left_micro_usd": sum.left,
                "burn_per_hour": usd(sum.burn_per_hour),
                "hours_left": sum.hours_left(),
            })
        })
        .collect();
    json!({ "pools": pools })
}

/// Of a pool's active keys.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub keys: usize,
    pub states: BTreeMap<&'static str, usize>,
    pub used: usize,
    /// None where some key has no known limit.
    pub max: Option<u64>,
    /// Of accounts that pay for each solve; None where there is none, or nobody knows yet.
    pub left: Option<i64>,
    pub burn_per_hour: i64,
}

impl Sum {
    pub(super) fn of<'a>(keys: impl Iterator<Item = &'a Arc<Key>>, now: Instant) -> Self {
        let mut sum = Self {
            max: Some(0),
            ..Self::default()
        };
        keys.for_each(|key| sum.add(key, now));
        sum
    }

    fn add(&mut self, key: &Key, now: Instant) {
        self.keys += 1;
        *self.states.entry(key.state(now).as_str()).or_default() += 1;
        let slots = key.account.slots(&key.limits, now);
        self.used += slots.used;
        let is_out =
            key.look(|health| health.is_disabled() || health.condition(now) == Condition::Revoked);
        if !is_out {
            let max = slots.max.map(u64::from);
            self.max = self.max.zip(max).map(|(sum, max)| sum + max);
        }
        if key.limits.billing != Billing::Balance {
            return;
        }
        let Some(money) = key.account.money(now) else {
            return;
        };
        // The others go on with what a key that fell out would have spent, but not with its money.
        let burn = money.burn_micro_usd_per_hour;
        self.burn_per_hour = self.burn_per_hour.saturating_add(burn);
        let more = if is_out {
            0
        } else {
            money.virtual_micro_usd.max(0)
        };
        self.left = Some(self.left.unwrap_or_default().saturating_add(more));
    }

    fn usable(&self) -> usize {
        self.states
            .get(State::Healthy.as_str())
            .copied()
            .unwrap_or_default()
    }

    /// At the spending of the last hour. Nothing lasts no time, also when nobody could spend any of it.
    pub(super) fn hours_left(&self) -> Option<f64> {
        match self.left? {
            0 => Some(0.0),
            left if self.burn_per_hour > 0 => Some(left as f64 / self.burn_per_hour as f64),
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
            let sum = Sum {
                left,
                burn_per_hour,
                ..Sum::default()
            };
            sum.hours_left()
        };
        assert_eq!(lasts(Some(3_000_000), 1_000_000), Some(3.0));
        assert_eq!(lasts(Some(3_000_000), 0), None);
        assert_eq!(lasts(Some(0), 0), Some(0.0));
        assert_eq!(lasts(None, 0), None);
    }
}
