//! `in.php` and `solve.php`: the calls that cost money.
//!
//! They run detached from the client's connection: a client that hangs up does not lose a paid task. A submit is sent
//! again only if it provably did not reach the vendor or the vendor explicitly refused it. Everything else is uncertain.

pub(super) mod late;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use late::{LATE, Late};

use super::admit::Admitted;
use super::choose::choose;
use super::flight::{Heard, Identical, Listener, Pilot};
use super::forward::Answered;
use super::refuse::Refusal;
use super::respond::Outcome;
use super::settle::{Ending, end};
use super::trace::Trace;
use super::{Server, clock};
use crate::keys::account::Slot;
use crate::keys::key::Key;
use crate::keys::secret::Identity;
use crate::listen::Receipt;
use crate::live::Snapshot;
use crate::store::{self, Claim, Intent, IntentId, TaskKey, TaskRecord, TaskState, Written};
use crate::tasks::kind;
use crate::vendor::answer::Reading;
use crate::vendor::client::CallError;
use crate::vendor::profile::Class;
use crate::wire::Endpoint;

/// solve.php answers when the captcha is solved. The vendor's own limit is not documented; clients wait 600 s at most.
const SOLVE_PATIENCE: Duration = Duration::from_secs(600);
/// After that the store's trouble is not the client's any more: the id is kept in memory and relayed.
const STORE_PATIENCE: Duration = Duration::from_secs(1);
/// Two proven keys that the vendor calls bad for one submit: the submit is to blame, and must not bench the others.
const PROVEN_KEYS_BLAMED: usize = 2;
/// Before the second try of a submit that did not reach the vendor; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const TOO_LATE: &str = "the deadline passed";

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
    let listener = start(server, snapshot, admitted, None, trace);
    let outcome = match listener.hear().await {
        Heard::Outcome(outcome) => outcome,
        // Dropped is heard by nobody: its client has left. After a panic nobody knows what was sent; its intent is still
        // open in the store, and becomes uncertain at the next start.
        Heard::Dropped | Heard::Lost => lost(server),
    };
    (outcome, receipt(listener))
}

/// Begins, detached. What ends without a task forgets the claim.
pub(super) fn start(
    server: &Arc<Server>,
    snapshot: Arc<Snapshot>,
    admitted: Admitted,
    claim: Option<Claim>,
    trace: Trace,
) -> Listener {
    let (pilot, listener) = server.unheard.start(identical(&admitted));
    let work = Submitting {
        server: Arc::clone(server),
        snapshot,
        admitted,
        claim,
        pilot,
    };
    server.background.spawn(work.run(trace));
    listener
}

fn identical(admitted: &Admitted) -> Identical {
    Identical {
        endpoint: admitted.endpoint,
        project: admitted.project.clone(),
        parts: admitted.message.parts().clone(),
    }
}

/// The outcome counts as heard when it is written, not when it is there.
fn receipt(listener: Listener) -> Receipt {
    Receipt::new(move || listener.is_heard())
}

pub(super) fn lost(server: &Server) -> Outcome {
    server.metrics.uncertain_submit();
    Outcome::Refused(Refusal::Uncertain)
}

struct Submitting {
    server: Arc<Server>,
    snapshot: Arc<Snapshot>,
    admitted: Admitted,
    claim: Option<Claim>,
    pilot: Pilot,
}

/// How a submit ends.
struct Ended<'a> {
    outcome: Outcome,
    /// The vendor made a task, or may have.
    accepted: bool,
    late: Option<Box<Late<'a>>>,
}

/// What one try came to.
enum Tried<'a> {
    Done(Ended<'a>),
    /// The vendor blames the key; `words` are what it said to the submit itself.
    Refused {
        class: Class,
        no_slot: bool,
        words: Option<Outcome>,
    },
    NotSent,
}

impl Submitting {
    async fn run(self, mut trace: Trace) {
        match self.tries(&mut trace).await {
            Some(ended) => {
                trace.end(&ended.outcome);
                drop(trace);
                self.pilot.land(ended.outcome, ended.accepted);
                if let Some(late) = ended.late {
                    self.hear_late(late).await;
                }
            }
            None => self.pilot.drop_unsent(),
        }
    }

    /// `None` when the client left before anything was sent.
    async fn tries(&self, trace: &mut Trace) -> Option<Ended<'_>> {
        let refuse = |refusal| Some(Ended::without_a_task(Outcome::Refused(refusal)));
        let rules = &self.snapshot.settings.submit;
        let began = Instant::now();
        let (deadline, wait_until) = match self.admitted.endpoint {
            Endpoint::Solve => (began + SOLVE_PATIENCE, began + rules.wait),
            _ => (
                began + rules.deadline,
                began + rules.wait.min(rules.deadline),
            ),
        };
        let mut refused: Vec<Refused> = Vec::new();
        let no_slot = &self.snapshot.settings.vendor.profile.no_slot_json;
        let all_refused = |refused: &[Refused]| refuse(after(refused, no_slot));
        let mut blamed_though_proven = 0;
        // A key that was refused at its trial was not tried for this submit: a file with dead keys must not fail clients.
        let mut sent_with = 0;
        let mut pause = FIRST_PAUSE;
        loop {
            let chosen = choose(
                &self.server,
                &self.snapshot,
                &self.admitted.tenant,
                wait_until,
                deadline,
            );
            let chosen = tokio::select! {
                chosen = chosen => chosen,
                () = self.pilot.client_left().cancelled() => return None,
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
                Tried::NotSent if self.pilot.client_left().is_cancelled() => return None,
                Tried::NotSent => {
                    if Instant::now() + pause >= wait_until {
                        return refuse(Refusal::VendorUnreachable);
                    }
                    sleep(pause).await;
                    pause *= 2;
                }
                Tried::Refused {
                    class,
                    no_slot,
                    words,
                } => {
                    self.server.metrics.failover(class);
                    sent_with += usize::from(!known && words.is_some());
                    if let Some(words) = words.filter(|_| class == Class::KeyBad) {
                        blamed_though_proven += 1;
                        if blamed_though_proven >= PROVEN_KEYS_BLAMED {
                            return Some(Ended::without_a_task(words));
                        }
                    }
                    if !known {
                        refused.push(Refused {
                            identity: key.identity,
                            class,
                            no_slot,
                        });
                    }
                    if Instant::now() >= deadline {
                        return all_refused(&refused);
                    }
                }
            }
        }
    }

    /// The slot is free again when this ends, unless there is a task, or may be one.
    async fn once(
        &self,
        key: &Arc<Key>,
        slot: Slot,
        deadline: Instant,
        trace: &mut Trace,
    ) -> Tried<'_> {
        let intent = self.intent(key);
        let (intent_id, written) = self.server.store.intend(intent.clone(), self.claim);
        if !self.stored(written, "intent").await && self.claim.is_some() {
            // What is not on the disk is not known to a repeat after a crash, and to prevent that is what the key is for.
            self.server.store.forget(intent_id);
            return Tried::refused(Refusal::NotKept);
        }
        trace.uses(key);
        let began = Instant::now();
        let give_up = self.pilot.client_left().child_token();
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
        trace.asked_vendor(began.elapsed());
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
                None => Err(CallError::Unknown {
                    why: TOO_LATE.to_owned(),
                }),
            },
        };
        let uncertain = async |why: &str, slot: Slot| {
            slot.keep(Instant::now());
            self.uncertain(intent_id, intent.clone(), why, key).await;
            Tried::Done(Ended::uncertain())
        };
        match answered {
            Err(CallError::NotSent { why }) => {
                tracing::debug!(why, "the vendor could not be reached");
                self.server.store.forget(intent_id);
                Tried::NotSent
            }
            Err(CallError::Unknown { why }) => uncertain(&why, slot).await,
            Ok(answered) => match &answered.reading {
                Reading::Accepted { id } => {
                    let id = id.clone();
                    trace.task(&id);
                    self.accepted(intent_id, intent.clone(), &id, key, slot)
                        .await;
                    Tried::Done(Ended::paid(answered.accepted(&id, self.admitted.hints)))
                }
                Reading::Final => {
                    self.answered(intent_id, intent, &answered, key, slot).await;
                    Tried::Done(Ended::paid(Outcome::Relay(answered.relay)))
                }
                Reading::Code { code, rule } => match rule.class {
                    Class::KeyBad | Class::KeyBusy | Class::KeyEmpty => {
                        self.server.store.forget(intent_id);
                        let (class, code) = (rule.class, code.clone());
                        let profile = &self.snapshot.settings.vendor.profile;
                        let no_slot = class == Class::KeyBusy && profile.is_no_slot(&code);
                        let words = Some(answered.control(&code, self.admitted.hints));
                        Tried::Refused {
                            class,
                            no_slot,
                            words,
                        }
                    }
                    Class::EgressIp => {
                        self.server.store.forget(intent_id);
                        Tried::refused(Refusal::AllBusy)
                    }
                    Class::Request | Class::NoTask | Class::Task => {
                        self.server.store.forget(intent_id);
                        let code = code.clone();
                        let words = answered.control(&code, self.admitted.hints);
                        Tried::Done(Ended::without_a_task(words))
                    }
                    Class::Server => uncertain(code, slot).await,
                },
                Reading::NotReady | Reading::Said => {
                    uncertain("an answer that fits no submit", slot).await
                }
                Reading::Trouble { why } => uncertain(why, slot).await,
            },
        }
    }

    /// `solve.php` has solved: a task that had no id, and ends as it begins. Only a repeat of its claim needs the answer again.
    async fn answered(
        &self,
        intent_id: IntentId,
        intent: Intent,
        answered: &Answered,
        key: &Key,
        slot: Slot,
    ) {
        let id = format!("solve-{}", intent_id.0);
        let record = self.record(intent, &id);
        give(slot, &record, key);
        let ending = Ending::solved(None);
        let row = end(
            &self.server,
            &self.snapshot,
            &record,
            ending,
            clock::now_ms(),
        );
        let store = &self.server.store;
        let written = store.answered(intent_id, &answered.relay.body, row);
        self.stored(written, "answer").await;
    }

    /// The mapping is durable before the id is relayed; in a store's long trouble it is kept in memory, and said loudly.
    async fn accepted(&self, intent_id: IntentId, intent: Intent, id: &str, key: &Key, slot: Slot) {
        let record = self.record(intent, id);
        give(slot, &record, key);
        let written = self.server.store.accept(intent_id, record.clone());
        self.server.tasks.remember(record, Instant::now());
        #[cfg(not(sidekey_relay_before_commit))]
        self.stored(written, "task").await;
        // The negative control of the crash test: the id goes out before its record is durable.
        #[cfg(sidekey_relay_before_commit)]
        drop(written);
    }

    fn record(&self, intent: Intent, id: &str) -> TaskRecord {
        TaskRecord {
            key: TaskKey {
                profile: intent.profile,
                tenant: intent.tenant,
                id: id.into(),
            },
            owner_name: intent.owner_name,
            owner_identity: intent.owner_identity,
            price_micro_usd: Some(self.snapshot.settings.prices.price(&intent.kind)),
            charge_micro_usd: self.admitted.tenant.prices.get(&*intent.kind).copied(),
            kind: intent.kind,
            project: intent.project,
            state: TaskState::Running,
            submitted_at_ms: intent.at_ms,
            used_at_ms: clock::now_ms(),
        }
    }

    async fn uncertain(&self, intent_id: IntentId, intent: Intent, why: &str, key: &Key) {
        tracing::warn!(key = %key.name, why, "a submit is uncertain: it may have made a task and is not sent again");
        self.server.metrics.uncertain_submit();
        let hash = identical(&self.admitted).digest();
        self.stored(
            self.server
                .store
                .uncertain(intent_id, intent, why, Some(hash)),
            "uncertain submit",
        )
        .await;
    }

    /// Whether it is durable.
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
            tenant: Arc::clone(&self.admitted.tenant.name),
            project: self.admitted.project.clone(),
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

impl Ended<'_> {
    fn without_a_task(outcome: Outcome) -> Self {
        Self {
            outcome,
            accepted: false,
            late: None,
        }
    }

    fn paid(outcome: Outcome) -> Self {
        Self {
            accepted: true,
            ..Self::without_a_task(outcome)
        }
    }

    /// Its repeat must hear the same, or the repeat pays a second time.
    fn uncertain() -> Self {
        Self::paid(Outcome::Refused(Refusal::Uncertain))
    }
}

impl Tried<'_> {
    fn refused(refusal: Refusal) -> Self {
        Self::Done(Ended::without_a_task(Outcome::Refused(refusal)))
    }
}

/// The slot is the task's from now on.
fn give(slot: Slot, record: &TaskRecord, key: &Key) {
    slot.give_to(
        record.key.clone(),
        key.limits.takes(record.price_micro_usd),
        &key.limits,
        Instant::now(),
    );
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
