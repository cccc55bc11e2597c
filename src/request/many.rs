//! `ids=`: the tasks may belong to several accounts. Each account is asked for its own, all at once, and the answers are
//! put together in the order that the client asked in.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;

use super::admit::Admitted;
use super::forward::{Route, Sending};
use super::park::{self, Name};
use super::poll::{self, POLL_PATIENCE, task_key};
use super::refuse::Refusal;
use super::respond::Outcome;
use super::together::{Together, ask_vendor, read_piece};
use super::trace::Trace;
use super::{Server, clock};
use crate::admin::metrics::PollFrom;
use crate::live::Snapshot;
use crate::tasks::Task;
use crate::tasks::company::{self, Account};
use crate::tasks::course::{Action, Heard, News, View, Word};
use crate::vendor::answer::Asked;

/// Calls at the vendor for one client request, so that one poll of many ids is no flood.
const AT_ONCE: usize = 8;

const PIECE: View = View {
    action: Action::Piece,
    json: false,
    header_acao: false,
};

pub(super) async fn poll_many(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    ids: &[String],
    trace: &mut Trace,
) -> Outcome {
    let deadline = Instant::now() + POLL_PATIENCE;
    let rules = &snapshot.settings.poll;
    let unknown = Refusal::UnknownTask.code();
    let mut pieces = vec![unknown.to_owned(); ids.len()];
    let mut places: HashMap<Cow<'_, str>, Vec<usize>> = HashMap::new();
    for (place, id) in ids.iter().enumerate() {
        match park::name(server, snapshot, admitted, id).await {
            Name::Task(id) => places.entry(id).or_default().push(place),
            Name::Said(said) => pieces[place] = piece(said),
        }
    }
    let mut accounts: HashMap<Account, Vec<Arc<Task>>> = HashMap::new();
    for (id, places) in &places {
        let (now, now_ms) = (Instant::now(), clock::now_ms());
        if now >= deadline {
            fill(&mut pieces, places, Refusal::PollTrouble.code());
            continue;
        }
        let key = task_key(snapshot, admitted, id);
        match server.tasks.find(&key, now, now_ms).await {
            Ok(Some(task)) => match server.tasks.recalled(&task, PIECE, rules, now, now_ms) {
                Some(heard) => {
                    server.metrics.poll_answered(match heard {
                        Heard::Relay(_) => PollFrom::Kept,
                        Heard::Word(_) => PollFrom::Pace,
                    });
                    let said = piece(poll::outcome(server, snapshot, &task, heard));
                    fill(&mut pieces, places, &said);
                }
                None => accounts.entry(Account::of(&task)).or_default().push(task),
            },
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "a task could not be looked up");
                fill(&mut pieces, places, Refusal::PollTrouble.code());
            }
        }
    }
    let takes_ids = snapshot.settings.vendor.profile.takes.ids;
    let calls: Vec<Vec<Arc<Task>>> = accounts
        .values()
        .flat_map(|tasks| match takes_ids {
            true => company::calls(tasks),
            false => tasks.iter().map(|task| vec![Arc::clone(task)]).collect(),
        })
        .collect();
    let traces: Vec<_> = calls.iter().map(|_| trace.part()).collect();
    let mut answers = stream::iter(calls.into_iter().zip(traces))
        .map(|(tasks, mut part)| async move {
            let said = ask(server, snapshot, admitted, &tasks, deadline, &mut part).await;
            (tasks, said, part)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((tasks, said, part)) = answers.next().await {
        trace.add(&part);
        for (task, said) in tasks.iter().zip(said) {
            if let Some(places) = places.get(&*task.record.key.id) {
                fill(&mut pieces, places, &said);
            }
        }
    }
    Outcome::Bare(pieces.join("|"))
}

/// A client may name a task twice.
fn fill(pieces: &mut [String], places: &[usize], said: &str) {
    for place in places {
        said.clone_into(&mut pieces[*place]);
    }
}

/// One account's tasks: in one call, and each by itself only where its answer cannot be read back.
async fn ask(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    tasks: &[Arc<Task>],
    deadline: Instant,
    trace: &mut Trace,
) -> Vec<String> {
    let route = Route::new(admitted.caller(), Asked::Poll, deadline);
    if tasks.len() > 1 && Instant::now() < deadline {
        let came_to = ask_vendor(server, snapshot, tasks, &route, trace).await;
        let trouble = |news| (Heard::Word(Word::Trouble), news);
        let heard = |place: usize| match &came_to {
            Together::Pieces(pieces) => {
                let (heard, news) = read_piece(&snapshot.settings.vendor.profile, &pieces[place]);
                Some((heard, Some(news)))
            }
            // A hundred calls more would meet the same.
            Together::Trouble => Some(trouble(Some(News::Trouble))),
            Together::NotAsked => Some(trouble(None)),
            Together::NotNow => Some((Heard::Word(Word::NotReady), None)),
            Together::Unclear => None,
        };
        let said = tasks.iter().enumerate().map(|(place, task)| {
            let (heard, news) = heard(place)?;
            server.metrics.poll_answered(PollFrom::Batch);
            if let Some(news) = news {
                poll::hears(server, snapshot, task, news, Some((PIECE, &heard)));
            }
            Some(piece(poll::outcome(server, snapshot, task, heard)))
        });
        if let Some(said) = said.collect() {
            return said;
        }
    }
    let mut pieces = Vec::with_capacity(tasks.len());
    for task in tasks {
        let id = task.record.key.id.as_bytes();
        let with = |key| Sending::own(key, &[("action", b"get"), ("id", id)]);
        let heard = if Instant::now() < deadline {
            server.metrics.poll_answered(PollFrom::Vendor);
            poll::ask(server, snapshot, PIECE, task, with, &route, trace).await
        } else {
            Heard::Word(Word::Trouble)
        };
        pieces.push(piece(poll::outcome(server, snapshot, task, heard)));
    }
    pieces
}

/// An answer as one piece of the joined ones: without its `OK|`.
fn piece(outcome: Outcome) -> String {
    match outcome {
        Outcome::Relay(relay) => {
            let text = String::from_utf8_lossy(&relay.body);
            text.strip_prefix("OK|").unwrap_or(&text).to_owned()
        }
        Outcome::Code(text) | Outcome::Value(text) | Outcome::Bare(text) => text,
        Outcome::NotReady => "CAPCHA_NOT_READY".to_owned(),
        Outcome::Refused(refusal) => refusal.code().to_owned(),
        Outcome::Threads { .. } => Refusal::PollTrouble.code().to_owned(),
    }
}
