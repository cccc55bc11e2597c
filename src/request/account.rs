//! `getbalance` and `threadsinfo`: answered for the pool, summed over its keys, from what the refresher keeps. Keys of
//! which nothing is known yet are asked now; never is anything answered 0 because nobody was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

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
use crate::vendor::answer::{Asked, Reading};
use crate::wire::Endpoint;

/// When clients' questions were passed on last. One round of them serves all who ask at the same time, and for a moment
/// after: clients ask as often as they like, and some account may never answer.
#[derive(Default)]
pub struct Rounds {
    balance: Mutex<Option<Round>>,
    threads: Mutex<Option<Round>>,
}

struct Round {
    ended: Instant,
    /// The vendor's own refusal, when nothing was learnt.
    refused: Option<String>,
}

const BETWEEN_ROUNDS: Duration = Duration::from_secs(2);

/// All keys together. Half of the shortest read time-out of the SDK that starts with this call.
const PATIENCE: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 3;
/// Accounts may all have been closed, and refresher and prober ask as well: until one has answered well, they are asked one
/// after the other, so that all together stay below what vendors ban at. One that hangs holds the others up for so long.
const ALONE: Duration = Duration::from_millis(500);

pub(super) async fn balance(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    trace: &mut Trace,
) -> Outcome {
    let known = |key: &Key| key.account.balance(&key.limits, Instant::now());
    let (round, asked) = (&server.rounds.balance, Asked::Balance);
    match known_of_all(server, snapshot, admitted, asked, round, known, trace).await {
        Ok(balances) => {
            let sum = balances.into_iter().fold(0, i64::saturating_add);
            Outcome::Bare(decimal(sum))
        }
        Err(outcome) => outcome,
    }
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
    let known = |key: &Key| key.account.threads(&key.limits, Instant::now());
    let (round, asked) = (&server.rounds.threads, Asked::Threads);
    match known_of_all(server, snapshot, admitted, asked, round, known, trace).await {
        Ok(threads) => Outcome::Threads {
            total: threads.iter().map(|it| u64::from(it.total)).sum(),
            working: threads.iter().map(|it| u64::from(it.working)).sum(),
        },
        Err(outcome) => outcome,
    }
}

/// What is known of each proven key, at least one, after those were asked of which nothing is.
async fn known_of_all<T>(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    asked: Asked,
    round: &Mutex<Option<Round>>,
    known: impl Fn(&Key) -> Option<T>,
    trace: &mut Trace,
) -> Result<Vec<T>, Outcome> {
    let _ = timeout_at(server.started + LEARNING, server.prober.has_learnt()).await;
    let all = || trusted(snapshot).filter_map(|key| known(key)).collect();
    let missing = || {
        trusted(snapshot)
            .filter(|key| known(key).is_none())
            .cloned()
    };
    if missing().next().is_none() && trusted(snapshot).next().is_some() {
        return Ok(all());
    }
    let came = Instant::now();
    let deadline = came + PATIENCE;
    // Somebody else's round may take as long as this client waits.
    let Ok(mut last) = timeout_at(deadline, round.lock()).await else {
        return Err(none_answered(snapshot, None, admitted));
    };
    let found: Vec<T> = all();
    let rests = |last: &Round| last.ended.elapsed() < BETWEEN_ROUNDS;
    if !found.is_empty() && (last.as_ref().is_some_and(rests) || missing().next().is_none()) {
        return Ok(found);
    }
    // Who waited for a round in vain does not wait for one more: the last in line would wait for all of them. And clients
    // that ask again at once must not each cost another round.
    let in_vain = |last: &&Round| last.ended > came || rests(last);
    if let Some(last) = last.as_ref().filter(in_vain) {
        return Err(match &last.refused {
            Some(code) => Outcome::Code(code.clone()),
            None => none_answered(snapshot, None, admitted),
        });
    }
    let keys = missing().collect();
    let answers = ask(server, snapshot, admitted, asked, keys, deadline, trace).await;
    let found: Vec<T> = all();
    let refused = match found.is_empty() {
        true => refused(answers),
        false => None,
    };
    *last = Some(Round {
        ended: Instant::now(),
        refused: refused.as_ref().map(|(code, _)| code.clone()),
    });
    if found.is_empty() {
        return Err(none_answered(snapshot, refused, admitted));
    }
    Ok(found)
}

/// Unproven keys are the prober's: asking with them here could be a bad-key answer each.
fn trusted(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Key>> {
    let now = Instant::now();
    let is_good =
        move |key: &Key| key.look(|health| health.is_proven() && !health.is_called_bad(now));
    let listed = snapshot.keys.listed();
    listed.filter(move |key| key.standing == Standing::Active && is_good(key))
}

/// A few at a time. What they say is learnt on the way.
async fn ask(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    asked: Asked,
    keys: Vec<Arc<Key>>,
    deadline: Instant,
    trace: &mut Trace,
) -> Vec<Answered> {
    let (turns, one_is_good) = (Mutex::new(()), AtomicBool::new(false));
    let (turns, one_is_good) = (&turns, &one_is_good);
    let ask = |key: Arc<Key>, mut part: Trace| async move {
        let turn = timeout(ALONE, turns.lock()).await.ok();
        let _turn = turn.filter(|_| !one_is_good.load(Ordering::Relaxed));
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
        let is_good = |answered: &Answered| matches!(answered.reading, Reading::Said);
        if answered.as_ref().is_some_and(is_good) {
            one_is_good.store(true, Ordering::Relaxed);
        }
        (answered, part)
    };
    let mut answers = Vec::new();
    let mut hear = |(answered, part): (Option<Answered>, Trace), trace: &mut Trace| {
        trace.add(&part);
        answers.extend(answered);
    };
    let parts: Vec<_> = keys.iter().map(|_| trace.part()).collect();
    let mut calls = stream::iter(keys.into_iter().zip(parts))
        .map(|(key, part)| ask(key, part))
        .buffer_unordered(AT_ONCE);
    while let Some(answer) = calls.next().await {
        hear(answer, trace);
    }
    answers
}

fn refused(answers: Vec<Answered>) -> Option<(String, Answered)> {
    answers
        .into_iter()
        .find_map(|answered| match &answered.reading {
            Reading::Code { code, .. } => Some((code.clone(), answered)),
            _ => None,
        })
}

/// The vendor's own refusal where there is one.
fn none_answered(
    snapshot: &Snapshot,
    refused: Option<(String, Answered)>,
    admitted: &Admitted,
) -> Outcome {
    if snapshot.keys.pool.keys().next().is_none() {
        return Outcome::Refused(Refusal::NoKey);
    }
    refused.map_or(
        Outcome::Refused(Refusal::VendorTrouble),
        |(code, answered)| answered.control(&code, admitted.hints),
    )
}
