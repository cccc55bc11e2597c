//! Tasks that no client polls: those of pingbacks, and those whose clients are gone. Sidekey polls them itself, slowly, until they
//! end, so that what they occupy is free again and what they cost is known.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, sleep};

use super::admit::Caller;
use super::forward::{Route, Sending};
use super::poll::{POLL_PATIENCE, ask, hears};
use super::settle::{Ending, settle};
use super::together::{Together, ask_vendor, read_piece};
use super::trace::Trace;
use super::{Server, clock};
use crate::live::Snapshot;
use crate::tasks::Task;
use crate::tasks::company::{self, Account};
use crate::tasks::course::{Action, News, View};
use crate::vendor::answer::Asked;

const ROUND: Duration = Duration::from_secs(1);
/// What the store says of all that run, against what is known here. Less than a task waits before it is followed.
const COMPARE: Duration = Duration::from_secs(5);
/// Between two askings for one task.
const BETWEEN: Duration = Duration::from_secs(10);
/// Of one account in one round: clients come first within what vendors allow a key.
const CALLS_IN_A_ROUND: usize = 5;
/// Of all accounts, at the same time.
const CALLS_AT_ONCE: usize = 16;

const OWN_VIEW: View = View {
    action: Action::Get,
    json: false,
    header_acao: false,
};

pub async fn run(server: Arc<Server>) {
    let mut compared = Instant::now();
    match server.tasks.resume(compared, clock::now_ms()).await {
        Ok(0) => {}
        Ok(tasks) => tracing::info!(tasks, "tasks of the last run are followed to their end"),
        Err(error) => tracing::warn!(%error, "tasks of the last run are not followed"),
    }
    loop {
        tokio::select! {
            () = sleep(ROUND) => {}
            () = server.background.stopping() => return,
        }
        // One replica follows the tasks of all.
        if !server.replicas.leads() {
            continue;
        }
        let now = Instant::now();
        if server.replicas.are_there() && now >= compared + COMPARE {
            compared = now;
            if let Err(error) = server.tasks.compare(now, clock::now_ms()).await {
                tracing::debug!(%error, "what other replicas did is not known");
                continue;
            }
        }
        tokio::select! {
            () = round(&server) => {}
            () = server.background.stopping() => return,
        }
    }
}

async fn round(server: &Server) {
    let snapshot = server.live.load();
    let now = Instant::now();
    let mut accounts: HashMap<Account, Vec<Arc<Task>>> = HashMap::new();
    let (due, expired) = server.tasks.abandoned(BETWEEN, now);
    for task in expired {
        settle(
            server,
            &snapshot,
            &task.record,
            Ending::EXPIRED,
            clock::now_ms(),
        );
    }
    for task in due {
        // Another profile's tasks are another vendor's.
        if task.record.key.profile == snapshot.profile_name {
            accounts.entry(Account::of(&task)).or_default().push(task);
        }
    }
    let takes_ids = snapshot.settings.vendor.profile.takes.ids;
    let calls = accounts.into_values().flat_map(|tasks| {
        let calls = if takes_ids {
            company::calls(&tasks)
        } else {
            let alone = tasks.into_iter().map(|task| vec![task]);
            alone.take(CALLS_IN_A_ROUND).collect()
        };
        calls.into_iter().take(CALLS_IN_A_ROUND)
    });
    stream::iter(calls)
        .for_each_concurrent(CALLS_AT_ONCE, |tasks| {
            let snapshot = &snapshot;
            async move {
                match &*tasks {
                    [task] => alone(server, snapshot, task).await,
                    tasks => together(server, snapshot, tasks).await,
                }
            }
        })
        .await;
}

async fn alone(server: &Server, snapshot: &Snapshot, task: &Arc<Task>) {
    let id = task.record.key.id.as_bytes();
    let with = |key| Sending::own(key, &[("action", b"get"), ("id", id)]);
    let route = Route::new(Caller::OWN, Asked::Poll, Instant::now() + POLL_PATIENCE);
    let mut trace = Trace::own();
    // What it comes to stands with the task.
    let _heard = ask(server, snapshot, OWN_VIEW, task, with, &route, &mut trace).await;
}

async fn together(server: &Server, snapshot: &Snapshot, tasks: &[Arc<Task>]) {
    let mut trace = Trace::own();
    let route = Route::new(Caller::OWN, Asked::Poll, Instant::now() + POLL_PATIENCE);
    let pieces = match ask_vendor(server, snapshot, tasks, &route, &mut trace).await {
        Together::Pieces(pieces) => pieces,
        Together::Unclear => {
            for task in tasks {
                alone(server, snapshot, task).await;
            }
            return;
        }
        Together::Trouble => Vec::new(),
        Together::NotNow | Together::NotAsked => return,
    };
    for (place, task) in tasks.iter().enumerate() {
        let news = match pieces.get(place) {
            // A client that comes after all is given a final answer in its own form.
            Some(piece) => read_piece(&snapshot.settings.vendor.profile, piece).1,
            None => News::Trouble,
        };
        hears(server, snapshot, task, news, None);
    }
}
