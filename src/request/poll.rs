//! `res.php` for one task: polls and reports go to the account that took the task, and to no other.
//!
//! Nearly all clients abandon a paid task at the first answer that is neither an answer nor "not ready". So trouble on
//! the way is "not ready" for a bounded time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admit::Admitted;
use super::forward::{Answered, Route, Sending, forward};
use super::refuse::Refusal;
use super::respond::Outcome;
use super::trace::Trace;
use super::{Server, clock, unknown};
use crate::keys::health::Condition;
use crate::keys::key::{Key, Standing};
use crate::keys::set::KeySet;
use crate::live::Snapshot;
use crate::store::TaskKey;
use crate::tasks::Task;
use crate::vendor::answer::{Asked, Reading};
use crate::vendor::profile::Class;

/// Clients' read time-outs on a poll are 20 to 30 s (5 s in one that asks again by itself); ours must be shorter.
pub(super) const POLL_PATIENCE: Duration = Duration::from_secs(15);

pub(super) async fn poll(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    id: &str,
    trace: &mut Trace,
) -> Outcome {
    let key = task_key(snapshot, admitted, id);
    match server.tasks.find(&key, Instant::now()).await {
        Ok(Some(task)) => {
            let sending = |key: &_| Sending::of(admitted, key);
            follow(
                server,
                snapshot,
                admitted,
                &task,
                Asked::Poll,
                sending,
                trace,
            )
            .await
        }
        Ok(None) => unknown::poll(server, snapshot, admitted, &key, trace).await,
        Err(error) => {
            tracing::error!(%error, "a task could not be looked up");
            server.metrics.store_error();
            Outcome::Refused(Refusal::PollTrouble)
        }
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
    match server.tasks.find(&key, Instant::now()).await {
        Ok(Some(task)) => {
            let sending = |key: &_| Sending::of(admitted, key);
            follow(server, snapshot, admitted, &task, asked, sending, trace).await
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
        tenant: Arc::clone(&admitted.tenant),
        id: id.into(),
    }
}

/// Asks the task's owner. `sending` makes the request for a key.
pub(super) async fn follow(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    task: &Task,
    asked: Asked,
    sending: impl Fn(&Key) -> Sending,
    trace: &mut Trace,
) -> Outcome {
    let now = Instant::now();
    let finished = |finished| {
        let keep = snapshot.settings.poll.keep;
        server
            .tasks
            .used(task, finished, keep, Instant::now(), clock::now_ms());
    };
    finished(false);
    trace.task(&task.record.key.id);
    let route = Route {
        endpoint: admitted.endpoint,
        user_agent: admitted.user_agent.as_ref(),
        asked,
        deadline: now + POLL_PATIENCE,
        client_left: None,
        is_probe: false,
    };
    // Twice at most: the value that submitted the task, then, if the vendor calls that bad, the one now under its name.
    for _ in 0..2 {
        let key = match owner(server, &snapshot.keys, task, Instant::now()) {
            Owner::Ask(key) => key,
            Owner::Later => break,
            Owner::Gone => return Outcome::Refused(Refusal::UnknownTask),
        };
        trace.uses(key);
        let Ok(answered) = forward(
            server,
            snapshot,
            Some(key),
            admitted.token(),
            sending(key),
            &route,
            trace,
        )
        .await
        else {
            break;
        };
        let charged = answered.reading == Reading::Final;
        match relayed(answered, asked, admitted) {
            Relayed::Answer(outcome, is_final) => {
                task.no_trouble();
                let record = &task.record;
                let keys = &snapshot.keys;
                if is_final {
                    finished(true);
                    keys.task_ended(&record.owner_name, &record.key, charged);
                } else if asked == Asked::Poll {
                    keys.task_runs(&record.owner_name, &record.key, Instant::now());
                }
                return outcome;
            }
            Relayed::KeyBad => {}
            Relayed::Trouble => break,
        }
    }
    trouble(server, snapshot, task, asked)
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

pub(super) enum Relayed {
    Answer(Outcome, bool),
    KeyBad,
    Trouble,
}

/// A poll relays only answers, not-ready, and codes about the task or the request.
pub(super) fn relayed(answered: Answered, asked: Asked, admitted: &Admitted) -> Relayed {
    match &answered.reading {
        Reading::Final | Reading::Said => {
            Relayed::Answer(Outcome::Relay(answered.relay), asked == Asked::Poll)
        }
        Reading::NotReady => {
            Relayed::Answer(answered.control("CAPCHA_NOT_READY", admitted.hints), false)
        }
        Reading::Code { code, rule } => match rule.class {
            Class::Task | Class::Request | Class::NoTask => {
                let is_final = rule.class == Class::Task && asked == Asked::Poll;
                let code = code.clone();
                Relayed::Answer(answered.control(&code, admitted.hints), is_final)
            }
            Class::KeyBad => Relayed::KeyBad,
            Class::KeyBusy | Class::KeyEmpty | Class::EgressIp | Class::Server => Relayed::Trouble,
        },
        Reading::Accepted { .. } | Reading::Trouble { .. } => Relayed::Trouble,
    }
}

/// What the client hears instead of trouble, until it lasted too long.
fn trouble(server: &Server, snapshot: &Snapshot, task: &Task, asked: Asked) -> Outcome {
    if asked != Asked::Poll {
        return Outcome::Refused(Refusal::VendorTrouble);
    }
    let now = Instant::now();
    let hidden_until = task.trouble(now) + snapshot.settings.poll.hide_outage;
    if now < hidden_until || server.egress.banned_until(now).is_some() {
        Outcome::Refused(Refusal::PollTrouble)
    } else {
        Outcome::Refused(Refusal::VendorTrouble)
    }
}
