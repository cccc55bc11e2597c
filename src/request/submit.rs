//! `in.php` and `solve.php`: the calls that cost money.
//!
//! They run detached from the client's connection: a client that hangs up does not lose a paid task. A submit is sent
//! again only if it provably did not reach the vendor or the vendor explicitly refused it. Everything else is uncertain.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::admit::Admitted;
use super::choose::choose;
use super::flight::{Heard, Identical, Listener, Pilot};
use super::forward::{Route, Sending, forward};
use super::park;
use super::refuse::Refusal;
use super::respond::Outcome;
use super::trace::Trace;
use super::{Server, clock};
use crate::config::settings::WhenBusy;
use crate::keys::account::Slot;
use crate::keys::key::Key;
use crate::keys::secret::Identity;
use crate::listen::Receipt;
use crate::live::Snapshot;
use crate::store::{
    self, Intent, IntentId, OwnId, TaskKey, TaskRecord, TaskState, UncertainRow, Written,
};
use crate::tasks::kind;
use crate::vendor::answer::{Asked, Reading};
use crate::vendor::client::CallError;
use crate::vendor::profile::Class;
use crate::wire::Endpoint;

/// solve.php answers when the captcha is solved. The vendor's own limit is not documented; clients wait 600 s at most.
const SOLVE_PATIENCE: Duration = Duration::from_secs(600);
/// After that the store's trouble is not the client's any more: the id is kept in memory and relayed.
pub(super) const STORE_PATIENCE: Duration = Duration::from_secs(1);
/// Two proven keys that the vendor calls bad for one submit: the submit is to blame, and must not bench the others.
const PROVEN_KEYS_BLAMED: usize = 2;
/// Before the second try of a submit that did not reach the vendor; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn submit(
    server: &Arc<Server>,
    snapshot: Arc<Snapshot>,
    admitted: Admitted,
    mut trace: Trace,
) -> (Outcome, Receipt) {
    let identical = Identical {
        endpoint: admitted.endpoint,
        project: admitted.project.clone(),
        parts: admitted.message.parts().clone(),
    };
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
    let (pilot, listener) = server.unheard.start(identical);
    let work = Submitting {
        server: Arc::clone(server),
        snapshot,
        admitted,
        left: pilot.client_left().clone(),
        parked: None,
    };
    server.background.spawn(work.run(pilot, trace));
    let outcome = match listener.hear().await {
        Heard::Outcome(outcome) => outcome,
        // Dropped is heard by nobody: its client has left. After a panic nobody knows what was sent; its intent is still
        // open in the store, and becomes uncertain at the next start.
        Heard::Dropped | Heard::Lost => lost(server),
    };
    (outcome, receipt(listener))
}

/// The outcome counts as heard when it is written, not when it is there.
fn receipt(listener: Listener) -> Receipt {
    Receipt::new(move || listener.is_heard())
}

fn lost(server: &Server) -> Outcome {
    server.metrics.uncertain_submit();
    Outcome::Refused(Refusal::Uncertain)
}

pub(super) struct Submitting {
    pub server: Arc<Server>,
    pub snapshot: Arc<Snapshot>,
    pub admitted: Admitted,
    /// Cancelled when nobody wants the task any more: what was not sent yet is not sent.
    pub left: CancellationToken,
    /// It was parked, and no client is there to answer.
    pub parked: Option<OwnId>,
}

/// How a submit ended: what its client hears, and what there is at the vendor now.
pub(super) struct Ended {
    pub outcome: Outcome,
    pub made: Made,
}

pub(super) enum Made {
    Task(Arc<str>),
    /// solve.php: the task has ended with its submit.
    Answer,
    /// Nobody can know.
    Perhaps,
    /// The vendor blames the submit, with this code.
    Refused(Arc<str>),
    Nothing,
}

/// What one try came to.
enum Tried {
    Done(Ended),
    /// The vendor blames the key; `words` are what it said to the submit itself.
    Refused {
        class: Class,
        code: Arc<str>,
        words: Outcome,
    },
    NotSent,
}

impl Ended {
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self {
            outcome: Outcome::Refused(refusal),
            made: Made::Nothing,
        }
    }
}

impl Made {
    /// The vendor made a task, or may have.
    fn is_something(&self) -> bool {
        match self {
            // The repeat of an uncertain submit must hear the same, or it pays a second time.
            Self::Task(_) | Self::Answer | Self::Perhaps => true,
            Self::Refused(_) | Self::Nothing => false,
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
        let Some(ended) =
            ended.filter(|ended| !self.left.is_cancelled() || ended.made.is_something())
        else {
            pilot.drop_unsent();
            return;
        };
        let Ended { outcome, made } = park::instead(server, snapshot, admitted, ended).await;
        if let Made::Task(id) = &made {
            trace.task(id);
        }
        trace.end(&outcome);
        pilot.land(outcome, made.is_something());
    }

    /// Beginning with the key that was chosen already, if one was. `None` when the client left before anything was sent.
    pub(super) async fn tries(
        &self,
        mut first: Option<(Arc<Key>, Slot)>,
        trace: &mut Trace,
    ) -> Option<Ended> {
        let refuse = |refusal| Some(Ended::refused(refusal));
        let rules = &self.snapshot.settings.submit;
        let began = Instant::now();
        let (deadline, wait_until) = match self.admitted.endpoint {
            Endpoint::Solve => (began + SOLVE_PATIENCE, began + rules.wait),
            // Whose place is among the parked ones waits there.
            _ if self.parked.is_some() => (began + rules.deadline, began),
            _ => (
                began + rules.deadline,
                began + rules.wait.min(rules.deadline),
            ),
        };
        let waits = rules.when_busy == WhenBusy::Wait && self.parked.is_none();
        let mut refused: Vec<(Identity, Class)> = Vec::new();
        let mut blamed_though_proven = 0;
        // A key that was refused at its trial was not tried for this submit: a file with dead keys must not fail clients.
        let mut sent_with = 0;
        let mut pause = FIRST_PAUSE;
        loop {
            let choose = choose(&self.server, &self.snapshot, waits, wait_until, deadline);
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
                .any(|(identity, _)| *identity == key.identity);
            if !known && sent_with >= rules.max_keys {
                return refuse(after(&refused));
            }
            match self.once(&key, slot, deadline, trace).await {
                Tried::Done(ended) => return Some(ended),
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
                            let made = Made::Refused(code);
                            let outcome = words;
                            return Some(Ended { outcome, made });
                        }
                    }
                    if !known {
                        refused.push((key.identity, class));
                    }
                    if Instant::now() >= deadline {
                        return refuse(after(&refused));
                    }
                }
            }
        }
    }

    /// The slot is free again when this ends, unless there is a task, or may be one.
    async fn once(&self, key: &Key, slot: Slot, deadline: Instant, trace: &mut Trace) -> Tried {
        let solve = self.admitted.endpoint == Endpoint::Solve;
        let intent = self.intent(key);
        let (intent_id, written) = self.intend(intent.clone());
        let is_stored = self.stored(written, "intent").await;
        // A client's submit is never sent again. A parked one is, after a crash, if nothing on the disk tells of this try.
        if self.parked.is_some() && !is_stored {
            self.forget(intent_id);
            return Tried::NotSent;
        }
        let route = Route {
            endpoint: self.admitted.endpoint,
            user_agent: self.admitted.user_agent.as_ref(),
            asked: if solve { Asked::Solve } else { Asked::Submit },
            deadline,
            client_left: Some(&self.left),
            is_probe: false,
        };
        trace.uses(key);
        let sending = Sending::of(&self.admitted, key);
        let token = self.admitted.token();
        let answered = forward(
            &self.server,
            &self.snapshot,
            Some(key),
            token,
            sending,
            &route,
            trace,
        )
        .await;
        match answered {
            Err(CallError::NotSent { why }) => {
                tracing::debug!(why, "the vendor could not be reached");
                self.forget(intent_id);
                Tried::NotSent
            }
            Err(CallError::Unknown { why }) => {
                self.uncertain(intent_id, intent, &why, key, slot).await
            }
            Ok(answered) => match &answered.reading {
                Reading::Accepted { id } => {
                    let id: Arc<str> = id.as_str().into();
                    self.accepted(intent_id, intent, &id, key, slot).await;
                    Tried::Done(Ended {
                        outcome: answered.accepted(&id, self.admitted.hints),
                        made: Made::Task(id),
                    })
                }
                Reading::Final => {
                    self.forget(intent_id);
                    Tried::Done(Ended {
                        outcome: Outcome::Relay(answered.relay),
                        made: Made::Answer,
                    })
                }
                Reading::Code { code, rule } => match rule.class {
                    Class::KeyBad | Class::KeyBusy | Class::KeyEmpty => {
                        self.forget(intent_id);
                        let (class, code) = (rule.class, Arc::from(code.as_str()));
                        let words = answered.control(&code, self.admitted.hints);
                        Tried::Refused { class, code, words }
                    }
                    Class::EgressIp => {
                        self.forget(intent_id);
                        Tried::Done(Ended::refused(Refusal::AllBusy))
                    }
                    Class::Request | Class::NoTask | Class::Task => {
                        self.forget(intent_id);
                        let code: Arc<str> = code.as_str().into();
                        Tried::Done(Ended {
                            outcome: answered.control(&code, self.admitted.hints),
                            made: Made::Refused(code),
                        })
                    }
                    Class::Server => self.uncertain(intent_id, intent, code, key, slot).await,
                },
                Reading::NotReady | Reading::Said => {
                    self.uncertain(
                        intent_id,
                        intent,
                        "an answer that fits no submit",
                        key,
                        slot,
                    )
                    .await
                }
                Reading::Trouble { why } => self.uncertain(intent_id, intent, why, key, slot).await,
            },
        }
    }

    /// The mapping is durable before the id is relayed; in a store's long trouble it is kept in memory, and said loudly.
    async fn accepted(&self, intent_id: IntentId, intent: Intent, id: &str, key: &Key, slot: Slot) {
        let record = TaskRecord {
            key: TaskKey {
                profile: intent.profile,
                tenant: intent.tenant,
                id: id.into(),
            },
            owner_name: intent.owner_name,
            owner_identity: intent.owner_identity,
            kind: intent.kind,
            project: intent.project,
            price_micro_usd: None,
            state: TaskState::Running,
            submitted_at_ms: intent.at_ms,
            used_at_ms: clock::now_ms(),
        };
        let price = record.price_micro_usd.unwrap_or_default();
        slot.give_to(record.key.clone(), price, &key.limits, Instant::now());
        let store = &self.server.store;
        let written = match self.parked {
            Some(parked) => store.accept_parked(parked, intent_id, record.clone()),
            None => store.accept(intent_id, record.clone()),
        };
        self.server.tasks.remember(record, Instant::now());
        #[cfg(not(sidekey_relay_before_commit))]
        self.stored(written, "task").await;
        // The negative control of the crash test: the id goes out before its record is durable.
        #[cfg(sidekey_relay_before_commit)]
        drop(written);
    }

    async fn uncertain(
        &self,
        intent_id: IntentId,
        intent: Intent,
        why: &str,
        key: &Key,
        slot: Slot,
    ) -> Tried {
        slot.keep(Instant::now());
        tracing::warn!(key = %key.name, why, "a submit is uncertain: it may have made a task and is not sent again");
        self.server.metrics.uncertain_submit();
        let hash = Identical {
            endpoint: self.admitted.endpoint,
            project: self.admitted.project.clone(),
            parts: self.admitted.message.parts().clone(),
        }
        .digest();
        let store = &self.server.store;
        let row = UncertainRow {
            id: intent_id,
            intent,
            why: why.into(),
            parameters_hash: Some(hash),
            resolved: None,
        };
        let written = match self.parked {
            Some(parked) => store.uncertain_parked(parked, row, clock::now_ms()),
            None => store.uncertain(row),
        };
        self.stored(written, "uncertain submit").await;
        Tried::Done(Ended {
            outcome: Outcome::Refused(Refusal::Uncertain),
            made: Made::Perhaps,
        })
    }

    fn intend(&self, intent: Intent) -> (IntentId, Written) {
        match self.parked {
            Some(parked) => self.server.store.intend_parked(parked, intent),
            None => self.server.store.intend(intent),
        }
    }

    /// The vendor refused, or nothing was sent.
    fn forget(&self, intent_id: IntentId) {
        let store = &self.server.store;
        match self.parked {
            Some(parked) => store.forget_parked_intent(parked, intent_id, clock::now_ms()),
            None => store.forget(intent_id),
        }
    }

    async fn stored(&self, written: Written, what: &'static str) -> bool {
        // A second of trouble in all, not a second for every change: clients give up after five.
        let trouble = self.server.store.health().since;
        let patience =
            STORE_PATIENCE.saturating_sub(trouble.map_or(Duration::ZERO, |since| since.elapsed()));
        let why = match timeout(patience, written).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it takes longer than a second".to_owned(),
        };
        self.server.metrics.store_error();
        tracing::error!(
            what,
            why,
            "the store is in trouble, this is kept in memory only for now"
        );
        false
    }

    fn intent(&self, key: &Key) -> Intent {
        Intent {
            profile: Arc::clone(&self.snapshot.profile_name),
            tenant: Arc::clone(&self.admitted.tenant),
            project: self.admitted.project.as_deref().map(Arc::from),
            kind: kind::of(self.admitted.message.fields()).into(),
            endpoint: match self.admitted.endpoint {
                Endpoint::Solve => store::Endpoint::Solve,
                _ => store::Endpoint::Submit,
            },
            owner_name: Arc::clone(&key.name),
            owner_identity: key.identity,
            at_ms: clock::now_ms(),
        }
    }
}

/// What all the refused keys come to.
fn after(refused: &[(Identity, Class)]) -> Refusal {
    let any = |class| refused.iter().any(|(_, refused)| *refused == class);
    if any(Class::KeyBusy) {
        Refusal::AllBusy
    } else if any(Class::KeyEmpty) {
        Refusal::AllEmpty
    } else {
        Refusal::NoKey
    }
}
