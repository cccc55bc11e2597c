//! What a submit uses of its tenant's limits, reserved before a key is chosen. The one place where that is done: whoever
//! carries the submit on, carries the reservation with it.

use tokio::time::Instant;

use super::admit::Admitted;
use super::refuse::Refusal;
use super::{Server, clock};
use crate::live::Snapshot;
use crate::tasks::kind;
use crate::tenants::accounts::Reservation;
use crate::tenants::shared::SharedReservation;

/// By the limits and prices of the tenant as this request sees them, so that changed ones hold at once.
///
/// Where replicas share the limits the store counts, and what is counted here is this one's part, for those who look. A submit
/// that is not counted in time is not sent. Only when the store has been gone for long, and as each replica leads itself, does
/// each hold its own part to what all had used as far as it knows.
pub(super) async fn reserve(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
) -> Result<Reservation, Refusal> {
    let tenant = &admitted.tenant;
    let kind = kind::of(admitted.request.message.fields());
    let price = tenant.price(kind, &snapshot.settings.prices);
    let account = server.tenants.of(&tenant.name);
    let (store, now_ms) = (&server.store, clock::now_ms());
    let shared = SharedReservation::reserve(store, &tenant.name, &tenant.limits, price, now_ms);
    let shared = shared.await;
    if let (Some(redis), Some(Ok(_))) = (store.replicas(), &shared)
        && let Some(used) = redis.used_together(&tenant.name, now_ms)
    {
        account.used_together(used, now_ms);
    }
    let reserved = match shared {
        Some(Ok(Ok(shared))) => Ok(account.reserved(shared, price, Instant::now(), now_ms)),
        Some(Ok(Err(limit))) => {
            account.refused(limit, now_ms);
            Err(limit)
        }
        Some(Err(_)) if tenant.limits.are_there() && !server.replicas.is_alone() => {
            return Err(Refusal::NotCounted);
        }
        None | Some(Err(_)) => account.reserve(&tenant.limits, price, Instant::now(), now_ms),
    };
    reserved.map_err(Refusal::TenantOver)
}
