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
    let route = Route {
        endpoint: admitted.endpoint,
        user_agent: admitted.user_agent.as_ref(),
        asked: Asked::Other,
        deadline: Instant::now() + POLL_PATIENCE,
        client_left: None,
        is_probe: false,
    };
    let sending = Sending::keyless(admitted);
    match forward(
        server,
        snapshot,
        None,
        admitted.token(),
        sending,
        &route,
        trace,
    )
    .await
    {
        Ok(answered) if !matches!(answered.reading, Reading::Trouble { .. }) => {
            Outcome::Relay(answered.relay)
        }
        _ => Outcome::Refused(Refusal::VendorTrouble),
    }
}
