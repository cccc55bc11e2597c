//! Submits whose answer did not come in time: their clients have heard that nobody knows, and the answer may still come.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Submitting;
use crate::keys::key::Key;
use crate::request::choose::TakenSlot;
use crate::request::flight::Pilot;
use crate::request::forward::{Answered, Route, Sending, Unanswered, forward};
use crate::request::trace::Trace;
use crate::store::{Intent, IntentId};
use crate::vendor::answer::{Asked, Reading};
use crate::wire::Endpoint;

/// How long an answer is read after its deadline.
pub(super) const LATE: Duration = Duration::from_secs(60);

/// SECURITY: a vendor that answers nothing must not hold so many calls for a minute more that polls find no place. An eighth
/// of all.
const MOST_LATE: usize = 64;

/// Room for those that are waited for.
pub struct LateAnswers(Semaphore);

/// A call that left and was not answered by its deadline.
pub(in crate::request) struct Late<'a> {
    pub call: BoxFuture<'a, Result<Answered, Unanswered>>,
    pub intent_id: IntentId,
    pub intent: Intent,
    pub slot: TakenSlot,
    pub key: Arc<Key>,
    pub _room: SemaphorePermit<'a>,
}

impl Default for LateAnswers {
    fn default() -> Self {
        Self(Semaphore::new(MOST_LATE))
    }
}

impl LateAnswers {
    pub(super) fn room(&self) -> Option<SemaphorePermit<'_>> {
        self.0.try_acquire().ok()
    }
}

impl Submitting {
    /// Sends it, and ends at `deadline` at the latest, or before its first byte left when `give_up` is cancelled.
    pub(super) fn call(
        &self,
        key: &Arc<Key>,
        deadline: Instant,
        give_up: CancellationToken,
    ) -> BoxFuture<'_, Result<Answered, Unanswered>> {
        let key = Arc::clone(key);
        Box::pin(async move {
            let route = Route {
                client_left: Some(&give_up),
                ..Route::new(self.admitted.caller(), self.asked(), deadline)
            };
            let sending = Sending::of(&self.admitted, &key);
            let (server, snapshot) = (&self.server, &self.snapshot);
            forward(server, snapshot, sending, &route, &mut Trace::own()).await
        })
    }

    pub(super) fn asked(&self) -> Asked {
        match self.admitted.request.endpoint {
            Endpoint::Solve => Asked::Solve,
            _ => Asked::Submit,
        }
    }

    /// The client has heard that nobody knows. Whoever asks later hears the id, if it comes.
    pub(in crate::request) async fn hear_late(&self, late: Box<Late<'_>>, pilot: Option<&Pilot>) {
        let Late {
            call,
            intent_id,
            intent,
            slot,
            key,
            _room,
        } = *late;
        let answered = tokio::select! {
            answered = call => answered.ok(),
            () = self.server.background.stopping() => None,
        };
        let Some(answered) = answered else {
            return self.keep(slot);
        };
        match &answered.reading {
            Reading::Accepted { id } => {
                let id = id.clone();
                let record = self.record(intent, &id);
                self.give(slot, &record, &key);
                let store = &self.server.store;
                let written = match self.parked {
                    Some(parked) => store.resolve_parked(parked, intent_id, record.clone()),
                    None => store.resolve_uncertain(intent_id, record.clone()),
                };
                self.server.tasks.remember(record, Instant::now());
                self.stored(written, "late task").await;
                if let Some(parked) = self.parked {
                    self.server.parked.came_late(parked, id.as_str().into());
                }
                self.server.metrics.late_answer();
                tracing::info!(key = %key.name, task = %id, "the id of an uncertain submit came late");
                if let Some(pilot) = pilot {
                    pilot.land(answered.accepted(&id, self.admitted.request.hints()), true);
                }
            }
            Reading::Final if self.admitted.request.endpoint == Endpoint::Solve => {
                self.solved_at_once(intent_id, intent, &answered, &key, slot)
                    .await;
            }
            _ => self.keep(slot),
        }
    }
}
