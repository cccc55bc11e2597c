//! One try of a submit with one key, and what its answer comes to.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};

use super::late::{LATE, Late};
use super::ledger::Unwritten;
use super::{Ended, Made, STORE_PATIENCE, Submitting};
use crate::keys::key::Key;
use crate::request::choose::TakenSlot;
use crate::request::forward::{NO_ANSWER, Unanswered};
use crate::request::refuse::Refusal;
use crate::request::respond::Outcome;
use crate::request::trace::Trace;
use crate::store::StoreError;
use crate::tenants::shared::LIMITED_PATIENCE;
use crate::vendor::answer::Reading;
use crate::vendor::client::CallError;
use crate::vendor::profile::Class;
use crate::wire::Endpoint;

const TOO_LATE: &str = "the deadline passed";

/// What one try came to.
pub(super) enum Tried<'a> {
    Done(Ended<'a>),
    /// The vendor blames the key; `words` are what it said to the submit itself.
    Refused {
        class: Class,
        code: Arc<str>,
        words: Outcome,
    },
    NotSent,
    /// Other replicas have the account's last slots.
    Full,
}

impl Submitting {
    /// The slot is free again when this ends, unless there is a task, or may be one.
    pub(super) async fn once(
        &self,
        key: &Arc<Key>,
        slot: TakenSlot,
        deadline: Instant,
        trace: &mut Trace,
    ) -> Tried<'_> {
        let intent = self.intent(key);
        let slots = key.account.most_tasks(&key.limits);
        let (intent_id, written) = self.intend(intent.clone(), slots);
        let patience = match self.is_counted() {
            true => LIMITED_PATIENCE,
            false => STORE_PATIENCE,
        };
        let written = self.written_within(patience, written).await;
        match &written {
            Err(Unwritten::Refused(StoreError::Full { used })) => {
                self.forget(intent_id);
                key.account.used_together(*used, Instant::now());
                return Tried::Full;
            }
            Err(Unwritten::Refused(StoreError::Claimed)) => {
                self.forget(intent_id);
                let ended = Ended::refused(Refusal::NotKept);
                return Tried::Done(match self.parked {
                    Some(_) => Ended {
                        made: Made::Elsewhere,
                        ..ended
                    },
                    // Another replica has the idempotency key: a repeat finds what that comes to.
                    None => ended,
                });
            }
            Err(Unwritten::Refused(StoreError::Unreserved)) => {
                self.forget(intent_id);
                return Tried::Done(Ended::refused(Refusal::NotCounted));
            }
            Ok(()) | Err(_) => {}
        }
        if let Err(trouble) = written {
            self.say(&trouble, "intent");
            // What is not on the disk is not known to a repeat after a crash, and to prevent that is what the key is for.
            if self.claim.is_some() {
                self.forget(intent_id);
                return Tried::Done(Ended::refused(Refusal::NotKept));
            }
            // Unlike a client's submit a parked one is sent again after a crash, unless the disk tells of this try.
            if self.parked.is_some() {
                self.forget(intent_id);
                return Tried::NotSent;
            }
            // Of what is not on the server nobody would know after a crash that it was sent, and its place would be given away.
            if self.is_counted() {
                self.forget(intent_id);
                return Tried::Done(Ended::refused(Refusal::NotCounted));
            }
        }
        trace.uses(key);
        let began = Instant::now();
        let give_up = self.left.child_token();
        let mut call = self.call(key, deadline + LATE, give_up.clone());
        let mut answered = tokio::select! {
            biased;
            answered = &mut call => Some(answered),
            () = sleep_until(deadline) => None,
        };
        if answered.is_none() {
            // What has not left by now never leaves; then the call ends at once.
            give_up.cancel();
            answered = call.as_mut().now_or_never();
        }
        let came_to = match &answered {
            Some(Ok(answered)) => answered.class(),
            Some(Err(_)) | None => NO_ANSWER,
        };
        let asked = self.asked();
        trace.asked_vendor(asked, Some(key), began.elapsed(), came_to);
        let answered = match answered {
            Some(answered) => answered,
            None => match self.server.late.room() {
                Some(room) => {
                    self.uncertain(intent_id, intent.clone(), TOO_LATE, key)
                        .await;
                    return Tried::Done(Ended {
                        late: Some(Box::new(Late {
                            call,
                            intent_id,
                            intent,
                            slot,
                            key: Arc::clone(key),
                            _room: room,
                        })),
                        ..Ended::uncertain()
                    });
                }
                None => Err(Unanswered::Failed(CallError::Unknown {
                    why: TOO_LATE.to_owned(),
                })),
            },
        };
        let uncertain = async |why: &str, slot: TakenSlot| {
            self.keep(slot);
            self.uncertain(intent_id, intent.clone(), why, key).await;
            Tried::Done(Ended::uncertain())
        };
        match answered {
            // A submit has its right to call by its slot.
            Err(Unanswered::NotNow) => {
                self.forget(intent_id);
                Tried::NotSent
            }
            Err(Unanswered::Failed(CallError::NotSent { why })) => {
                tracing::debug!(why, "the vendor could not be reached");
                self.forget(intent_id);
                Tried::NotSent
            }
            Err(Unanswered::Failed(CallError::Unknown { why })) => uncertain(&why, slot).await,
            Ok(answered) => match &answered.reading {
                Reading::Accepted { id } => {
                    let id: Arc<str> = id.as_str().into();
                    trace.task(&id);
                    self.accepted(intent_id, intent.clone(), &id, key, slot)
                        .await;
                    let outcome = answered.accepted(&id, self.admitted.request.hints());
                    Tried::Done(Ended::new(outcome, Made::Task(id)))
                }
                Reading::Final if self.admitted.request.endpoint == Endpoint::Solve => {
                    self.solved_at_once(intent_id, intent, &answered, key, slot)
                        .await;
                    let outcome = Outcome::Relay(answered.relay);
                    Tried::Done(Ended::new(outcome, Made::Answer))
                }
                Reading::Code { code, rule } => match rule.class {
                    Class::KeyBad | Class::KeyBusy | Class::KeyEmpty => {
                        self.forget(intent_id);
                        let (class, code) = (rule.class, Arc::from(code.as_str()));
                        let words = answered.control(&code, self.admitted.request.hints());
                        Tried::Refused { class, code, words }
                    }
                    Class::EgressIp => {
                        self.forget(intent_id);
                        Tried::Done(Ended::refused(Refusal::AllBusy))
                    }
                    Class::Request | Class::NoTask | Class::Task => {
                        self.forget(intent_id);
                        let code: Arc<str> = code.as_str().into();
                        let words = answered.control(&code, self.admitted.request.hints());
                        Tried::Done(Ended::new(words, Made::Refused(code)))
                    }
                    Class::Server => uncertain(code, slot).await,
                },
                // To in.php a solution, too: forgetting its intent would send a parked one again.
                Reading::Final | Reading::NotReady | Reading::Said => {
                    uncertain("an answer that fits no submit", slot).await
                }
                Reading::Trouble { why } => uncertain(why, slot).await,
            },
        }
    }
}
