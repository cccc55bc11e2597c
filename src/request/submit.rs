//! `in.php` and `solve.php`: the calls that cost money.
//!
//! They run detached from the client's connection: a client that hangs up does not lose a paid task. A submit is sent
//! again only if it provably did not reach the vendor or the vendor explicitly refused it. Everything else is uncertain.

pub(super) mod late;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use late::{LATE, Late};

use super::admit::Admitted;
use super::choose::{TakenSlot, choose};
use super::flight::{Heard, Identical, Listener, Pilot};
use super::forward::{Answered, Unanswered};
use super::park;
use super::refuse::Refusal;
use super::reserve::reserve;
use super::respond::Outcome;
use super::settle::{Ending, end};
use super::trace::Trace;
use super::{Server, clock};
use crate::config::settings::WhenBusy;
use crate::keys::key::Key;
use crate::keys::secret::Identity;
use crate::listen::Receipt;
use crate::live::Snapshot;
use crate::store::{
    self, Claim, Intent, IntentId, OwnId, TaskKey, TaskRecord, TaskState, UncertainRow, Written,
};
use crate::tasks::kind;
use crate::tenants::accounts::Reservation;
use crate::vendor::answer::Reading;
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
    mut trace: Trace,
) -> Listener {
    let (pilot, listener) = server.unheard.start(identical(&admitted));
    match reserve(server, &snapshot, &admitted) {
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
        endpoint: admitted.endpoint,
        project: admitted.project.clone(),
        parts: admitted.message.parts().clone(),
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
    Nothing,
}

/// What one try came to.
enum Tried<'a> {
    Done(Ended<'a>),
    /// The vendor blames the key; `words` are what it said to the submit itself.
    Refused {
        class: Class,
        code: Arc<str>,
        words: Outcome,
    },
    NotSent,
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

    /// Beginning with the key that was chosen already, if one was. `None` when the client left before anything was sent.
    pub(super) async fn tries(
        &self,
        mut first: Option<(Arc<Key>, TakenSlot)>,
        trace: &mut Trace,
    ) -> Option<Ended<'_>> {
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

    /// The slot is free again when this ends, unless there is a task, or may be one.
    async fn once(
        &self,
        key: &Arc<Key>,
        slot: TakenSlot,
        deadline: Instant,
        trace: &mut Trace,
    ) -> Tried<'_> {
        let intent = self.intent(key);
        let (intent_id, written) = self.intend(intent.clone());
        if !self.stored(written, "intent").await {
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
                    let outcome = answered.accepted(&id, self.admitted.hints);
                    Tried::Done(Ended::new(outcome, Made::Task(id)))
                }
                Reading::Final if self.admitted.endpoint == Endpoint::Solve => {
                    self.solved_at_once(intent_id, intent, &answered, key, slot)
                        .await;
                    let outcome = Outcome::Relay(answered.relay);
                    Tried::Done(Ended::new(outcome, Made::Answer))
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
                        let words = answered.control(&code, self.admitted.hints);
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

    /// `solve.php` has solved: a task that had no id, and ends as it begins.
    async fn solved_at_once(
        &self,
        intent_id: IntentId,
        intent: Intent,
        answered: &Answered,
        key: &Key,
        slot: TakenSlot,
    ) {
        let id = format!("solve-{}", intent_id.0);
        let record = self.record(intent, &id);
        self.give(slot, &record, key);
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
    async fn accepted(
        &self,
        intent_id: IntentId,
        intent: Intent,
        id: &str,
        key: &Key,
        slot: TakenSlot,
    ) {
        let record = self.record(intent, id);
        self.give(slot, &record, key);
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

    /// The slot and what the tenant reserved are the task's from now on.
    fn give(&self, slot: TakenSlot, record: &TaskRecord, key: &Key) {
        let (price, now) = (key.limits.takes(record.price_micro_usd), Instant::now());
        slot.give_to(record.key.clone(), price, key, now);
        self.reservation.give_to(record.key.clone(), now);
    }

    /// Nobody knows whether there is a task.
    fn keep(&self, slot: TakenSlot) {
        slot.keep(Instant::now());
        self.reservation.keep();
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
        let store = &self.server.store;
        let row = UncertainRow {
            id: intent_id,
            intent,
            why: why.into(),
            parameters_hash: Some(identical(&self.admitted).digest()),
            resolved: None,
        };
        let written = match self.parked {
            Some(parked) => store.uncertain_parked(parked, row, clock::now_ms()),
            None => store.uncertain(row),
        };
        self.stored(written, "uncertain submit").await;
    }

    fn intend(&self, intent: Intent) -> (IntentId, Written) {
        match self.parked {
            Some(parked) => self.server.store.intend_parked(parked, intent),
            None => self.server.store.intend(intent, self.claim),
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
