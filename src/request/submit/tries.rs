//! The keys that a submit is tried with, one after the other, and when that ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::once::Tried;
use super::{Ended, Made, Submitting};
use crate::config::settings::WhenBusy;
use crate::keys::key::Key;
use crate::keys::secret::Identity;
use crate::request::choose::{TakenSlot, choose};
use crate::request::refuse::Refusal;
use crate::request::trace::Trace;
use crate::vendor::profile::Class;
use crate::wire::Endpoint;

/// solve.php answers when the captcha is solved. The vendor's own limit is not documented; clients wait 600 s at most.
const SOLVE_PATIENCE: Duration = Duration::from_secs(600);
/// Two proven keys that the vendor calls bad for one submit: the submit is to blame, and must not bench the others.
const PROVEN_KEYS_BLAMED: usize = 2;
/// Before the second try of a submit that did not reach the vendor; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

impl Submitting {
    /// Beginning with the key that was chosen already, if one was. `None` when the client left before anything was sent.
    pub(in crate::request) async fn tries(
        &self,
        mut first: Option<(Arc<Key>, TakenSlot)>,
        trace: &mut Trace,
    ) -> Option<Ended<'_>> {
        let refuse = |refusal| Some(Ended::refused(refusal));
        let rules = &self.snapshot.settings.submit;
        let began = Instant::now();
        let (deadline, wait_until) = match self.admitted.request.endpoint {
            Endpoint::Solve => (began + SOLVE_PATIENCE, began + rules.wait),
            // Whose place is among the parked ones waits there.
            _ if self.parked.is_some() => (began + rules.deadline, began),
            _ => (
                began + rules.deadline,
                began + rules.wait.min(rules.deadline),
            ),
        };
        let mut refused: Vec<Refused> = Vec::new();
        let profile = &self.snapshot.settings.vendor.profile;
        let all_refused = |refused: &[Refused]| refuse(after(refused, &profile.no_slot_json));
        let waits = rules.when_busy == WhenBusy::Wait && self.parked.is_none();
        let mut blamed_though_proven = 0;
        // A key that was refused at its trial was not tried for this submit: a file with dead keys must not fail clients.
        let mut sent_with = 0;
        let mut pause = FIRST_PAUSE;
        loop {
            let tenant = &self.admitted.tenant;
            let choose = choose(
                &self.server,
                &self.snapshot,
                tenant,
                waits,
                wait_until,
                deadline,
            );
            let chosen = match first.take() {
                Some(chosen) => Ok(chosen),
                None => tokio::select! {
                    chosen = choose => chosen,
                    () = self.left.cancelled() => return None,
                },
            };
            let (key, slot) = match chosen {
                Ok(chosen) => chosen,
                Err(refusal) => return refuse(refusal),
            };
            let known = refused
                .iter()
                .any(|refused| refused.identity == key.identity);
            if !known && sent_with >= rules.max_keys {
                return all_refused(&refused);
            }
            match self.once(&key, slot, deadline, trace).await {
                Tried::Done(ended) => return Some(ended),
                // The next choice knows.
                Tried::Full => {}
                Tried::NotSent if self.left.is_cancelled() => return None,
                Tried::NotSent => {
                    if Instant::now() + pause >= wait_until {
                        return refuse(Refusal::VendorUnreachable);
                    }
                    sleep(pause).await;
                    pause *= 2;
                }
                Tried::Refused { class, code, words } => {
                    self.server.metrics.failover(class);
                    sent_with += usize::from(!known);
                    if class == Class::KeyBad {
                        blamed_though_proven += 1;
                        if blamed_though_proven >= PROVEN_KEYS_BLAMED {
                            return Some(Ended::new(words, Made::Refused(code)));
                        }
                    }
                    if !known {
                        refused.push(Refused {
                            identity: key.identity,
                            class,
                            no_slot: class == Class::KeyBusy && profile.is_no_slot(&code),
                        });
                    }
                    if Instant::now() >= deadline {
                        return all_refused(&refused);
                    }
                }
            }
        }
    }
}

/// A key that the vendor refused this submit with.
struct Refused {
    identity: Identity,
    class: Class,
    no_slot: bool,
}

/// What all the refused keys come to.
fn after(refused: &[Refused], no_slot_json: &str) -> Refusal {
    let any = |class| refused.iter().any(|refused| refused.class == class);
    if refused.iter().all(|refused| refused.no_slot) {
        Refusal::NoSlot(no_slot_json.into())
    } else if any(Class::KeyBusy) {
        Refusal::AllBusy
    } else if any(Class::KeyEmpty) {
        Refusal::AllEmpty
    } else {
        Refusal::NoKey
    }
}
