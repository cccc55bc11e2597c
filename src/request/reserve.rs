//! What a submit uses of its tenant's limits, reserved before a key is chosen. The one place where that is done: whoever
//! carries the submit on, carries the reservation with it.

use tokio::time::Instant;

use super::admit::Admitted;
use super::refuse::Refusal;
use super::{Server, clock};
use crate::live::Snapshot;
use crate::tasks::kind;
use crate::tenants::accounts::Reservation;

/// By the limits and prices of the tenant as this request sees them, so that changed ones hold at once.
pub(super) fn reserve(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
) -> Result<Reservation, Refusal> {
    let tenant = &admitted.tenant;
    let kind = kind::of(admitted.message.fields());
    let price = tenant.price(kind, &snapshot.settings.prices);
    let account = server.tenants.of(&tenant.name);
    account
        .reserve(&tenant.limits, price, Instant::now(), clock::now_ms())
        .map_err(Refusal::TenantOver)
}
