//! What a submit has reserved where replicas share the limits. The server counts; this gives back what came to nothing.

use std::sync::Arc;

use super::meter::Limit;
use crate::config::settings::TenantLimits;
use crate::store::{Store, StoreError};

/// Dropped, it is given back. A task holds its own from its `accept` to its settlement, so drop this after that.
pub struct SharedReservation {
    store: Store,
    tenant: Arc<str>,
    submit: i64,
    uncertain_until_ms: Option<i64>,
}

const DAY_MS: i64 = 86_400_000;

impl SharedReservation {
    /// None: nobody shares this store. An error: the server does not answer, and each replica can only hold its own part
    /// of the tenant's submits to the limits.
    pub async fn reserve(
        store: &Store,
        tenant: &Arc<str>,
        limits: &TenantLimits,
        price_micro_usd: i64,
        now_ms: i64,
    ) -> Option<Result<Result<Self, Limit>, StoreError>> {
        let redis = store.replicas()?;
        let reserved = redis.reserve(tenant, limits, price_micro_usd, now_ms).await;
        let reservation = |submit| Self {
            store: store.clone(),
            tenant: Arc::clone(tenant),
            submit,
            uncertain_until_ms: None,
        };
        Some(reserved.map(|reserved| reserved.map(reservation)))
    }

    /// Nobody can know whether there is a task: until the day ends it counts as one.
    pub fn keep(mut self, now_ms: i64) {
        self.uncertain_until_ms = Some((now_ms.div_euclid(DAY_MS) + 1) * DAY_MS);
    }
}

impl Drop for SharedReservation {
    fn drop(&mut self) {
        self.store
            .give_back(&self.tenant, self.submit, self.uncertain_until_ms);
    }
}
