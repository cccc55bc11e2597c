//! Submits that go on when their client hangs up, and the ids that nobody heard.
//!
//! A client that gives up before the first byte went out loses nothing: its submit is dropped. One that gives up later
//! has a paid task and no id (captcha-solver hangs up after 5 s and submits again). The next byte-identical submit of the
//! same token within 60 s is given that answer, once, instead of paying a second time. Heard is what was written to a
//! client that was still there right before; one that closes while the answer is on its way to it may pay twice.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::respond::Outcome;
use crate::wire::{Endpoint, Parts};

const UNHEARD_FOR: Duration = Duration::from_secs(60);
/// SECURITY: clients that hang up on purpose must not fill the memory; the oldest is forgotten first.
const MAX_UNHEARD: usize = 10_000;

/// One submit on its way, and its outcome once it is there.
struct Flight {
    /// Cancelled when the client hangs up: what was not sent yet is not sent any more.
    left: CancellationToken,
    landed: watch::Sender<Landed>,
}

#[derive(Clone)]
enum Landed {
    NotYet,
    /// Nothing was sent, because the client had left.
    Dropped,
    /// The work ended in a panic.
    Lost,
    With {
        outcome: Outcome,
        accepted: bool,
    },
}

/// What a listener hears.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Outcome(Outcome),
    /// The submit was dropped unsent; whoever still wants it must start it anew.
    Dropped,
    Lost,
}

/// The working side of a flight. Whatever happens to the work, the listener is told.
pub struct Pilot(Arc<Flight>);

/// Flights whose client is gone, newest last. All clones are one.
#[derive(Clone, Default)]
pub struct Unheard(Arc<Mutex<VecDeque<Abandoned>>>);

struct Abandoned {
    likeness: Likeness,
    since: Instant,
    flight: Arc<Flight>,
}

/// What makes two submits the same. The digest is computed only when a client hangs up or may be such a repeat.
#[derive(Clone, PartialEq)]
struct Likeness {
    length: usize,
    digest: [u8; 32],
}

/// The parts of a submit that are compared, all of them: path, project and token included.
#[derive(Clone)]
pub struct Identical {
    pub endpoint: Endpoint,
    pub project: Option<Arc<str>>,
    pub parts: Parts,
}

/// Held by the client's connection until the answer is on its way. Dropped unheard, it leaves the flight to the next
/// identical submit.
pub struct Listener {
    unheard: Unheard,
    identical: Identical,
    flight: Arc<Flight>,
    heard: AtomicBool,
}

impl Pilot {
    /// For the call to the vendor, which ends unsent when this is cancelled before its first byte went out.
    pub fn client_left(&self) -> &CancellationToken {
        &self.0.left
    }

    /// `accepted`: the vendor made a task, or may have, so the outcome is worth handing to a later identical submit.
    /// A second time when a late answer says more.
    pub fn land(&self, outcome: Outcome, accepted: bool) {
        self.0
            .landed
            .send_replace(Landed::With { outcome, accepted });
    }

    /// Nothing was sent, and nothing will be.
    pub fn drop_unsent(&self) {
        self.0.landed.send_replace(Landed::Dropped);
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.0.landed.send_if_modified(|landed| {
            let in_the_air = matches!(landed, Landed::NotYet);
            if in_the_air {
                *landed = Landed::Lost;
            }
            in_the_air
        });
    }
}

impl Unheard {
    /// The flight of an identical submit that nobody heard the end of, to be listened to instead of submitting again.
    pub fn adopt(&self, identical: &Identical, now: Instant) -> Option<Listener> {
        if !self.may_be_known(identical.length(), now) {
            return None;
        }
        // Not under the lock, which all submits take: a digest of 16 MiB takes milliseconds.
        let likeness = identical.likeness();
        let mut waiting = self.waiting();
        while let Some(index) = waiting
            .iter()
            .position(|abandoned| abandoned.likeness == likeness)
        {
            let flight = waiting.remove(index)?.flight;
            if flight.is_worth_hearing() {
                return Some(self.listener(identical.clone(), flight));
            }
        }
        None
    }

    fn may_be_known(&self, length: usize, now: Instant) -> bool {
        let mut waiting = self.waiting();
        while waiting
            .front()
            .is_some_and(|oldest| now.duration_since(oldest.since) >= UNHEARD_FOR)
        {
            waiting.pop_front();
        }
        waiting
            .iter()
            .any(|abandoned| abandoned.likeness.length == length)
    }

    /// Submits that wait for an identical one to take their answer.
    pub fn count(&self, now: Instant) -> usize {
        let waiting = self.waiting();
        let waits = |abandoned: &&Abandoned| {
            now.duration_since(abandoned.since) < UNHEARD_FOR && abandoned.flight.is_worth_hearing()
        };
        waiting.iter().filter(waits).count()
    }

    /// A new flight: the side that works and the side that waits.
    pub fn start(&self, identical: Identical) -> (Pilot, Listener) {
        let flight = Arc::new(Flight {
            left: CancellationToken::new(),
            landed: watch::Sender::new(Landed::NotYet),
        });
        (Pilot(Arc::clone(&flight)), self.listener(identical, flight))
    }

    fn listener(&self, identical: Identical, flight: Arc<Flight>) -> Listener {
        Listener {
            unheard: self.clone(),
            identical,
            flight,
            heard: AtomicBool::new(false),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Abandoned>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    fn is_worth_hearing(&self) -> bool {
        matches!(
            *self.landed.borrow(),
            Landed::NotYet | Landed::With { accepted: true, .. }
        )
    }
}

impl Listener {
    pub async fn hear(&self) -> Heard {
        let mut landed = self.flight.landed.subscribe();
        let landed = match landed
            .wait_for(|landed| !matches!(landed, Landed::NotYet))
            .await
        {
            Ok(landed) => landed.clone(),
            Err(_) => Landed::Lost,
        };
        match landed {
            Landed::With { outcome, .. } => Heard::Outcome(outcome),
            Landed::Dropped => Heard::Dropped,
            Landed::NotYet | Landed::Lost => Heard::Lost,
        }
    }

    /// Nobody waits any more; what was not sent yet shall not be sent.
    pub fn leave(&self) {
        self.flight.left.cancel();
    }

    /// The vendor made a task, or may have.
    pub fn is_paid(&self) -> bool {
        matches!(
            *self.flight.landed.borrow(),
            Landed::With { accepted: true, .. }
        )
    }

    /// The client was told.
    pub fn mark_heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if *self.heard.get_mut() {
            return;
        }
        self.flight.left.cancel();
        if !self.flight.is_worth_hearing() {
            return;
        }
        let abandoned = Abandoned {
            likeness: self.identical.likeness(),
            since: Instant::now(),
            flight: Arc::clone(&self.flight),
        };
        let mut waiting = self.unheard.waiting();
        if waiting.len() >= MAX_UNHEARD {
            waiting.pop_front();
        }
        waiting.push_back(abandoned);
    }
}

impl Identical {
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let project = self.project.as_deref().unwrap_or_default();
        let content_type: &[u8] = self.parts.content_type.as_deref().unwrap_or_default();
        for part in [
            &[self.endpoint as u8],
            project.as_bytes(),
            content_type,
            &self.parts.query,
            &self.parts.body,
        ] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    fn length(&self) -> usize {
        self.parts.query.len() + self.parts.body.len()
    }

    fn likeness(&self) -> Likeness {
        Likeness {
            length: self.length(),
            digest: self.digest(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn identical(body: &'static str) -> Identical {
        let parts = Parts {
            body: body.into(),
            ..Parts::default()
        };
        Identical {
            endpoint: Endpoint::Submit,
            project: None,
            parts,
        }
    }

    fn id(id: &str) -> Outcome {
        Outcome::Value(id.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_that_nobody_heard_goes_to_the_next_identical_submit_once() {
        let unheard = Unheard::default();
        let (pilot, listener) = unheard.start(identical("a"));
        drop(listener);
        pilot.land(id("1"), true);
        assert!(unheard.adopt(&identical("b"), Instant::now()).is_none());
        let listener = unheard.adopt(&identical("a"), Instant::now()).unwrap();
        assert_eq!(listener.hear().await, Heard::Outcome(id("1")));
        listener.mark_heard();
        drop(listener);
        assert!(unheard.adopt(&identical("a"), Instant::now()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_identical_submit_joins_one_that_is_still_in_the_air() {
        let unheard = Unheard::default();
        let (pilot, listener) = unheard.start(identical("a"));
        drop(listener);
        let joined = unheard.adopt(&identical("a"), Instant::now()).unwrap();
        pilot.land(id("1"), true);
        assert_eq!(joined.hear().await, Heard::Outcome(id("1")));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_joins_and_leaves_too_passes_it_on() {
        let unheard = Unheard::default();
        let (pilot, listener) = unheard.start(identical("a"));
        drop(listener);
        drop(unheard.adopt(&identical("a"), Instant::now()));
        pilot.land(id("1"), true);
        assert!(unheard.adopt(&identical("a"), Instant::now()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_submit_that_is_heard_or_refused_is_handed_to_nobody() {
        let unheard = Unheard::default();
        let (pilot, listener) = unheard.start(identical("a"));
        pilot.land(id("1"), true);
        listener.hear().await;
        listener.mark_heard();
        drop(listener);
        assert!(unheard.adopt(&identical("a"), Instant::now()).is_none());
        let (pilot, listener) = unheard.start(identical("a"));
        drop(listener);
        pilot.land(Outcome::Code("ERROR_PAGEURL".into()), false);
        assert!(unheard.adopt(&identical("a"), Instant::now()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_that_was_there_but_not_told_is_passed_on() {
        let unheard = Unheard::default();
        let (pilot, listener) = unheard.start(identical("a"));
        pilot.land(id("1"), true);
        assert_eq!(listener.hear().await, Heard::Outcome(id("1")));
        drop(listener);
        assert!(unheard.adopt(&identical("a"), Instant::now()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_is_told_to_the_working_side() {
        let unheard = Unheard::default();
        let (pilot, listener) = unheard.start(identical("a"));
        assert!(!pilot.client_left().is_cancelled());
        drop(listener);
        assert!(pilot.client_left().is_cancelled());
        let joined = unheard.adopt(&identical("a"), Instant::now()).unwrap();
        pilot.drop_unsent();
        assert_eq!(joined.hear().await, Heard::Dropped);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unheard_id_is_forgotten_after_a_minute() {
        let unheard = Unheard::default();
        let (pilot, listener) = unheard.start(identical("a"));
        drop(listener);
        pilot.land(id("1"), true);
        tokio::time::advance(UNHEARD_FOR - Duration::from_millis(1)).await;
        let listener = unheard.adopt(&identical("a"), Instant::now()).unwrap();
        drop(listener);
        tokio::time::advance(UNHEARD_FOR).await;
        assert!(unheard.adopt(&identical("a"), Instant::now()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_of_the_work_is_heard() {
        let unheard = Unheard::default();
        let (pilot, listener) = unheard.start(identical("a"));
        drop(pilot);
        assert_eq!(listener.hear().await, Heard::Lost);
    }
}
