//! What files and profile say about an account.

use std::time::Duration;

use super::rate::{Limit, PollLimit};
use crate::vendor::profile::Billing;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Slots, where the operator says.
    pub max_tasks: Option<u32>,
    /// Submits and polls together.
    pub requests: Limit,
    pub submits: Limit,
    pub polls: PollLimit,
    pub billing: Billing,
    /// On a balance plan, no new submits below it.
    pub minimum_micro_usd: i64,
    /// How often its money or its threads are asked for.
    pub refresh: Duration,
    /// Replicas take its slots, too: the store counts tasks, and only submits on their way are counted here.
    pub shared: bool,
}

impl Limits {
    /// What a solve takes from the balance: on a thread plan nothing, that is paid for by its threads.
    pub fn takes(&self, price_micro_usd: Option<i64>) -> i64 {
        match self.billing {
            Billing::Balance => price_micro_usd.unwrap_or_default(),
            Billing::Threads => 0,
        }
    }
}
