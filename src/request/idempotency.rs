//! Submits that carry an idempotency key of their client's: however often one comes, the vendor is paid once.
//!
//! A *claim* is such a key, below its tenant and endpoint, with what is asked for. A repeat that comes while the first is on its
//! way waits for it; one that comes later hears the same id, also after a restart. What ended without a task is forgotten, so
//! that a repeat tries again. What nobody can know stays uncertain for the repeat too. The store keeps claims in the
//! transactions of their submits; what is here only tells who waits for whom.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::header::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Server;
use super::admit::Admitted;
use super::flight::{Heard, Listener};
use super::refuse::Refusal;
use super::respond::{Outcome, Relay};
use super::submit::{self, STORE_PATIENCE};
use super::trace::Trace;
use crate::live::Snapshot;
use crate::store::{CameTo, Claim};
use crate::vendor::answer::{self, Asked, Reading};
use crate::vendor::profile::Profile;
use crate::wire::{Endpoint, Fields, Hints};

const LONGEST_KEY: usize = 255;

/// The claims that are on their way. All clones are one.
#[derive(Clone, Default)]
pub struct Claims(Arc<Mutex<HashMap<[u8; 32], Arc<Run>>>>);

/// One claim on its way, and its outcome once it is there.
struct Run {
    parameters: [u8; 32],
    /// Clients that wait.
    waiting: AtomicUsize,
    /// Cancelled when the last of them has left: what was not sent yet is not sent any more.
    left: CancellationToken,
    landed: watch::Sender<Landed>,
}

#[derive(Clone, Debug, PartialEq)]
enum Landed {
    NotYet,
    /// Nothing was sent, because all who waited had left.
    Dropped,
    With {
        outcome: Outcome,
        /// In which format it is, if that is not for the reader to choose.
        hints: Hints,
    },
}

enum Boarded {
    First(Pilot, Seat),
    Aboard(Seat),
    OtherParameters,
}

/// The side that works. The claim is on its way until this is dropped.
struct Pilot {
    claims: Claims,
    scope: [u8; 32],
    run: Arc<Run>,
}

/// A client that waits.
struct Seat(Arc<Run>);

pub(super) async fn submit(
    server: &Arc<Server>,
    snapshot: Arc<Snapshot>,
    admitted: Admitted,
    claim: Claim,
    mut trace: Trace,
) -> Outcome {
    let (hints, endpoint) = (admitted.request.hints(), admitted.request.endpoint);
    let profile = Arc::clone(&snapshot);
    let profile = &profile.settings.vendor.profile;
    let rendered = |outcome, from| rendered(profile, endpoint, outcome, from, hints);
    loop {
        let seat = match server.claims.board(&claim) {
            Boarded::First(pilot, seat) => {
                let work = drive(Arc::clone(server), snapshot, admitted, claim, pilot, trace);
                server.background.spawn(work);
                // Nobody is told that it was dropped while somebody waits.
                return match seat.hear().await {
                    Landed::With { outcome, hints } => rendered(outcome, hints),
                    Landed::NotYet | Landed::Dropped => Outcome::Refused(Refusal::Uncertain),
                };
            }
            Boarded::Aboard(seat) => seat,
            Boarded::OtherParameters => {
                let outcome = Outcome::Refused(Refusal::OtherParameters);
                trace.end(&outcome);
                return outcome;
            }
        };
        let outcome = match seat.hear().await {
            Landed::With { outcome, hints } => rendered(outcome, hints),
            Landed::Dropped => continue,
            Landed::NotYet => Outcome::Refused(Refusal::Uncertain),
        };
        server.metrics.repeated_submit();
        trace.repeat();
        trace.end(&outcome);
        return outcome;
    }
}

/// The key of the client's field or header.
pub(super) fn key(fields: &Fields, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut lines = headers.get_all(HEADER).iter();
    let in_header = match (lines.next(), lines.next()) {
        (None, _) => None,
        (Some(line), None) => Some(unquoted(line.as_bytes()).ok_or(BAD_KEY)?),
        (Some(_), Some(_)) => return Err(TWO_KEYS),
    };
    let key = match (in_header, &fields.idempotency_key) {
        (Some(header), Some(field)) if header != *field => return Err(TWO_KEYS),
        (Some(key), _) => key,
        (None, Some(field)) => field.clone(),
        (None, None) => return Ok(None),
    };
    let is_good = !key.is_empty() && key.len() <= LONGEST_KEY && !key.contains(char::is_control);
    if is_good { Ok(Some(key)) } else { Err(BAD_KEY) }
}

/// In open mode everybody is one tenant; so that two programs which count 1, 2, 3 do not meet, their tokens tell them apart.
pub(super) fn claim(snapshot: &Snapshot, admitted: &Admitted, key: &str) -> Claim {
    let whose: (&[u8], &[u8]) = match admitted.tenant.name.is_empty() {
        true => (b"token", admitted.token()),
        false => (b"tenant", admitted.tenant.name.as_bytes()),
    };
    let endpoint: &[u8] = match admitted.request.endpoint {
        Endpoint::Solve => b"solve",
        _ => b"submit",
    };
    let project = admitted.project.as_deref().unwrap_or_default();
    // An answer is never written anew in another format, so the format of one that is the solution itself is asked for, too.
    let json: &[u8] = match admitted.request.endpoint {
        Endpoint::Solve => &[u8::from(admitted.request.hints().json)],
        _ => b"",
    };
    Claim {
        scope: digest(&[
            snapshot.profile_name.as_bytes(),
            whose.0,
            whose.1,
            endpoint,
            key.as_bytes(),
        ]),
        parameters: digest(&[
            &admitted.request.message.meaning(),
            project.as_bytes(),
            json,
        ]),
    }
}

/// Goes on when its clients hang up, as every submit does.
async fn drive(
    server: Arc<Server>,
    snapshot: Arc<Snapshot>,
    admitted: Admitted,
    claim: Claim,
    pilot: Pilot,
    mut trace: Trace,
) {
    let hints = admitted.request.hints();
    let known = timeout(STORE_PATIENCE, server.store.find_claim(&claim.scope)).await;
    let known = match known {
        Ok(Ok(None)) => None,
        Ok(Ok(Some(known))) if known.parameters != claim.parameters => {
            Some(Outcome::Refused(Refusal::OtherParameters))
        }
        Ok(Ok(Some(known))) => {
            server.metrics.repeated_submit();
            trace.repeat();
            Some(known_outcome(known.came_to))
        }
        Ok(Err(_)) | Err(_) => {
            server.metrics.store_error();
            tracing::error!(
                "a submit is refused: what is kept of its idempotency key cannot be read"
            );
            Some(Outcome::Refused(Refusal::NotKept))
        }
    };
    if let Some(outcome) = known {
        trace.end(&outcome);
        pilot.land(Landed::With { outcome, hints });
        return;
    }
    let listener = submit::start(&server, snapshot, admitted, Some(claim), trace).await;
    let outcome = match pilot.hear(&listener).await {
        Heard::Outcome(outcome) => outcome,
        Heard::Dropped => {
            forgotten(&server).await;
            pilot.leave();
            return pilot.land(Landed::Dropped);
        }
        Heard::Lost => submit::lost(&server),
    };
    // The key finds it; a submit without one shall not.
    listener.mark_heard();
    if listener.is_paid() {
        pilot.land(Landed::With { outcome, hints });
        // In a store's trouble its record is not there yet, and until it is this must be found here.
        tokio::select! {
            _ = server.store.flush() => {}
            () = server.background.stopping() => {}
        }
    } else {
        forgotten(&server).await;
        pilot.leave();
        pilot.land(Landed::With { outcome, hints });
    }
}

/// A client that was refused may repeat at once, and must not find the claim that is being forgotten.
async fn forgotten(server: &Server) {
    if !matches!(
        timeout(STORE_PATIENCE, server.store.flush()).await,
        Ok(Ok(_))
    ) {
        server.metrics.store_error();
    }
}

fn known_outcome(came_to: CameTo) -> Outcome {
    match came_to {
        CameTo::Task(id) => Outcome::Value(id.as_ref().to_owned()),
        CameTo::Answer(body) => Outcome::Relay(Relay {
            body,
            content_type: None,
            allow_origin: None,
        }),
        CameTo::Unknown => Outcome::Refused(Refusal::Uncertain),
    }
}

/// What was made for one client, for another one.
fn rendered(
    profile: &Profile,
    endpoint: Endpoint,
    outcome: Outcome,
    from: Hints,
    to: Hints,
) -> Outcome {
    match outcome {
        Outcome::Relay(relay) if from.json != to.json && endpoint == Endpoint::Submit => {
            match answer::read(profile, Asked::Submit, 200, &relay.body) {
                Reading::Accepted { id } => Outcome::Value(id),
                Reading::Code { code, .. } => Outcome::Code(code),
                _ => Outcome::Relay(relay),
            }
        }
        other => other,
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// A string of RFC 8941 (`"8e03978e"`), as the draft of this header says, or the same without its quotes.
fn unquoted(value: &[u8]) -> Option<String> {
    let value = value.trim_ascii();
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return String::from_utf8(value.to_vec()).ok();
    };
    let mut text = Vec::new();
    let mut bytes = quoted.iter();
    loop {
        match bytes.next()? {
            b'"' => break,
            b'\\' => text.push(*bytes.next().filter(|b| b"\"\\".contains(b))?),
            other => text.push(*other),
        }
    }
    if bytes.next().is_some() {
        return None;
    }
    String::from_utf8(text).ok()
}

impl Claims {
    fn board(&self, claim: &Claim) -> Boarded {
        let mut runs = self.runs();
        if let Some(run) = runs.get(&claim.scope) {
            if run.parameters != claim.parameters {
                return Boarded::OtherParameters;
            }
            return Boarded::Aboard(Seat::take(run));
        }
        let run = Arc::new(Run {
            parameters: claim.parameters,
            waiting: AtomicUsize::new(0),
            left: CancellationToken::new(),
            landed: watch::Sender::new(Landed::NotYet),
        });
        runs.insert(claim.scope, Arc::clone(&run));
        let seat = Seat::take(&run);
        let pilot = Pilot {
            claims: self.clone(),
            scope: claim.scope,
            run,
        };
        Boarded::First(pilot, seat)
    }

    /// A std lock with sections of one map operation; never held over an await.
    fn runs(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Run>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pilot {
    /// Tells the submit when nobody waits any more, and hears how it ends all the same.
    async fn hear(&self, listener: &Listener) -> Heard {
        tokio::select! {
            heard = listener.hear() => return heard,
            () = self.run.left.cancelled() => listener.leave(),
        }
        listener.hear().await
    }

    /// Who comes from now on begins anew, or finds what is stored.
    fn leave(&self) {
        let mut runs = self.claims.runs();
        // Another may have begun under the same key.
        if runs
            .get(&self.scope)
            .is_some_and(|run| Arc::ptr_eq(run, &self.run))
        {
            runs.remove(&self.scope);
        }
    }

    fn land(&self, landed: Landed) {
        self.run.landed.send_replace(landed);
    }
}

/// Without landing the work ended in a panic; what is in the store then decides about repeats.
impl Drop for Pilot {
    fn drop(&mut self) {
        self.leave();
        self.run.landed.send_if_modified(|landed| {
            let lost = *landed == Landed::NotYet;
            if lost {
                *landed = Landed::With {
                    outcome: Outcome::Refused(Refusal::Uncertain),
                    hints: Hints::default(),
                };
            }
            lost
        });
    }
}

impl Seat {
    fn take(run: &Arc<Run>) -> Self {
        run.waiting.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(run))
    }

    async fn hear(&self) -> Landed {
        let mut landed = self.0.landed.subscribe();
        let heard = landed
            .wait_for(|landed| !matches!(landed, Landed::NotYet))
            .await;
        heard.map_or(Landed::NotYet, |landed| landed.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.left.cancel();
        }
    }
}

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const BAD_KEY: Refusal = Refusal::IdempotencyKey(
    "the idempotency key is empty, longer than 255 bytes or not printable, send a short text such as a UUID",
);
const TWO_KEYS: Refusal = Refusal::IdempotencyKey(
    "`x_idempotency_key` and the header `Idempotency-Key` differ, or the header is given twice: send one of them",
);

#[cfg(test)]
mod tests;
