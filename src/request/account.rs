//! `getbalance` and `threadsinfo`: answered for the pool, summed over its keys. Never answered 0 because nobody was asked.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::Server;
use super::admit::Admitted;
use super::forward::{Answered, Route, Sending, forward};
use super::refuse::Refusal;
use super::respond::Outcome;
use super::trace::Trace;
use crate::keys::health::Health;
use crate::keys::key::{Key, Standing};
use crate::live::Snapshot;
use crate::vendor::account;
use crate::vendor::answer::{Asked, Reading};
use crate::wire::Endpoint;

/// All keys together. Half of the shortest read time-out of the SDK that starts with this call.
const PATIENCE: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 8;

pub(super) async fn balance(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    trace: &mut Trace,
) -> Outcome {
    let answers = ask_all(server, snapshot, admitted, Asked::Balance, trace).await;
    let balances = answers
        .iter()
        .filter_map(|answered| account::balance(&answered.relay.body));
    match balances.reduce(i64::saturating_add) {
        Some(micro_usd) => Outcome::Bare(decimal(micro_usd)),
        None => none_answered(snapshot, answers, admitted),
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
    let answers = ask_all(server, snapshot, admitted, Asked::Threads, trace).await;
    let threads: Vec<_> = answers
        .iter()
        .filter_map(|answered| account::threads(&answered.relay.body))
        .collect();
    if threads.is_empty() {
        return none_answered(snapshot, answers, admitted);
    }
    let total = threads.iter().map(|threads| u64::from(threads.total)).sum();
    let working = threads
        .iter()
        .map(|threads| u64::from(threads.working))
        .sum();
    Outcome::Threads { total, working }
}

/// Proven keys all at once, then unproven ones one at a time, as far as the budget of bad-key answers allows.
async fn ask_all(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    asked: Asked,
    trace: &mut Trace,
) -> Vec<Answered> {
    let now = Instant::now();
    let deadline = now + PATIENCE;
    if server.egress.banned_until(now).is_some() {
        return Vec::new();
    }
    let ask = |key: Arc<Key>, mut part: Trace| async move {
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
        (answered, part)
    };
    let called_bad = |key: &&Arc<Key>| key.look(|health| health.is_called_bad(now));
    let active = snapshot
        .keys
        .listed()
        .filter(|key| key.standing == Standing::Active && !called_bad(key));
    let (proven, unproven): (Vec<_>, Vec<_>) =
        active.cloned().partition(|key| key.look(Health::is_proven));

    let mut answers = Vec::new();
    let mut hear = |(answered, part): (Option<Answered>, Trace), trace: &mut Trace| {
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
    for key in unproven {
        let Some(_trial) = trial(server, deadline).await else {
            break;
        };
        let part = trace.part();
        hear(ask(key, part).await, trace);
    }
    answers
}

/// Waits for a trial that somebody else holds; `None` when the budget is used up or time is over.
async fn trial(server: &Server, deadline: Instant) -> Option<crate::keys::egress::Trial<'_>> {
    loop {
        let ended = server.egress.trial_ended();
        tokio::pin!(ended);
        ended.as_mut().enable();
        if let Some(trial) = server.egress.begin(Instant::now()) {
            return Some(trial);
        }
        if !server.egress.is_trying() {
            return None;
        }
        timeout_at(deadline, ended).await.ok()?;
    }
}

/// The vendor's own refusal where there is one.
fn none_answered(snapshot: &Snapshot, answers: Vec<Answered>, admitted: &Admitted) -> Outcome {
    if snapshot.keys.pool.keys().next().is_none() {
        return Outcome::Refused(Refusal::NoKey);
    }
    let refused = answers
        .into_iter()
        .find_map(|answered| match &answered.reading {
            Reading::Code { code, .. } => Some((code.clone(), answered)),
            _ => None,
        });
    refused.map_or(
        Outcome::Refused(Refusal::VendorTrouble),
        |(code, answered)| answered.control(&code, admitted.hints),
    )
}

/// A bare decimal number, as vendors write balances: no trailing zeros beyond the cents.
fn decimal(micro_usd: i64) -> String {
    let sign = if micro_usd < 0 { "-" } else { "" };
    let (whole, fraction) = (
        micro_usd.unsigned_abs() / 1_000_000,
        micro_usd.unsigned_abs() % 1_000_000,
    );
    let fraction = format!("{fraction:06}");
    let (cents, rest) = fraction.split_at(2);
    format!("{sign}{whole}.{cents}{}", rest.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn balances_are_bare_decimals() {
        assert_eq!(decimal(12_345_000), "12.345");
        assert_eq!(decimal(0), "0.00");
        assert_eq!(decimal(10_000_000), "10.00");
        assert_eq!(decimal(-1), "-0.000001");
        assert_eq!(decimal(i64::MIN), "-9223372036854.775808");
    }
}
