//! What a submit has reserved where replicas share the limits. The server counts; this gives back what came to nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::meter::Limit;
use crate::config::settings::TenantLimits;
use crate::store::{OwnId, Reserved, Store, StoreError};

/// Dropped, it is given back. A task holds its own from its `accept` to its settlement, so drop this after that.
#[derive(Debug)]
pub struct SharedReservation {
    store: Store,
    tenant: Arc<str>,
    submit: i64,
    is_limited: bool,
    end: Mutex<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    GivenBack,
    KeptUntil(i64),
    /// Its row in the store holds it now, or nothing was reserved.
    Nothing,
}

const DAY_MS: i64 = 86_400_000;
const PATIENCE: Duration = Duration::from_secs(1);
/// Of a tenant with limits: without the server's word it is refused. Clients give up after five seconds.
pub const LIMITED_PATIENCE: Duration = Duration::from_secs(2);
/// What an emptied server is given back it has by then. Clients give up after five seconds.
const WRITTEN_BACK: Duration = Duration::from_secs(4);
const ASK_AGAIN: Duration = Duration::from_millis(100);
const EMPTIED: &str = "the Redis server was emptied, and has not everything back";
const NO_ANSWER: &str = "the Redis server takes too long";

impl SharedReservation {
    /// None: nobody shares this store. An error: the server does not answer.
    pub async fn reserve(
        store: &Store,
        tenant: &Arc<str>,
        limits: &TenantLimits,
        price_micro_usd: i64,
        now_ms: i64,
    ) -> Option<Result<Result<Self, Limit>, StoreError>> {
        let redis = store.replicas()?;
        let is_limited = limits.are_there();
        let patience = if is_limited {
            LIMITED_PATIENCE
        } else {
            PATIENCE
        };
        // So long in all, and not for every submit.
        let trouble = store.health().since;
        let patience =
            patience.saturating_sub(trouble.map_or(Duration::ZERO, |since| since.elapsed()));
        if patience.is_zero() {
            return Some(Err(StoreError::Unreadable(NO_ANSWER.to_owned())));
        }
        let reservation = Self {
            store: store.clone(),
            tenant: Arc::clone(tenant),
            submit: redis.next_submit(),
            is_limited,
            end: Mutex::new(End::GivenBack),
        };
        let submit = reservation.submit;
        let reserve = async {
            loop {
                let reserved = redis.reserve(submit, tenant, limits, price_micro_usd, now_ms);
                match timeout(patience, reserved).await {
                    Ok(Ok(Some(reserved))) => return Ok(reserved),
                    Ok(Ok(None)) => sleep(ASK_AGAIN).await,
                    Ok(Err(error)) => return Err(error),
                    Err(_) => return Err(StoreError::Unreadable(NO_ANSWER.to_owned())),
                }
            }
        };
        let reserved = timeout(WRITTEN_BACK, reserve).await;
        let reserved = reserved.unwrap_or_else(|_| Err(StoreError::Unreadable(EMPTIED.to_owned())));
        // After an error it may be reserved all the same, and is given back.
        if matches!(reserved, Ok(Err(_))) {
            reservation.ends(End::Nothing);
        }
        Some(reserved.map(|reserved| reserved.map(|()| reservation)))
    }

    /// For the intent of its submit.
    pub fn reserved(&self) -> Reserved {
        Reserved {
            submit: self.submit,
            is_limited: self.is_limited,
        }
    }

    /// Nobody can know whether there is a task: until the day ends it counts as one.
    pub fn keep(&self, now_ms: i64) {
        let midnight = (now_ms.div_euclid(DAY_MS) + 1) * DAY_MS;
        self.ends(End::KeptUntil(midnight));
    }

    /// Its submit is parked, durably.
    pub fn park(&self, id: OwnId) {
        self.store.hold_parked(self.submit, id);
        self.ends(End::Nothing);
    }

    fn ends(&self, end: End) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }
}

impl Drop for SharedReservation {
    fn drop(&mut self) {
        let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let uncertain_until_ms = match end {
            End::GivenBack => None,
            End::KeptUntil(midnight) => Some(midnight),
            End::Nothing => return,
        };
        self.store
            .give_back(&self.tenant, self.submit, uncertain_until_ms);
    }
}
