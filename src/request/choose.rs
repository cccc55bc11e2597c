//! The key for one try of a submit, waited for as long as the configuration allows.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Server;
use super::refuse::Refusal;
use crate::config::settings::WhenBusy;
use crate::keys::key::Key;
use crate::keys::pool::NoKey;
use crate::live::Snapshot;

/// At a start the first submits wait for the first round of probes, so that a thousand processes that submit once spread
/// over all their keys and not over the one that is proven first. Half a second buys some ten probes.
pub(super) const LEARNING: Duration = Duration::from_millis(500);

pub(super) async fn choose(
    server: &Server,
    snapshot: &Snapshot,
    wait_until: Instant,
    deadline: Instant,
) -> Result<Arc<Key>, Refusal> {
    // An error is the end of the time, and then what was learnt so far has to do.
    let _ = timeout_at(server.started + LEARNING, server.prober.has_learnt()).await;
    loop {
        // Before the look at the keys, so that no news is missed between the two.
        let events = snapshot.keys.events();
        let news = events.next();
        tokio::pin!(news);
        news.as_mut().enable();
        let count = events.count();
        let outage = server.outage.open_until();
        let none = match outage {
            Some(until) => NoKey::Busy { until },
            None => match snapshot
                .keys
                .pool
                .choose(&server.egress, count, Instant::now())
            {
                Ok(key) => return Ok(key),
                Err(none) => none,
            },
        };
        match none {
            NoKey::None => return Err(Refusal::NoKey),
            NoKey::Empty => return Err(Refusal::AllEmpty),
            NoKey::Busy { until } => {
                let refusal = if outage.is_some() {
                    Refusal::VendorUnreachable
                } else {
                    Refusal::AllBusy
                };
                if snapshot.settings.submit.when_busy == WhenBusy::Fail || until > wait_until {
                    return Err(refusal);
                }
                // At that time, or when something brings a key back earlier.
                let _ = timeout_at(until, news).await;
                if Instant::now() >= wait_until {
                    return Err(refusal);
                }
            }
            NoKey::Learning => {
                // Not a busy pool but one that is just being learnt, so this waits as long as a submit may.
                if timeout_at(deadline, news).await.is_err() {
                    return Err(Refusal::AllBusy);
                }
            }
        }
    }
}
