//! What part of the work an account's money speaks for, compared with the others of its tier.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::key::Key;

#[derive(Debug, Default)]
pub(super) struct Shares {
    /// The mean of the balances that are known, in micro-dollars.
    mean: f64,
    looked: Option<Instant>,
}

/// Looking at ten thousand balances costs less than a millisecond, and a second's spending changes no mean.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// Whether a key is out of money is its health's to judge; until then it gets a little, so that it is found out.
const LEAST: f64 = 0.01;

impl Shares {
    pub(super) fn refresh<'a>(&mut self, keys: impl Iterator<Item = &'a Arc<Key>>, now: Instant) {
        if self
            .looked
            .is_some_and(|looked| now.duration_since(looked) < BETWEEN_LOOKS)
        {
            return;
        }
        self.looked = Some(now);
        let known = keys.filter_map(|key| key.account.virtual_balance(&key.limits, now));
        let (sum, count) = known.fold((0.0, 0_u32), |(sum, count), balance| {
            (sum + balance.max(0) as f64, count + 1)
        });
        self.mean = sum / f64::from(count.max(1));
    }

    /// 1 for the mean balance, and for one that nobody knows.
    pub(super) fn of(&self, key: &Key, now: Instant) -> f64 {
        match key.account.virtual_balance(&key.limits, now) {
            Some(balance) if self.mean > 0.0 => (balance as f64 / self.mean).max(LEAST),
            _ => 1.0,
        }
    }
}
