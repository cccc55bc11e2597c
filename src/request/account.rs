//! `getbalance` and `threadsinfo`. Who has keys to itself hears what they hold, summed over them, from what the refresher
//! keeps; keys of which nothing is known yet are asked now, and never is anything answered 0 because nobody was asked. Who
//! shares keys with others hears of its own limits only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::admit::{Admitted, Caller};
use super::choose::{LEARNING, pool_now};
use super::forward::{Answered, Route, Sending, forward};
use super::refuse::Refusal;
use super::respond::Outcome;
use super::trace::Trace;
use super::{Server, clock};
use crate::keys::key::Key;
use crate::live::Snapshot;
use crate::money::decimal;
use crate::tenants::{Pools, Tenant, allowance};
use crate::vendor::answer::{Asked, Reading};
use crate::wire::Endpoint;

/// When clients' questions about a pool were passed on last. One round of them serves all who ask at the same time, and for
/// a moment after: clients ask as often as they like, and some account may never answer.
#[derive(Default)]
pub struct Rounds {
    /// As many as pools were ever named, for each of both questions.
    last: std::sync::Mutex<HashMap<Of, Arc<Last>>>,
}

/// Of which pool, and which question.
type Of = (Arc<str>, Asked);
/// None: nobody has asked yet.
type Last = Mutex<Option<Round>>;

struct Round {
    ended: Instant,
    /// The vendor's own refusal, when nothing was learnt.
    refused: Option<String>,
}

impl Rounds {
    fn last(&self, pool: &Arc<str>, asked: Asked) -> Arc<Last> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(last.entry((Arc::clone(pool), asked)).or_default())
    }
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
    let pool = match told(server, snapshot, &admitted.tenant) {
        Told::Keys(pool) => pool,
        Told::Limits(_) => return Outcome::Bare(decimal(allowed(server, snapshot, admitted))),
    };
    let question = Question {
        server,
        snapshot,
        admitted,
        asked: Asked::Balance,
        pool,
    };
    let known = |key: &Key| key.account.balance(&key.limits, Instant::now());
    match question.of_all(known, trace).await {
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
    let tenant = &admitted.tenant;
    let (pool, working) = match told(server, snapshot, tenant) {
        Told::Keys(pool) => (pool, None),
        Told::Limits(pool) => {
            let used = server.tenants.of(&tenant.name).used(clock::now_ms());
            let working = used.running as u64;
            if let Some(most) = tenant.limits.max_tasks {
                let total = u64::from(most);
                return Outcome::Threads { total, working };
            }
            (pool, Some(working))
        }
    };
    let question = Question {
        server,
        snapshot,
        admitted,
        asked: Asked::Threads,
        pool,
    };
    let known = |key: &Key| key.account.threads(&key.limits, Instant::now());
    match question.of_all(known, trace).await {
        Ok(threads) => Outcome::Threads {
            total: threads.iter().map(|it| u64::from(it.total)).sum(),
            working: working
                .unwrap_or_else(|| threads.iter().map(|it| u64::from(it.working)).sum()),
        },
        Err(outcome) => outcome,
    }
}

/// Of what an account call tells.
enum Told<'a> {
    /// The keys of this pool, which the caller has to itself.
    Keys(&'a Arc<str>),
    /// The tenant's own limits: others use the keys of this pool as well.
    Limits(&'a Arc<str>),
}

fn told<'a>(server: &Server, snapshot: &Snapshot, tenant: &'a Tenant) -> Told<'a> {
    match &tenant.pools {
        Pools::Shared(pool) if tenant.is_everybody() => Told::Keys(pool),
        Pools::Shared(pool) => Told::Limits(pool),
        Pools::Own { pool: own, .. } => {
            let pool = pool_now(server, snapshot, tenant);
            match pool == own {
                true => Told::Keys(pool),
                false => Told::Limits(pool),
            }
        }
    }
}

fn allowed(server: &Server, snapshot: &Snapshot, admitted: &Admitted) -> i64 {
    let (settings, tenant) = (&snapshot.settings, &admitted.tenant);
    let left = server
        .tenants
        .of(&tenant.name)
        .left(&tenant.limits, clock::now_ms());
    let nominal = settings.clients.nominal_balance_micro_usd;
    allowance::balance(tenant, left, &settings.prices, nominal)
}

/// One account call of a client, for all keys of a pool.
struct Question<'a> {
    server: &'a Server,
    snapshot: &'a Snapshot,
    admitted: &'a Admitted,
    asked: Asked,
    pool: &'a Arc<str>,
}

impl<'a> Question<'a> {
    /// What is known of each proven key, at least one, after those were asked of which nothing is.
    async fn of_all<T>(
        &self,
        known: impl Fn(&Key) -> Option<T>,
        trace: &mut Trace,
    ) -> Result<Vec<T>, Outcome> {
        let server = self.server;
        let _ = timeout_at(server.started + LEARNING, server.prober.has_learnt()).await;
        let trusted = || self.trusted();
        let all = || trusted().filter_map(|key| known(key)).collect();
        let missing = || trusted().filter(|key| known(key).is_none()).cloned();
        if missing().next().is_none() && trusted().next().is_some() {
            return Ok(all());
        }
        let came = Instant::now();
        let deadline = came + PATIENCE;
        let last = server.rounds.last(self.pool, self.asked);
        // Somebody else's round may take as long as this client waits.
        let Ok(mut last) = timeout_at(deadline, last.lock()).await else {
            return Err(self.none_answered(None));
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
                None => self.none_answered(None),
            });
        }
        let keys = missing().collect();
        let answers = self.ask(keys, deadline, trace).await;
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
            return Err(self.none_answered(refused));
        }
        Ok(found)
    }

    /// Unproven keys are the prober's: asking with them here could be a bad-key answer each.
    fn trusted(&self) -> impl Iterator<Item = &'a Arc<Key>> {
        let now = Instant::now();
        let is_good = move |key: &&Arc<Key>| {
            key.look(|health| health.is_proven() && !health.is_called_bad(now))
        };
        self.snapshot.keys.in_pool(self.pool).filter(is_good)
    }

    /// A few at a time. What they say is learnt on the way.
    async fn ask(
        &self,
        keys: Vec<Arc<Key>>,
        deadline: Instant,
        trace: &mut Trace,
    ) -> Vec<Answered> {
        let caller = Caller {
            endpoint: Endpoint::Result,
            ..self.admitted.caller()
        };
        let route = Route::new(caller, self.asked, deadline);
        let (server, route) = (self.server, &route);
        let (turns, one_is_good) = (Mutex::new(()), AtomicBool::new(false));
        let (turns, one_is_good) = (&turns, &one_is_good);
        let ask = |key: Arc<Key>, mut part: Trace| async move {
            let turn = timeout(ALONE, turns.lock()).await.ok();
            let _turn = turn.filter(|_| !one_is_good.load(Ordering::Relaxed));
            // Keys that were all revoked at once must not each cost an answer that says so.
            if server.egress.exhausted_until(Instant::now()).is_some() {
                return (None, part);
            }
            let sending = Sending::account(&key, self.asked);
            let answered = forward(server, self.snapshot, sending, route, &mut part).await;
            let answered = answered.ok();
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

    /// The vendor's own refusal where there is one.
    fn none_answered(&self, refused: Option<(String, Answered)>) -> Outcome {
        if self.snapshot.keys.has_none(self.pool) {
            return Outcome::Refused(Refusal::NoKey);
        }
        refused.map_or(
            Outcome::Refused(Refusal::VendorTrouble),
            |(code, answered)| answered.control(&code, self.admitted.request.hints()),
        )
    }
}

fn refused(answers: Vec<Answered>) -> Option<(String, Answered)> {
    answers
        .into_iter()
        .find_map(|answered| match &answered.reading {
            Reading::Code { code, .. } => Some((code.clone(), answered)),
            _ => None,
        })
}
