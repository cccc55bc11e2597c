//! `res.php` for one task: polls and reports go to the account that took the task, and to no other.
//!
//! Nearly all clients abandon a paid task at the first answer that is neither an answer nor "not ready". So trouble on
//! the way is "not ready" for a bounded time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::admit::Admitted;
use super::forward::{Answered, Route, Sending, Unanswered, forward};
use super::refuse::Refusal;
use super::respond::Outcome;
use super::settle::{Ending, settle};
use super::trace::Trace;
use super::{Server, clock, together, unknown};
use crate::admin::metrics::PollFrom;
use crate::keys::health::Condition;
use crate::keys::key::{Key, Standing};
use crate::keys::set::KeySet;
use crate::live::Snapshot;
use crate::store::TaskKey;
use crate::tasks::course::{Action, Heard, News, View, Word};
use crate::tasks::{Step, Task};
use crate::vendor::account;
use crate::vendor::answer::{Asked, Reading};
use crate::vendor::profile::Class;
use crate::wire::Hints;

/// Clients' read time-outs on a poll are 20 to 30 s (5 s in one that asks again by itself); ours must be shorter.
pub(super) const POLL_PATIENCE: Duration = Duration::from_secs(15);

pub(super) async fn poll(
    server: &Arc<Server>,
    snapshot: &Arc<Snapshot>,
    admitted: &Admitted,
    id: &str,
    trace: &mut Trace,
) -> Outcome {
    let key = task_key(snapshot, admitted, id);
    match server
        .tasks
        .find(&key, Instant::now(), clock::now_ms())
        .await
    {
        Ok(Some(task)) => {
            trace.task(&task.record.key.id);
            let (heard, from) = answer(server, snapshot, admitted, &task, trace).await;
            server.metrics.poll_answered(from);
            outcome(server, snapshot, &task, heard)
        }
        Ok(None) => unknown::poll(server, snapshot, admitted, &key, trace).await,
        Err(error) => {
            tracing::error!(%error, "a task could not be looked up");
            server.metrics.store_error();
            Outcome::Refused(Refusal::PollTrouble)
        }
    }
}

/// From memory where that does, else from the vendor: `tasks::course` decides.
async fn answer(
    server: &Arc<Server>,
    snapshot: &Arc<Snapshot>,
    admitted: &Admitted,
    task: &Arc<Task>,
    trace: &mut Trace,
) -> (Heard, PollFrom) {
    let rules = &snapshot.settings.poll;
    let view = view(admitted);
    let came = Instant::now();
    let deadline = came + POLL_PATIENCE;
    let (poll, mut step) = server
        .tasks
        .polled(task, view, rules, came, clock::now_ms());
    loop {
        let began = Instant::now();
        match step {
            Step::Kept(heard) => return (heard, PollFrom::Kept),
            Step::Say(word) => return (Heard::Word(word), PollFrom::Pace),
            Step::Wait(until) => sleep_until(until.min(deadline)).await,
            Step::Join(mut flight) => {
                let landed = timeout_at(deadline, flight.wait_for(Option::is_some)).await;
                if let Ok(Ok(heard)) = landed
                    && let Some(heard) = &*heard
                {
                    trace.waited(began.elapsed());
                    return (heard.clone(), PollFrom::Pace);
                }
            }
            Step::Ask(pilot) => {
                let waited = together::ask(server, snapshot, task, came, deadline).await;
                trace.waited(began.elapsed());
                let (heard, from) = match waited {
                    Some(word) => (Heard::Word(word), PollFrom::Batch),
                    None => {
                        let route = Route::new(admitted.caller(), Asked::Poll, deadline);
                        let with = |key| Sending::of(admitted, key);
                        let heard = ask(server, snapshot, view, task, with, &route, trace).await;
                        (heard, PollFrom::Vendor)
                    }
                };
                pilot.land(heard.clone());
                return (heard, from);
            }
        }
        trace.waited(began.elapsed());
        let now = Instant::now();
        if now >= deadline {
            return (Heard::Word(Word::Trouble), PollFrom::Pace);
        }
        step = task.step(view, poll, rules, now);
    }
}

fn view(admitted: &Admitted) -> View {
    View {
        action: match admitted.request.message.fields().action.as_deref() {
            Some("get2") => Action::Get2,
            Some("get") => Action::Get,
            _ => Action::None,
        },
        json: admitted.request.hints().json,
        header_acao: admitted.request.hints().header_acao,
    }
}

/// Asks the vendor about one task by itself, and remembers what it says.
pub(super) async fn ask<'a>(
    server: &'a Server,
    snapshot: &'a Snapshot,
    view: View,
    task: &Arc<Task>,
    with: impl Fn(&'a Key) -> Sending<'a>,
    route: &Route<'_>,
    trace: &mut Trace,
) -> Heard {
    let (heard, news) = match follow(server, snapshot, task, with, route, trace).await {
        Relayed::Answer(heard, news) => (heard, news),
        Relayed::Trouble | Relayed::KeyBad => (Heard::Word(Word::Trouble), News::Trouble),
        // To be asked later is no trouble: its time must not begin to run.
        Relayed::NotNow => return Heard::Word(Word::NotReady),
        Relayed::NotAsked => return Heard::Word(Word::Trouble),
        Relayed::Gone => return Heard::Word(Word::Gone),
    };
    hears(server, snapshot, task, news, Some((view, &heard)));
    heard
}

/// What the vendor said of a task, for its polls and for the slot that it holds.
pub(super) fn hears(
    server: &Server,
    snapshot: &Snapshot,
    task: &Arc<Task>,
    news: News,
    heard: Option<(View, &Heard)>,
) {
    let (now, now_ms) = (Instant::now(), clock::now_ms());
    let record = &task.record;
    let ended = match &news {
        News::Final(Some(_)) => Some(Ending::FAILED),
        News::Final(None) => Some(Ending::solved(said_price(heard), task.is_polled(now))),
        News::NotReady => {
            let keys = &snapshot.keys;
            keys.task_runs(&record.owner_name, &record.key, now);
            None
        }
        News::Code(_) | News::AskAlone | News::Trouble => None,
    };
    let rules = &snapshot.settings.poll;
    let is_first = server.tasks.heard(task, news, heard, rules, now);
    if let Some(ending) = ended.filter(|_| is_first) {
        settle(server, snapshot, record, ending, now_ms);
    }
}

/// The vendor says what a solve costs only to those who ask for it.
fn said_price(heard: Option<(View, &Heard)>) -> Option<i64> {
    match heard {
        Some((view, Heard::Relay(relay))) if view.action == Action::Get2 => {
            account::price(&relay.body)
        }
        _ => None,
    }
}

pub(super) fn outcome(server: &Server, snapshot: &Snapshot, task: &Task, heard: Heard) -> Outcome {
    match heard {
        Heard::Relay(relay) => Outcome::Relay(relay),
        Heard::Word(Word::NotReady) => Outcome::NotReady,
        Heard::Word(Word::Code(code)) => Outcome::Code(code.as_ref().to_owned()),
        Heard::Word(Word::Gone) => Outcome::Refused(Refusal::UnknownTask),
        Heard::Word(Word::Trouble) => trouble(server, snapshot, task),
    }
}

/// Reports, and actions that nobody knows but that name a task.
pub(super) async fn act(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    id: &str,
    asked: Asked,
    trace: &mut Trace,
) -> Outcome {
    let key = task_key(snapshot, admitted, id);
    let (now, now_ms) = (Instant::now(), clock::now_ms());
    match server.tasks.find(&key, now, now_ms).await {
        Ok(Some(task)) => {
            trace.task(&task.record.key.id);
            let keep = snapshot.settings.poll.keep;
            server.tasks.used(&task, keep, now, now_ms);
            let route = Route::new(admitted.caller(), asked, now + POLL_PATIENCE);
            let with = |key| Sending::of(admitted, key);
            match follow(server, snapshot, &task, with, &route, trace).await {
                Relayed::Answer(heard, _) => outcome(server, snapshot, &task, heard),
                Relayed::Gone => Outcome::Refused(Refusal::UnknownTask),
                Relayed::Trouble | Relayed::KeyBad | Relayed::NotNow | Relayed::NotAsked => {
                    Outcome::Refused(Refusal::VendorTrouble)
                }
            }
        }
        Ok(None) => Outcome::Refused(Refusal::UnknownTask),
        Err(error) => {
            tracing::error!(%error, "a task could not be looked up");
            server.metrics.store_error();
            Outcome::Refused(Refusal::VendorTrouble)
        }
    }
}

pub(super) fn task_key(snapshot: &Snapshot, admitted: &Admitted, id: &str) -> TaskKey {
    TaskKey {
        profile: Arc::clone(&snapshot.profile_name),
        tenant: Arc::clone(&admitted.tenant.name),
        id: id.into(),
    }
}

/// Asks the task's owner. `with` makes the request for a key.
async fn follow<'a>(
    server: &'a Server,
    snapshot: &'a Snapshot,
    task: &Task,
    with: impl Fn(&'a Key) -> Sending<'a>,
    route: &Route<'_>,
    trace: &mut Trace,
) -> Relayed {
    let mut came_to = Relayed::NotAsked;
    // Twice at most: the value that submitted the task, then, if the vendor calls that bad, the one now under its name.
    for _ in 0..2 {
        let key = match owner(server, &snapshot.keys, task, Instant::now()) {
            Owner::Ask(key) => key,
            Owner::Later => break,
            Owner::Gone => return Relayed::Gone,
        };
        trace.uses(key);
        came_to = match forward(server, snapshot, with(key), route, trace).await {
            Ok(answered) => relayed(answered, route.caller.hints),
            Err(Unanswered::NotNow) => Relayed::NotNow,
            Err(Unanswered::Failed(_)) => Relayed::Trouble,
        };
        if !matches!(came_to, Relayed::KeyBad) {
            break;
        }
    }
    came_to
}

/// The key that a task's poll goes out with.
pub(super) enum Owner<'a> {
    Ask(&'a Arc<Key>),
    /// Its probe decides, or the address is banned, or the vendor is out of reach.
    Later,
    Gone,
}

pub(super) fn owner<'a>(
    server: &'a Server,
    keys: &'a KeySet,
    task: &Task,
    now: Instant,
) -> Owner<'a> {
    if server.egress.banned_until(now).is_some() || server.outage.open_until().is_some() {
        return Owner::Later;
    }
    let submitted = keys.by_identity(&task.record.owner_identity);
    // The value that stands under the name now, unless the submitting one only has another name today: then this one is
    // another account's. A value that was called bad is asked no more once its name has another: every asking costs one
    // of the few bad-key answers that the new value needs to be tried at all.
    let listed = submitted.is_some_and(|key| key.standing != Standing::Draining);
    let current = keys.by_name(&task.record.owner_name).filter(|_| !listed);
    let called_bad = |key: &Key| key.is_called_bad(now);
    let Some(key) = [submitted, current]
        .into_iter()
        .flatten()
        .find(|key| !called_bad(key))
    else {
        let suspect =
            |key: &Arc<Key>| key.look(|health| health.condition(now) == Condition::Suspect);
        // A probe decides about a suspect value, and an account that stands in the file may be renewed. A revoked value
        // that left the file has nobody left who could answer for it.
        let judged = submitted.is_some_and(|key| listed || suspect(key));
        return if judged || current.is_some() {
            Owner::Later
        } else {
            Owner::Gone
        };
    };
    // Proven or not: that the task exists shows that the vendor once accepted this account.
    Owner::Ask(key)
}

/// What a call about a task came to.
pub(super) enum Relayed {
    Answer(Heard, News),
    KeyBad,
    Trouble,
    /// Its account may not be asked now.
    NotNow,
    /// No key may be used for it now.
    NotAsked,
    Gone,
}

/// A poll relays only answers, not-ready, and codes about the task or the request.
pub(super) fn relayed(answered: Answered, hints: Hints) -> Relayed {
    match &answered.reading {
        Reading::Final | Reading::Said => {
            Relayed::Answer(Heard::Relay(answered.relay), News::Final(None))
        }
        Reading::NotReady => Relayed::Answer(answered.word(Word::NotReady, hints), News::NotReady),
        Reading::Code { code, rule } => {
            let code: Arc<str> = code.as_str().into();
            let word = Word::Code(Arc::clone(&code));
            match rule.class {
                Class::Task => Relayed::Answer(answered.word(word, hints), News::Final(Some(code))),
                Class::Request | Class::NoTask => {
                    Relayed::Answer(answered.word(word, hints), News::Code(code))
                }
                Class::KeyBad => Relayed::KeyBad,
                Class::KeyBusy | Class::KeyEmpty | Class::EgressIp | Class::Server => {
                    Relayed::Trouble
                }
            }
        }
        Reading::Accepted { .. } | Reading::Trouble { .. } => Relayed::Trouble,
    }
}

/// What the client hears instead of trouble, until it lasted too long.
fn trouble(server: &Server, snapshot: &Snapshot, task: &Task) -> Outcome {
    let now = Instant::now();
    let hidden_until = task.trouble(now) + snapshot.settings.poll.hide_outage;
    let rests = match owner(server, &snapshot.keys, task, now) {
        Owner::Ask(key) => key.polls_rest_until(now).is_some(),
        Owner::Later | Owner::Gone => false,
    };
    if now < hidden_until || rests || server.egress.banned_until(now).is_some() {
        Outcome::Refused(Refusal::PollTrouble)
    } else {
        Outcome::Refused(Refusal::VendorTrouble)
    }
}
