//! `load.php` and the list of error codes: about the vendor, not about an account.

use tokio::time::Instant;

use super::Server;
use super::admit::Admitted;
use super::forward::{Route, Sending, forward};
use super::poll::POLL_PATIENCE;
use super::refuse::Refusal;
use super::respond::Outcome;
use super::trace::Trace;
use crate::live::Snapshot;
use crate::vendor::answer::{Asked, Reading};

/// Goes out without any key: none is needed, so none is risked.
pub(super) async fn info(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    trace: &mut Trace,
) -> Outcome {
    let deadline = Instant::now() + POLL_PATIENCE;
    let route = Route::new(admitted.caller(), Asked::Other, deadline);
    let sending = Sending::keyless(admitted);
    match forward(server, snapshot, sending, &route, trace).await {
        Ok(answered) if !matches!(answered.reading, Reading::Trouble { .. }) => {
            Outcome::Relay(answered.relay)
        }
        _ => Outcome::Refused(Refusal::VendorTrouble),
    }
}
