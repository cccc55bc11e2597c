//! A poll for an id that nobody knows. With `unknown_task = "ask"` each poll asks one account; the one that answers owns it.

use std::sync::Arc;

use tokio::time::Instant;

use super::admit::Admitted;
use super::forward::{Route, Sending, forward};
use super::poll::{POLL_PATIENCE, Relayed, relayed};
use super::refuse::Refusal;
use super::respond::Outcome;
use super::trace::Trace;
use super::{Server, clock};
use crate::config::settings::UnknownTask;
use crate::keys::key::Key;
use crate::keys::secret::Identity;
use crate::live::Snapshot;
use crate::store::{TaskKey, TaskRecord, TaskState};
use crate::tasks::course::{Heard, News, Word};
use crate::tasks::unknown::{MOST_ACCOUNTS, Next};
use crate::vendor::answer::{Asked, Reading};
use crate::vendor::profile::Class;

pub(super) async fn poll(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    task: &TaskKey,
    trace: &mut Trace,
) -> Outcome {
    let asks_for_the_answer = matches!(
        admitted.request.message.fields().action.as_deref(),
        None | Some("" | "get")
    );
    // SECURITY: an account does not know tenants: asking it would tell one of them another's answer.
    let may_ask = snapshot.settings.poll.unknown_task == UnknownTask::Ask
        && !snapshot.tenants.are_told_apart();
    if !may_ask || !asks_for_the_answer {
        return Outcome::Refused(Refusal::UnknownTask);
    }
    let now = Instant::now();
    if server.egress.banned_until(now).is_some() || server.outage.open_until().is_some() {
        return Outcome::Refused(Refusal::PollTrouble);
    }
    let accounts = accounts(snapshot, now);
    let account = match server.asking.next(task, &accounts, now) {
        Next::Ask(account) => account,
        Next::Later => return Outcome::Refused(Refusal::PollTrouble),
        Next::Miss => return Outcome::Refused(Refusal::UnknownTask),
    };
    let Some(key) = snapshot.keys.by_identity(&account) else {
        return Outcome::Refused(Refusal::PollTrouble);
    };
    trace.task(&task.id);
    trace.uses(key);
    let route = Route::new(admitted.caller(), Asked::Poll, now + POLL_PATIENCE);
    let sending = Sending::of(admitted, key);
    let Ok(answered) = forward(server, snapshot, sending, &route, trace).await else {
        return Outcome::Refused(Refusal::PollTrouble);
    };
    // Not there, by the vendor's word. "Not ready" proves nothing: a vendor may say it for any id.
    if matches!(&answered.reading, Reading::Code { rule, .. } if rule.class == Class::NoTask) {
        let somebody_left = server.asking.rule_out(task, account, &accounts);
        return Outcome::Refused(if somebody_left {
            Refusal::PollTrouble
        } else {
            Refusal::UnknownTask
        });
    }
    match relayed(answered, admitted.request.hints()) {
        Relayed::Answer(heard, news) => {
            if matches!(news, News::Final(_)) {
                learn(server, snapshot, task, key);
            }
            match heard {
                Heard::Relay(relay) => Outcome::Relay(relay),
                Heard::Word(Word::Code(code)) => Outcome::Code(code.as_ref().to_owned()),
                Heard::Word(_) => Outcome::NotReady,
            }
        }
        Relayed::KeyBad
        | Relayed::Trouble
        | Relayed::NotNow
        | Relayed::NotAsked
        | Relayed::Gone => Outcome::Refused(Refusal::PollTrouble),
    }
}

/// Busy and empty ones, too: they can tell about their tasks.
fn accounts(snapshot: &Snapshot, now: Instant) -> Vec<Identity> {
    let trusted =
        |key: &&Arc<Key>| key.look(|health| health.is_proven() && !health.is_called_bad(now));
    snapshot
        .keys
        .listed()
        .filter(trusted)
        .take(MOST_ACCOUNTS)
        .map(|key| key.identity)
        .collect()
}

fn learn(server: &Server, snapshot: &Snapshot, task: &TaskKey, key: &Key) {
    server.asking.found(task);
    let now_ms = clock::now_ms();
    let record = TaskRecord {
        key: task.clone(),
        owner_name: Arc::clone(&key.name),
        owner_identity: key.identity,
        kind: "other".into(),
        project: None,
        price_micro_usd: None,
        charge_micro_usd: None,
        state: TaskState::Final,
        submitted_at_ms: now_ms,
        used_at_ms: now_ms,
    };
    // Not waited for: losing it costs one more round of questions.
    drop(server.store.learn(record.clone()));
    server.tasks.remember(record, Instant::now());
    tracing::info!(task = %task.id, key = %key.name, profile = %snapshot.profile_name, "an unknown task was found at an account");
}
