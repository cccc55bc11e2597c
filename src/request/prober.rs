//! Our own probes: with exactly one key, one probe at a time, in the order of the files.
//!
//! A probe is the cheapest account call that the profile has. It proves new keys before anything paid goes out with them,
//! judges those that a client's call made suspect, looks after empty and revoked ones, and ends the vendor's outage.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::time::{Instant, sleep_until};

use super::forward::{NOTHING_LEFT, Route, Sending, ZERO_BALANCE, forward};
use super::refresher::question;
use super::trace::Trace;
use super::{Server, clock};
use crate::keys::chance;
use crate::keys::health::{Condition, Evidence, Health};
use crate::keys::key::{Key, Standing};
use crate::live::Snapshot;
use crate::vendor::account;
use crate::vendor::answer::{Asked, Reading};
use crate::vendor::profile::{Billing, Class};
use crate::wire::Endpoint;

/// Account calls are answered within tens of milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// A look at all keys now and then, should an event be missed.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// What waits for the first round of probes.
#[derive(Default)]
pub struct Prober {
    learnt: SetOnce<()>,
}

enum Next {
    Key(Arc<Key>),
    /// Any key: only the vendor is in question.
    Vendor(Arc<Key>),
    /// Its account, to learn how many slots it has.
    Count(Arc<Key>),
    At(Instant),
}

impl Prober {
    /// Resolves when every key that could be probed at the start has been.
    pub async fn has_learnt(&self) {
        self.learnt.wait().await;
    }

    /// Runs until shutdown.
    pub async fn run(server: Arc<Server>) {
        let work = async {
            loop {
                let snapshot = server.live.load();
                let news = snapshot.keys.events().next();
                tokio::pin!(news);
                news.as_mut().enable();
                let next = next(&server, &snapshot, Instant::now());
                if matches!(next, Next::Count(_) | Next::At(_)) {
                    // Already set after the first round.
                    let _ = server.prober.learnt.set(());
                }
                match next {
                    Next::Key(key) => probe(&server, &snapshot, &key).await,
                    Next::Vendor(key) => probe_vendor(&server, &snapshot, &key).await,
                    Next::Count(key) => {
                        key.account.count_asked(Instant::now());
                        let evidence = ask(&server, &snapshot, &key, Asked::Threads).await;
                        // Slots are learnt on the way. A key that is good or rests is judged only by what speaks against
                        // it: a plan that has expired, or an account that is closed.
                        let has_plan = key.limits.billing == Billing::Threads;
                        if has_plan && speaks_against(&evidence) {
                            settle(&server, &key, evidence);
                        }
                    }
                    Next::At(time) => {
                        tokio::select! {
                            () = sleep_until(time) => {}
                            () = news => {}
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = server.background.stopping() => {}
        }
    }
}

fn next(server: &Server, snapshot: &Snapshot, now: Instant) -> Next {
    if let Some(until) = server.egress.banned_until(now) {
        return Next::At(until);
    }
    // A key that drains is probed only when its tasks wait for the outcome: suspect, and no other value under its name.
    let suspect = |key: &Key| {
        key.look(|health| health.condition(now) == Condition::Suspect)
            && snapshot.keys.by_name(&key.name).is_none()
    };
    let keys = || {
        snapshot
            .keys
            .keys()
            .iter()
            .filter(|key| key.standing != Standing::Draining || suspect(key))
    };
    if let Some(until) = server.outage.open_until() {
        let trusted =
            keys().find(|key| key.look(|health| health.is_proven() && !health.is_called_bad(now)));
        let Some(key) = trusted.or_else(|| keys().next()) else {
            return Next::At(now + LOOK_ANYWAY);
        };
        return if server.outage.begin_probe(now) {
            Next::Vendor(Arc::clone(key))
        } else {
            Next::At(until)
        };
    }
    let exhausted_until = server.egress.exhausted_until(now);
    let exhausted_for_suspects = server.egress.exhausted_for_suspects_until(now);
    let allowed = |key: &Key| match key.look(|health| health.condition(now)) {
        // An empty key is known to the vendor: asking about it risks no bad-key answer.
        Condition::Empty => true,
        Condition::Suspect => exhausted_for_suspects.is_none(),
        _ => exhausted_until.is_none(),
    };
    let wants = |key: &&Arc<Key>| allowed(key) && key.look(|health| health.wants_probe(now));
    // Whoever asked for one by hand waits for it.
    let asked = keys().find(|key| wants(key) && key.look(Health::is_asked));
    if let Some(key) = asked.or_else(|| keys().find(wants)) {
        return Next::Key(Arc::clone(key));
    }
    // Of accounts that were all closed each would answer that its key is bad.
    if snapshot.settings.vendor.profile.takes.threadsinfo && exhausted_until.is_none() {
        let counts = |key: &&Arc<Key>| {
            key.standing == Standing::Active
                && key.look(|health| health.is_proven() && !health.is_called_bad(now))
                && key.account.wants_count(now)
        };
        if let Some(key) = keys().find(counts) {
            return Next::Count(Arc::clone(key));
        }
    }
    let changes = keys().filter_map(|key| key.look(|health| health.next_change(now)));
    let counts = keys().filter_map(|key| key.account.next_count(now));
    let soonest = changes.chain(counts).chain(exhausted_until).min();
    Next::At(soonest.unwrap_or(now + LOOK_ANYWAY).min(now + LOOK_ANYWAY))
}

async fn probe(server: &Server, snapshot: &Snapshot, key: &Key) {
    if !key.begin_probe(Instant::now()) {
        return;
    }
    let evidence = ask(server, snapshot, key, question(snapshot, key)).await;
    if evidence == Evidence::Nothing {
        server.outage.unreached(Instant::now(), chance());
    }
    settle(server, key, evidence);
}

/// What a probe brought, for the key, the address and the store.
fn settle(server: &Server, key: &Key, evidence: Evidence) {
    let now = Instant::now();
    let before = key.describe(now).state;
    let passed = evidence == Evidence::Passed;
    let is_bad = matches!(&evidence, Evidence::Refused { rule, .. } if rule.class == Class::KeyBad);
    if is_bad {
        server.store.note_no_good_key(key.identity);
    }
    if passed || is_bad {
        for _ in 0..server.egress.decided(key.identity, is_bad) {
            server.store.note_bad_key_answer(clock::now_ms());
        }
    }
    key.end_probe(evidence, now);
    if passed {
        server.store.note_good_key(key.identity, clock::now_ms());
    }
    let after = key.describe(now);
    if after.state != before {
        let why = after.why.as_deref().unwrap_or_default();
        tracing::info!(key = %key.name, before, after = after.state, why, "a probe changed the state of a key");
    }
}

fn speaks_against(evidence: &Evidence) -> bool {
    match evidence {
        Evidence::Passed | Evidence::Nothing => false,
        Evidence::Refused { rule, .. } => match rule.class {
            Class::KeyBad | Class::KeyEmpty => true,
            Class::KeyBusy
            | Class::EgressIp
            | Class::Request
            | Class::NoTask
            | Class::Task
            | Class::Server => false,
        },
    }
}

async fn probe_vendor(server: &Server, snapshot: &Snapshot, key: &Key) {
    if ask(server, snapshot, key, question(snapshot, key)).await == Evidence::Nothing {
        server.outage.probe_failed(Instant::now(), chance());
    } else if server.outage.reached() {
        tracing::info!("the vendor answers again");
        snapshot.keys.events().happened();
    }
}

async fn ask(server: &Server, snapshot: &Snapshot, key: &Key, asked: Asked) -> Evidence {
    let deadline = Instant::now() + PATIENCE;
    let route = Route {
        endpoint: Endpoint::Result,
        user_agent: None,
        asked,
        deadline,
        client_left: None,
        is_probe: true,
    };
    let mut trace = Trace::own();
    let sending = Sending::account(key, asked);
    let Ok(answered) = forward(
        server,
        snapshot,
        Some(key),
        b"",
        sending,
        &route,
        &mut trace,
    )
    .await
    else {
        return Evidence::Nothing;
    };
    match answered.reading {
        // To a submit this may mean that no thread is free. An account call needs none.
        Reading::Code { code, rule } if code == ZERO_BALANCE && rule.class == Class::KeyBusy => {
            Evidence::Refused {
                code,
                rule: NOTHING_LEFT,
            }
        }
        Reading::Code { code, rule } => match rule.class {
            Class::KeyBad | Class::KeyBusy | Class::KeyEmpty => Evidence::Refused { code, rule },
            // It answers, and does not blame the key: a vendor that does not know this action.
            Class::Request | Class::NoTask | Class::Task => Evidence::Passed,
            Class::EgressIp | Class::Server => Evidence::Nothing,
        },
        Reading::Said if asked == Asked::Threads => plan(&answered.relay.body),
        Reading::Said | Reading::Accepted { .. } | Reading::Final | Reading::NotReady => {
            Evidence::Passed
        }
        Reading::Trouble { .. } => Evidence::Nothing,
    }
}

/// A thread plan with no thread has expired; the key is good again once it is renewed.
pub(super) fn plan(body: &[u8]) -> Evidence {
    match account::threads(body) {
        Some(threads) if threads.total == 0 => Evidence::Refused {
            code: "no threads: the plan has expired".to_owned(),
            rule: NOTHING_LEFT,
        },
        _ => Evidence::Passed,
    }
}
