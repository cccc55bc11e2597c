//! `getbalance` and `threadsinfo`: answered for the pool, summed over its keys. Never answered 0 because nobody was asked.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::Server;
use super::admit::Admitted;
use super::choose::LEARNING;
use super::forward::{Answered, Route, Sending, forward};
use super::refuse::Refusal;
use super::respond::Outcome;
use super::trace::Trace;
use crate::keys::key::{Key, Standing};
use crate::live::Snapshot;
use crate::money::decimal;
use crate::vendor::account::{self, Threads};
use crate::vendor::answer::{Asked, Reading};
use crate::wire::Endpoint;

/// One round of questions serves all who ask at the same time, and for a moment after: clients ask as often as they like.
#[derive(Default)]
pub struct Rounds {
    balance: Mutex<Option<(Instant, Outcome)>>,
    threads: Mutex<Option<(Instant, Counted)>>,
}

/// What the vendor said last of each account. Put together when somebody asks, because our own slots are newer.
type Counted = Vec<(Arc<Key>, Threads)>;

const FRESH: Duration = Duration::from_secs(2);

/// All keys together. Half of the shortest read time-out of the SDK that starts with this call.
const PATIENCE: Duration = Duration::from_secs(10);
/// Three, so that accounts which were all closed cost no more bad-key answers than are safe.
const AT_ONCE: usize = 3;

pub(super) async fn balance(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    trace: &mut Trace,
) -> Outcome {
    let mut last = server.rounds.balance.lock().await;
    if let Some(outcome) = fresh(&last) {
        return outcome;
    }
    let answers = ask_all(server, snapshot, admitted, Asked::Balance, trace).await;
    let balances = answers
        .iter()
        .filter_map(|(_, answered)| account::balance(&answered.relay.body));
    match balances.reduce(i64::saturating_add) {
        Some(micro_usd) => {
            let outcome = Outcome::Bare(decimal(micro_usd));
            *last = Some((Instant::now(), outcome.clone()));
            outcome
        }
        None => none_answered(snapshot, answers, admitted),
    }
}

fn fresh<T: Clone>(last: &Option<(Instant, T)>) -> Option<T> {
    last.as_ref()
        .filter(|(at, _)| at.elapsed() < FRESH)
        .map(|(_, known)| known.clone())
}

pub(super) async fn threads(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    trace: &mut Trace,
) -> Outcome {
    if !snapshot.settings.vendor.profile.takes.threadsinfo {
        return Outcome::Refused(Refusal::UnknownAction);
    }
    let mut last = server.rounds.threads.lock().await;
    if let Some(known) = fresh(&last) {
        return all_together(&known);
    }
    let answers = ask_all(server, snapshot, admitted, Asked::Threads, trace).await;
    let known: Vec<_> = answers
        .iter()
        .filter_map(|(key, answered)| {
            let threads = account::threads(&answered.relay.body)?;
            Some((Arc::clone(key), threads))
        })
        .collect();
    if known.is_empty() {
        return none_answered(snapshot, answers, admitted);
    }
    let outcome = all_together(&known);
    *last = Some((Instant::now(), known));
    outcome
}

fn all_together(known: &[(Arc<Key>, Threads)]) -> Outcome {
    let threads = || known.iter().map(|(key, threads)| as_kept(key, *threads));
    Outcome::Threads {
        total: threads().map(|threads| u64::from(threads.total)).sum(),
        working: threads().map(|threads| u64::from(threads.working)).sum(),
    }
}

/// As we keep it: a client that was told that every slot is taken asks this next, and must hear the same.
fn as_kept(key: &Key, vendor: Threads) -> Threads {
    let seen = key.account.slots(&key.limits, Instant::now());
    let total = vendor.total.min(seen.max.unwrap_or(vendor.total));
    let ours = u32::try_from(seen.used).unwrap_or(u32::MAX);
    Threads {
        total,
        working: vendor.working.max(ours).min(total),
    }
}

/// All proven keys, a few at a time.
async fn ask_all(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    asked: Asked,
    trace: &mut Trace,
) -> Vec<(Arc<Key>, Answered)> {
    let _ = timeout_at(server.started + LEARNING, server.prober.has_learnt()).await;
    let now = Instant::now();
    let deadline = now + PATIENCE;
    if server.egress.banned_until(now).is_some() {
        return Vec::new();
    }
    let ask = |key: Arc<Key>, mut part: Trace| async move {
        // Keys that were all revoked at once must not each cost an answer that says so.
        if server.egress.exhausted_until(Instant::now()).is_some() {
            return (None, part);
        }
        let sending = Sending::account(&key, asked);
        let user_agent = admitted.user_agent.as_ref();
        let route = Route {
            endpoint: Endpoint::Result,
            user_agent,
            asked,
            deadline,
            client_left: None,
            is_probe: false,
        };
        let answered = forward(
            server,
            snapshot,
            Some(&key),
            admitted.token(),
            sending,
            &route,
            &mut part,
        )
        .await
        .ok();
        (answered.map(|answered| (key, answered)), part)
    };
    // Unproven keys are the prober's: asking with them here could be a bad-key answer each.
    let trusted =
        |key: &&Arc<Key>| key.look(|health| health.is_proven() && !health.is_called_bad(now));
    let active = snapshot
        .keys
        .listed()
        .filter(|key| key.standing == Standing::Active);
    let proven: Vec<_> = active.filter(trusted).cloned().collect();

    let mut answers = Vec::new();
    let mut hear = |(answered, part): (Option<(Arc<Key>, Answered)>, Trace), trace: &mut Trace| {
        trace.add(&part);
        answers.extend(answered);
    };
    let parts: Vec<_> = proven.iter().map(|_| trace.part()).collect();
    let mut calls = stream::iter(proven.into_iter().zip(parts))
        .map(|(key, part)| ask(key, part))
        .buffer_unordered(AT_ONCE);
    while let Some(answer) = calls.next().await {
        hear(answer, trace);
    }
    answers
}

/// The vendor's own refusal where there is one.
fn none_answered(
    snapshot: &Snapshot,
    answers: Vec<(Arc<Key>, Answered)>,
    admitted: &Admitted,
) -> Outcome {
    if snapshot.keys.pool.keys().next().is_none() {
        return Outcome::Refused(Refusal::NoKey);
    }
    let refused = answers
        .into_iter()
        .find_map(|(_, answered)| match &answered.reading {
            Reading::Code { code, .. } => Some((code.clone(), answered)),
            _ => None,
        });
    refused.map_or(
        Outcome::Refused(Refusal::VendorTrouble),
        |(code, answered)| answered.control(&code, admitted.hints),
    )
}
