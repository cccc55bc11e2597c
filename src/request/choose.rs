//! The key for one try of a submit, waited for as long as the configuration allows.

use tokio::time::{Instant, sleep_until, timeout_at};

use super::Server;
use super::refuse::Refusal;
use crate::config::settings::WhenBusy;
use crate::keys::pool::{Chosen, NoKey};
use crate::live::Snapshot;

pub(super) async fn choose<'a>(
    server: &'a Server,
    snapshot: &Snapshot,
    wait_until: Instant,
    deadline: Instant,
) -> Result<Chosen<'a>, Refusal> {
    loop {
        // Before the look at the keys, so that the end of a trial is not missed between the two.
        let trial_ended = server.egress.trial_ended();
        tokio::pin!(trial_ended);
        trial_ended.as_mut().enable();
        match snapshot.keys.pool.choose(&server.egress, Instant::now()) {
            Ok(chosen) => return Ok(chosen),
            Err(NoKey::None) => return Err(Refusal::NoKey),
            Err(NoKey::Empty) => return Err(Refusal::AllEmpty),
            Err(NoKey::Busy { until }) => {
                if snapshot.settings.submit.when_busy == WhenBusy::Fail || until > wait_until {
                    return Err(Refusal::AllBusy);
                }
                sleep_until(until).await;
            }
            Err(NoKey::OnTrial) => {
                // Not a busy pool but one that is just being learnt, so this waits as long as a submit may.
                if timeout_at(deadline, trial_ended).await.is_err() {
                    return Err(Refusal::AllBusy);
                }
            }
        }
    }
}
