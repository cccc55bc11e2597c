//! Our own probes: with exactly one key, one probe at a time, in the order of the files.
//!
//! A probe is the cheapest account call that the profile has. It proves new keys before anything paid goes out with them,
//! judges those that a client's call made suspect, looks after empty and revoked ones, and ends the vendor's outage.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::time::{Instant, sleep_until};

use super::admit::Caller;
use super::forward::{NOTHING_LEFT, Route, Sending, ZERO_BALANCE, forward};
use super::refresher::question;
use super::trace::Trace;
use super::{Server, clock};
use crate::keys::chance;
use crate::keys::egress::Egress;
use crate::keys::health::{Condition, Evidence, Health};
use crate::keys::key::{Key, Standing};
use crate::keys::set::KeySet;
use crate::live::Snapshot;
use crate::replicas::{News, Verdict};
use crate::vendor::account;
use crate::vendor::answer::{Asked, Reading};
use crate::vendor::profile::{Billing, Class};

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
    /// The vendor is in question, and the key only where its own probe is due.
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
    let keys = &snapshot.keys;
    let exhausted_until = server.egress.exhausted_until(now);
    let soonest = || {
        let changes = probed(keys, now).filter_map(|key| key.look(|it| it.next_change(now)));
        let counts = probed(keys, now).filter_map(|key| key.account.next_count(now));
        let soonest = changes.chain(counts).chain(exhausted_until).min();
        Next::At(soonest.unwrap_or(now + LOOK_ANYWAY).min(now + LOOK_ANYWAY))
    };
    if let Some(until) = server.outage.open_until() {
        return match for_the_vendor(keys, &server.egress, now) {
            Some(key) if server.outage.begin_probe(now) => Next::Vendor(Arc::clone(key)),
            Some(_) => Next::At(until),
            None => soonest(),
        };
    }
    let leads = server.replicas.leads();
    if let Some(key) = due(keys, &server.egress, leads, now) {
        return Next::Key(Arc::clone(key));
    }
    // Of accounts that were all closed each would answer that its key is bad.
    let takes = &snapshot.settings.vendor.profile.takes;
    if leads && takes.threadsinfo && exhausted_until.is_none() {
        let counts = |key: &&Arc<Key>| {
            key.standing == Standing::Active && is_trusted(key, now) && key.account.wants_count(now)
        };
        if let Some(key) = probed(keys, now).find(counts) {
            return Next::Count(Arc::clone(key));
        }
    }
    soonest()
}

fn probed(keys: &KeySet, now: Instant) -> impl Iterator<Item = &Arc<Key>> {
    keys.keys()
        .iter()
        .filter(move |key| is_probed(keys, key, now))
}

/// Whether the vendor may be asked about it. Keys that take no new work are so only for the sake of others: one that drains
/// while it is suspect and no other value stands under its name, because its tasks wait for the outcome, and one that the
/// file disables unless a probe would be its first, which can wait until it is enabled or a hand asks.
pub fn is_probed(keys: &KeySet, key: &Key, now: Instant) -> bool {
    let condition = || key.look(|health| health.condition(now));
    match key.standing {
        Standing::Active => true,
        Standing::Disabled => condition() != Condition::Unproven || key.look(Health::is_asked),
        Standing::Draining => {
            condition() == Condition::Suspect && keys.by_name(&key.name).is_none()
        }
    }
}

/// The key whose probe is due and within the budget of bad-key answers. Of several replicas one leads, and probes for all.
fn due<'a>(keys: &'a KeySet, egress: &Egress, leads: bool, now: Instant) -> Option<&'a Arc<Key>> {
    let exhausted = egress.exhausted_until(now).is_some();
    let exhausted_for_suspects = egress.exhausted_for_suspects_until(now).is_some();
    let allowed = |key: &Key| match key.look(|health| health.condition(now)) {
        // An empty key is known to the vendor: asking about it risks no bad-key answer.
        Condition::Empty => true,
        Condition::Suspect => !exhausted_for_suspects,
        _ => !exhausted,
    };
    let wants = |key: &&Arc<Key>| allowed(key) && key.look(|health| health.wants_probe(now));
    // Whoever asked for one by hand waits for it.
    let asked = probed(keys, now).find(|key| wants(key) && key.look(Health::is_asked));
    asked.or_else(|| probed(keys, now).find(|key| leads && wants(key)))
}

/// The key with which an outage is probed: one that the vendor knows, also one that drains, whose tasks wait for the end of
/// the outage. SECURITY: any other may cost a bad-key answer, so it must be due, and within the budget.
fn for_the_vendor<'a>(keys: &'a KeySet, egress: &Egress, now: Instant) -> Option<&'a Arc<Key>> {
    let trusted = |key: &&Arc<Key>| is_trusted(key, now);
    let listed = keys.listed().find(trusted);
    listed
        .or_else(|| keys.keys().iter().find(trusted))
        .or_else(|| due(keys, egress, true, now))
}

fn is_trusted(key: &Key, now: Instant) -> bool {
    key.look(|health| health.is_proven() && !health.is_called_bad(now))
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
    if let Some(verdict) = Verdict::of(&evidence) {
        let key = key.identity.0;
        server.replicas.tell(News::Probed { key, verdict });
    }
    key.end_probe(evidence, now);
    if passed {
        server.store.note_good_key(key.identity, clock::now_ms());
    }
    let after = key.describe(now);
    if after.state != before {
        let why = after.why.as_deref().unwrap_or_default();
        tracing::info!(key = %key.name, %before, after = %after.state, why, "a probe changed the state of a key");
    }
}

/// What another replica's probe brought. It has told the store.
pub(crate) fn settle_as_told(server: &Server, key: &Key, evidence: Evidence) {
    let now = Instant::now();
    let before = key.describe(now).state;
    let is_bad = matches!(&evidence, Evidence::Refused { rule, .. } if rule.class == Class::KeyBad);
    // Those that came here are known here only.
    for _ in 0..server.egress.decided(key.identity, is_bad) {
        server.store.note_bad_key_answer(clock::now_ms());
    }
    key.end_probe(evidence, now);
    let after = key.describe(now);
    if after.state != before {
        let why = after.why.as_deref().unwrap_or_default();
        tracing::info!(key = %key.name, %before, after = %after.state, why, "a probe of another replica changed the state of a key");
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
    let evidence = ask(server, snapshot, key, question(snapshot, key)).await;
    if evidence == Evidence::Nothing {
        server.outage.probe_failed(Instant::now(), chance());
        return;
    }
    if server.outage.reached() {
        tracing::info!("the vendor answers again");
        snapshot.keys.events().happened();
    }
    // The answer judges a key that is in question itself: asking once more could be one more bad-key answer.
    if key.begin_probe(Instant::now()) {
        settle(server, key, evidence);
    }
}

async fn ask(server: &Server, snapshot: &Snapshot, key: &Key, asked: Asked) -> Evidence {
    let deadline = Instant::now() + PATIENCE;
    let route = Route {
        is_probe: true,
        ..Route::new(Caller::OWN, asked, deadline)
    };
    let sending = Sending::account(key, asked);
    let answered = forward(server, snapshot, sending, &route, &mut Trace::own()).await;
    let Ok(answered) = answered else {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Balance, KeyEntry};
    use crate::keys::egress::BAD_KEY_ANSWERS;
    use crate::keys::secret::{Identity, Salt, Secret};
    use crate::keys::set::{Remembered, Rules};
    use crate::vendor::profile::Profile;

    /// Keys that wait for their first probe, in this order.
    const UNPROVEN: &str = "new";
    /// An earlier run has proven it.
    const PROVEN: &str = "proven";

    fn keys_after(before: &KeySet, keys: &[(&str, bool)]) -> KeySet {
        let entry = |(name, disabled): &(&str, bool)| KeyEntry {
            name: (*name).to_owned(),
            value: value(name),
            pool: None,
            weight: 1,
            priority: 0,
            disabled: *disabled,
            max_tasks: None,
            max_requests_per_second: None,
            billing: None,
        };
        let entries: Vec<_> = keys.iter().map(entry).collect();
        let salt = Salt([7; 32]);
        let good_keys = [Identity::of(&value(PROVEN), &salt)].into();
        let remembered = Remembered { salt, good_keys };
        let profile = Profile::builtin("2captcha").unwrap();
        let refresh = Duration::from_secs(300);
        let rules = Rules {
            shared: false,
            pools: Vec::new(),
            rates: profile.limits,
            billing: profile.billing,
            balance: Balance {
                refresh,
                minimum_micro_usd: 10_000,
                low_micro_usd: 1_000_000,
            },
            keep: refresh,
        };
        before.next(&entries, &remembered, &rules, Instant::now(), || 0.5)
    }

    fn keys(keys: &[(&str, bool)]) -> KeySet {
        keys_after(&KeySet::default(), keys)
    }

    fn value(name: &str) -> Secret {
        Secret::new(format!("value-of-{name}-0123456789abcdef"))
    }

    fn used_up(now: Instant) -> Egress {
        Egress::new([now; BAD_KEY_ANSWERS])
    }

    fn name(key: Option<&Arc<Key>>) -> Option<&str> {
        key.map(|key| &*key.name)
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_probed_with_a_key_that_the_vendor_knows_also_with_one_that_drains() {
        let now = Instant::now();
        let both = keys(&[(UNPROVEN, false), (PROVEN, false)]);
        let key = for_the_vendor(&both, &used_up(now), now);
        assert_eq!(name(key), Some(PROVEN));
        let drains = keys_after(&both, &[(UNPROVEN, false)]);
        let key = for_the_vendor(&drains, &used_up(now), now);
        assert_eq!(name(key), Some(PROVEN));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_probed_with_an_unknown_key_only_when_that_may_be_probed_itself() {
        let (now, fresh) = (Instant::now(), Egress::new([]));
        let keys = keys(&[("off", true), (UNPROVEN, false)]);
        assert_eq!(name(for_the_vendor(&keys, &fresh, now)), Some(UNPROVEN));
        assert_eq!(name(for_the_vendor(&keys, &used_up(now), now)), None);
        let key = keys.by_name(UNPROVEN).unwrap();
        key.disable(now);
        assert_eq!(name(for_the_vendor(&keys, &fresh, now)), None);
        key.enable(now);
        let (code, rule) = ("ERROR_KEY_DOES_NOT_EXIST", "ERROR_KEY_DOES_NOT_EXIST");
        let rule = Profile::builtin("2captcha").unwrap().codes[rule];
        let code = code.to_owned();
        assert!(key.begin_probe(now));
        key.end_probe(Evidence::Refused { code, rule }, now);
        assert_eq!(name(for_the_vendor(&keys, &fresh, now)), None);
        let later = now + Duration::from_secs(3600);
        assert_eq!(name(for_the_vendor(&keys, &fresh, later)), Some(UNPROVEN));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_the_file_disables_is_tried_only_by_hand() {
        let (now, egress) = (Instant::now(), Egress::new([]));
        let keys = keys(&[("off", true)]);
        assert_eq!(name(due(&keys, &egress, true, now)), None);
        keys.by_name("off").unwrap().ask_for_probe(now);
        assert_eq!(name(due(&keys, &egress, true, now)), Some("off"));
    }
}
