//! `in.php` and `solve.php`: the calls that cost money.
//!
//! They run detached from the client's connection: a client that hangs up does not lose a paid task. A submit is sent
//! again only if it provably did not reach the vendor or the vendor explicitly refused it. Everything else is uncertain.

pub(super) mod late;
mod ledger;
mod once;
mod tries;

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use late::Late;
pub(super) use ledger::STORE_PATIENCE;

use super::Server;
use super::admit::Admitted;
use super::flight::{Heard, Identical, Listener, Pilot};
use super::park;
use super::refuse::Refusal;
use super::reserve::reserve;
use super::respond::Outcome;
use super::trace::Trace;
use crate::listen::Receipt;
use crate::live::Snapshot;
use crate::store::{Claim, OwnId, TaskKey};
use crate::tenants::accounts::Reservation;

pub(super) async fn submit(
    server: &Arc<Server>,
    snapshot: Arc<Snapshot>,
    admitted: Admitted,
    mut trace: Trace,
) -> (Outcome, Receipt) {
    let identical = identical(&admitted);
    // Whoever finds an identical submit whose client left waits for that one instead of paying again.
    while let Some(listener) = server.unheard.adopt(&identical, Instant::now()) {
        let outcome = match listener.hear().await {
            Heard::Outcome(outcome) => outcome,
            Heard::Dropped => continue,
            Heard::Lost => lost(server),
        };
        server.metrics.unheard_answer();
        trace.unheard();
        trace.end(&outcome);
        return (outcome, receipt(listener));
    }
    let listener = start(server, snapshot, admitted, None, trace).await;
    let outcome = match listener.hear().await {
        Heard::Outcome(outcome) => outcome,
        // Dropped is heard by nobody: its client has left. After a panic nobody knows what was sent; its intent is still
        // open in the store, and becomes uncertain at the next start.
        Heard::Dropped | Heard::Lost => lost(server),
    };
    (outcome, receipt(listener))
}

/// Begins, detached. What ends without a task forgets the claim.
pub(super) async fn start(
    server: &Arc<Server>,
    snapshot: Arc<Snapshot>,
    admitted: Admitted,
    claim: Option<Claim>,
    mut trace: Trace,
) -> Listener {
    // A client that leaves meanwhile has sent nothing.
    let reserved = reserve(server, &snapshot, &admitted).await;
    let (pilot, listener) = server.unheard.start(identical(&admitted));
    match reserved {
        Ok(reservation) => {
            let work = Submitting {
                server: Arc::clone(server),
                snapshot,
                admitted,
                reservation,
                claim,
                left: pilot.client_left().clone(),
                parked: None,
            };
            server.background.spawn(work.run(pilot, trace));
        }
        Err(refusal) => {
            let outcome = Outcome::Refused(refusal);
            trace.end(&outcome);
            pilot.land(outcome, false);
        }
    }
    listener
}

fn identical(admitted: &Admitted) -> Identical {
    Identical {
        endpoint: admitted.request.endpoint,
        project: admitted.project.clone(),
        parts: admitted.request.message.parts().clone(),
    }
}

/// The outcome counts as heard when it is written, not when it is there.
fn receipt(listener: Listener) -> Receipt {
    Receipt::new(move || listener.mark_heard())
}

pub(super) fn lost(server: &Server) -> Outcome {
    server.metrics.uncertain_submit();
    Outcome::Refused(Refusal::Uncertain)
}

pub(super) struct Submitting {
    pub server: Arc<Server>,
    pub snapshot: Arc<Snapshot>,
    pub admitted: Admitted,
    /// Given back when this ends, unless there is a task, or may be one.
    pub reservation: Reservation,
    pub claim: Option<Claim>,
    /// Cancelled when nobody wants the task any more: what was not sent yet is not sent.
    pub left: CancellationToken,
    /// It was parked, and no client is there to answer.
    pub parked: Option<OwnId>,
}

/// How a submit ends: what its client hears, and what there is at the vendor now.
pub(super) struct Ended<'a> {
    pub outcome: Outcome,
    pub made: Made,
    pub late: Option<Box<Late<'a>>>,
}

pub(super) enum Made {
    Task(Arc<str>),
    /// solve.php: the task has ended with its submit.
    Answer,
    /// Nobody can know.
    Perhaps,
    /// The vendor blames the submit, with this code.
    Refused(Arc<str>),
    /// A parked submit that another replica sends.
    Elsewhere,
    Nothing,
}

impl Made {
    /// The vendor made a task, or may have.
    fn is_something(&self) -> bool {
        match self {
            // The repeat of an uncertain submit must hear the same, or it pays a second time.
            Self::Task(_) | Self::Answer | Self::Perhaps => true,
            Self::Refused(_) | Self::Elsewhere | Self::Nothing => false,
        }
    }
}

impl Submitting {
    async fn run(self, pilot: Pilot, mut trace: Trace) {
        let (server, snapshot, admitted) = (&self.server, &self.snapshot, &self.admitted);
        let ended = match park::behind(server, snapshot, admitted) {
            Some(refusal) => Some(Ended::refused(refusal)),
            None => self.tries(None, &mut trace).await,
        };
        let is_wanted = |ended: &Ended<'_>| ended.made.is_something() || !self.left.is_cancelled();
        let Some(mut ended) = ended.filter(is_wanted) else {
            pilot.drop_unsent();
            return;
        };
        if let Outcome::Refused(refusal) = &ended.outcome
            && let Some(id) = park::instead(server, snapshot, admitted, self.claim, refusal).await
        {
            let id: Arc<str> = id.to_string().into();
            self.reservation.park(TaskKey {
                profile: Arc::clone(&snapshot.profile_name),
                tenant: Arc::clone(&admitted.tenant.name),
                id: Arc::clone(&id),
            });
            trace.task(&id);
            ended = Ended::new(Outcome::Value(id.as_ref().to_owned()), Made::Task(id));
        }
        trace.end(&ended.outcome);
        drop(trace);
        pilot.land(ended.outcome, ended.made.is_something());
        if let Some(late) = ended.late {
            self.hear_late(late, Some(&pilot)).await;
        }
    }
}

impl Ended<'_> {
    fn refused(refusal: Refusal) -> Self {
        Self::new(Outcome::Refused(refusal), Made::Nothing)
    }

    fn new(outcome: Outcome, made: Made) -> Self {
        Self {
            outcome,
            made,
            late: None,
        }
    }

    /// Its repeat must hear the same, or the repeat pays a second time.
    fn uncertain() -> Self {
        Self::new(Outcome::Refused(Refusal::Uncertain), Made::Perhaps)
    }
}
