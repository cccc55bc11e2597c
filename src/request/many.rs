//! `ids=`: the tasks may belong to several accounts. Each account is asked for its own, all at once, and the answers are
//! put together in the order that the client asked in.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;

use super::admit::Admitted;
use super::forward::{Route, Sending, forward};
use super::poll::{Owner, POLL_PATIENCE, follow, owner, task_key};
use super::refuse::Refusal;
use super::respond::Outcome;
use super::trace::Trace;
use super::{Server, clock};
use crate::keys::secret::Identity;
use crate::live::Snapshot;
use crate::tasks::Task;
use crate::vendor::answer::{self, Asked, Reading};

/// Calls at the vendor for one client request, so that one poll of many ids is no flood.
const AT_ONCE: usize = 8;
/// Ids in one call to the vendor: with ids of 20 digits about 2 kB, far below every server's limit of a URL.
const IDS_IN_A_CALL: usize = 100;

/// The tasks that the client asked for, by their place in its list.
type Group = Vec<(usize, Arc<Task>)>;

pub(super) async fn poll_many(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    ids: &[String],
    trace: &mut Trace,
) -> Outcome {
    let unknown = Refusal::UnknownTask.code();
    let mut pieces = vec![unknown.to_owned(); ids.len()];
    let mut groups: HashMap<Identity, Group> = HashMap::new();
    for (place, id) in ids.iter().enumerate() {
        match server
            .tasks
            .find(&task_key(snapshot, admitted, id), Instant::now())
            .await
        {
            Ok(Some(task)) => groups
                .entry(task.record.owner_identity)
                .or_default()
                .push((place, task)),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "a task could not be looked up");
                pieces[place] = Refusal::PollTrouble.code().to_owned();
            }
        }
    }
    let together = if snapshot.settings.vendor.profile.takes.ids {
        IDS_IN_A_CALL
    } else {
        1
    };
    let calls: Vec<Group> = groups
        .values()
        .flat_map(|group| group.chunks(together))
        .map(<[_]>::to_vec)
        .collect();
    let traces: Vec<_> = calls.iter().map(|_| trace.part()).collect();
    let mut answers = stream::iter(calls.into_iter().zip(traces))
        .map(|(group, mut part)| async move {
            let found = ask(server, snapshot, admitted, &group, &mut part).await;
            (found, part)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((found, part)) = answers.next().await {
        trace.add(&part);
        for (place, piece) in found {
            pieces[place] = piece;
        }
    }
    Outcome::Bare(pieces.join("|"))
}

/// One account's tasks: in one call where that can be read back, else each by itself.
async fn ask(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    group: &[(usize, Arc<Task>)],
    trace: &mut Trace,
) -> Vec<(usize, String)> {
    if group.len() > 1
        && let Some(pieces) = ask_together(server, snapshot, admitted, group, trace).await
    {
        return group.iter().map(|(place, _)| *place).zip(pieces).collect();
    }
    let mut pieces = Vec::with_capacity(group.len());
    for (place, task) in group {
        let id = task.record.key.id.as_bytes();
        let sending = |key: &_| Sending::own(key, &[("action", b"get"), ("id", id)]);
        let outcome = follow(
            server,
            snapshot,
            admitted,
            task,
            Asked::Poll,
            sending,
            trace,
        )
        .await;
        pieces.push((*place, piece(outcome)));
    }
    pieces
}

/// `None` when the answer has not one piece for each id: answers may contain the separator.
async fn ask_together(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    group: &[(usize, Arc<Task>)],
    trace: &mut Trace,
) -> Option<Vec<String>> {
    let now = Instant::now();
    let first = &group.first()?.1;
    let key = match owner(server, &snapshot.keys, first, now) {
        Owner::Ask(key) => key,
        Owner::Later | Owner::Gone => return None,
    };
    trace.uses(key);
    let ids: Vec<&str> = group.iter().map(|(_, task)| &*task.record.key.id).collect();
    let ids = ids.join(",");
    // JSON, because the text form of this answer is documented nowhere.
    let sending = Sending::own(
        key,
        &[("action", b"get"), ("ids", ids.as_bytes()), ("json", b"1")],
    );
    let route = Route {
        endpoint: admitted.endpoint,
        user_agent: admitted.user_agent.as_ref(),
        asked: Asked::Poll,
        deadline: now + POLL_PATIENCE,
        client_left: None,
        is_probe: false,
    };
    let answered = forward(
        server,
        snapshot,
        Some(key),
        admitted.token(),
        sending,
        &route,
        trace,
    )
    .await
    .ok()?;
    if answered.reading != Reading::Final {
        return None;
    }
    let pieces =
        answer::pieces(&answered.relay.body).filter(|pieces| pieces.len() == group.len())?;
    for ((_, task), piece) in group.iter().zip(&pieces) {
        let is_final = !matches!(piece.as_str(), "CAPCHA_NOT_READY" | "CAPTCHA_NOT_READY");
        task.no_trouble();
        let (owner, key) = (&task.record.owner_name, &task.record.key);
        if is_final {
            let charged = !piece.starts_with("ERROR");
            snapshot.keys.task_ended(owner, key, charged);
        } else {
            snapshot.keys.task_runs(owner, key, Instant::now());
        }
        let keep = snapshot.settings.poll.keep;
        server
            .tasks
            .used(task, is_final, keep, Instant::now(), clock::now_ms());
    }
    Some(pieces)
}

/// An answer as one piece of the joined ones: without its `OK|`.
fn piece(outcome: Outcome) -> String {
    match outcome {
        Outcome::Relay(relay) => {
            let text = String::from_utf8_lossy(&relay.body);
            text.strip_prefix("OK|").unwrap_or(&text).to_owned()
        }
        Outcome::Code(text) | Outcome::Value(text) | Outcome::Bare(text) => text,
        Outcome::Refused(refusal) => refusal.code().to_owned(),
        Outcome::Threads { .. } => Refusal::PollTrouble.code().to_owned(),
    }
}
