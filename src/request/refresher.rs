//! What each account has left is asked for now and then: its balance, or on a thread plan its threads. One question at a
//! time, spread over `balance.refresh`, and only where the answer can be had: not of keys that rest or were called bad, not
//! while the vendor is out of reach or bans our address, not with calls that the account's polls may need.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Server;
use super::admit::Caller;
use super::forward::{Route, Sending, forward};
use super::prober::{PATIENCE, plan};
use super::trace::Trace;
use crate::keys::health::{Evidence, Health};
use crate::keys::key::{Key, Standing};
use crate::live::Snapshot;
use crate::store;
use crate::vendor::account;
use crate::vendor::answer::{Asked, Reading};
use crate::vendor::profile::Billing;

/// Keys change: nothing is planned further ahead.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Looking through ten thousand accounts costs a millisecond: so many questions are planned at once, and no look follows
/// another sooner than this.
const PLANNED: usize = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// All accounts are asked after a start. A few are asked a second apart, many at twice the pace that they need.
const SLOWEST_PACE: Duration = Duration::from_secs(1);

/// Runs until shutdown.
pub async fn run(server: Arc<Server>) {
    let work = async {
        loop {
            let snapshot = server.live.load();
            let every = snapshot.settings.balance.refresh;
            let ask = |key: Arc<Key>| {
                let (server, snapshot) = (Arc::clone(&server), Arc::clone(&snapshot));
                async move {
                    let may = may_ask(&server, &key, Instant::now());
                    if may {
                        refresh(&server, &snapshot, &key).await;
                    }
                    may
                }
            };
            let next = round(snapshot.keys.keys(), every, ask).await;
            sleep_until(next).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = server.background.stopping() => {}
    }
}

/// Asks those whose turn has come, one after the other. `ask` says whether it did. Returns when to look again.
async fn round<Asking: Future<Output = bool>>(
    keys: &[Arc<Key>],
    every: Duration,
    mut ask: impl FnMut(Arc<Key>) -> Asking,
) -> Instant {
    let looked = Instant::now();
    let due = due(keys, looked);
    let pace = pace(every, keys.len());
    // Of more than were planned, the next ones are due as well.
    let mut next = if due.len() < PLANNED {
        looked + LOOK_AGAIN
    } else {
        looked
    };
    for (at, key) in due {
        let now = Instant::now();
        if let Some(at) = at.filter(|at| *at > now) {
            next = at.min(looked + LOOK_AGAIN);
            break;
        }
        if ask(key).await {
            sleep_until(now + pace).await;
        }
    }
    next.max(looked + BETWEEN_LOOKS)
}

/// The accounts whose turn comes first, and when.
fn due(keys: &[Arc<Key>], now: Instant) -> Vec<(Option<Instant>, Arc<Key>)> {
    let mut due: Vec<_> = keys
        .iter()
        .filter(|key| key.standing == Standing::Active && is_well(key, now))
        .filter(|key| key.account.has_calls_to_spare(&key.limits, now))
        .map(|key| (key.account.refresh_due(&key.limits), Arc::clone(key)))
        .collect();
    if due.len() > PLANNED {
        due.select_nth_unstable_by_key(PLANNED, |(at, _)| *at);
        due.truncate(PLANNED);
    }
    due.sort_by_key(|(at, _)| *at);
    due
}

fn pace(refresh: Duration, keys: usize) -> Duration {
    let keys = u32::try_from(keys.max(1)).unwrap_or(u32::MAX);
    (refresh / keys / 2).min(SLOWEST_PACE)
}

fn may_ask(server: &Server, key: &Key, now: Instant) -> bool {
    server.replicas.leads()
        && server.outage.open_until().is_none()
        && server.egress.banned_until(now).is_none()
        && server.egress.exhausted_until(now).is_none()
        && is_well(key, now)
}

/// What is suspect, empty or revoked is the prober's; what cools is left alone.
fn is_well(key: &Key, now: Instant) -> bool {
    key.look(|health: &Health| {
        health.is_proven() && health.may_submit(now) && health.polls_rest_until(now).is_none()
    })
}

async fn refresh(server: &Server, snapshot: &Snapshot, key: &Key) {
    let asked = question(snapshot, key);
    let now = Instant::now();
    let before = key.describe(now).state;
    // Whatever comes of it: what is known stays known, and the next turn is the next try.
    key.account.refresh_asked(now);
    let route = Route::new(Caller::OWN, asked, now + PATIENCE);
    let sending = Sending::account(key, asked);
    let answered = forward(server, snapshot, sending, &route, &mut Trace::own()).await;
    if let (Some(redis), Ok(answered)) = (server.store.replicas(), &answered)
        && asked == Asked::Balance
        && matches!(answered.reading, Reading::Said)
        && let Some(micro_usd) = account::balance(&answered.relay.body)
        && let Ok(Some(used)) = store::in_time(redis.spent(&key.account.name)).await
    {
        key.account
            .compare_together(micro_usd, used, Instant::now());
    }
    // What an answer says is learnt on the way. A plan that has expired answers as if all were well.
    if let Ok(answered) = answered
        && asked == Asked::Threads
        && matches!(answered.reading, Reading::Said)
        && let Evidence::Refused { code, rule } = plan(&answered.relay.body)
    {
        key.refused(&code, rule, None, Instant::now());
    }
    let after = key.describe(Instant::now());
    if after.state != before {
        let why = after.why.as_deref().unwrap_or_default();
        tracing::info!(key = %key.name, %before, after = %after.state, why, "a refresh changed the state of a key");
    }
}

/// The one account call that says whether a key can take work.
pub(super) fn question(snapshot: &Snapshot, key: &Key) -> Asked {
    let takes = snapshot.settings.vendor.profile.takes;
    if key.limits.billing == Billing::Threads && takes.threadsinfo {
        Asked::Threads
    } else {
        Asked::Balance
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::config::settings::{Balance, KeyEntry};
    use crate::keys::account::Account;
    use crate::keys::secret::{Identity, Salt, Secret};
    use crate::keys::set::{KeySet, Remembered, Rules};
    use crate::vendor::profile::Profile;

    const REFRESH: Duration = Duration::from_secs(300);

    /// Accounts that an earlier run has proven: all of them are due at the start.
    fn accounts(count: usize) -> KeySet {
        let salt = Salt([7; 32]);
        let entry = |n: usize| KeyEntry {
            name: format!("k{n}"),
            value: Secret::new(format!("value-{n}-0123456789abcdef")),
            pool: None,
            weight: 1,
            priority: 0,
            disabled: false,
            max_tasks: None,
            max_requests_per_second: None,
            billing: None,
        };
        let entries: Vec<_> = (0..count).map(entry).collect();
        let identity = |entry: &KeyEntry| Identity::of(&entry.value, &salt);
        let good_keys = entries.iter().map(identity).collect();
        let remembered = Remembered { salt, good_keys };
        let profile = Profile::builtin("2captcha").unwrap();
        let rules = Rules {
            pools: Vec::new(),
            rates: profile.limits,
            billing: profile.billing,
            balance: Balance {
                refresh: REFRESH,
                minimum_micro_usd: 10_000,
                low_micro_usd: 1_000_000,
            },
            keep: REFRESH,
            shared: false,
        };
        KeySet::default().next(&entries, &remembered, &rules, Instant::now(), || 0.5)
    }

    /// Seconds from the start at which each account is asked, over so many of them.
    async fn asked_within(seconds: u64, keys: &KeySet) -> Vec<(f64, Arc<Account>)> {
        let start = Instant::now();
        let mut asked = Vec::new();
        while start.elapsed() < Duration::from_secs(seconds) {
            let ask = |key: Arc<Key>| {
                let answered = Instant::now() + Duration::from_millis(10);
                key.account.refresh_asked(Instant::now());
                asked.push((start.elapsed().as_secs_f64(), Arc::clone(&key.account)));
                async move {
                    sleep_until(answered).await;
                    true
                }
            };
            let next = round(keys.keys(), REFRESH, ask).await;
            sleep_until(next).await;
        }
        asked
    }

    #[tokio::test(start_paused = true)]
    async fn questions_are_spread_over_the_time_and_every_account_has_its_turn() {
        let keys = accounts(600);
        let asked = asked_within(3600, &keys).await;
        for account in keys.accounts() {
            let of = asked
                .iter()
                .filter(|(_, other)| Arc::ptr_eq(other, account));
            let times: Vec<_> = of.map(|(at, _)| *at).collect();
            assert!(
                (11..=16).contains(&times.len()),
                "{}: {times:?}",
                account.name
            );
            assert!(times[0] < 160.0, "all are asked soon: {times:?}");
            for pair in times.windows(2).skip(1) {
                let pause = pair[1] - pair[0];
                assert!(
                    (269.0..345.0).contains(&pause),
                    "{}: {times:?}",
                    account.name
                );
            }
        }
        // Two a second would be even; the pace never lets more than four through.
        let mut seconds = vec![0; 3700];
        for (at, _) in &asked {
            seconds[*at as usize] += 1;
        }
        let most = seconds.iter().max();
        assert!(most <= Some(&5), "{most:?} in one second");
    }

    #[tokio::test(start_paused = true)]
    async fn thousands_of_accounts_are_all_asked_soon_as_well() {
        let keys = accounts(5000);
        let asked = asked_within(200, &keys).await;
        let names: HashSet<_> = asked.iter().map(|(_, account)| &account.name).collect();
        assert_eq!(names.len(), 5000);
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_the_calls_that_the_vendor_allows_are_left_to_polls() {
        let keys = accounts(1);
        let key = &keys.keys()[0];
        let mut asked = 0;
        while key.account.has_calls_to_spare(&key.limits, Instant::now()) {
            assert!(key.take_call(Instant::now()));
            asked += 1;
        }
        assert_eq!(asked, 600);
        assert!(due(keys.keys(), Instant::now()).is_empty());
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert_eq!(due(keys.keys(), Instant::now()).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_rest_or_are_called_bad_are_left_alone() {
        let keys = accounts(3);
        let rule = |code: &str| Profile::builtin("2captcha").unwrap().codes[code];
        let now = Instant::now();
        for (key, code) in keys
            .keys()
            .iter()
            .zip(["ERROR: 1005", "ERROR_KEY_DOES_NOT_EXIST"])
        {
            key.refused(code, rule(code), None, now);
        }
        let due = due(keys.keys(), now);
        let names: Vec<_> = due.iter().map(|(_, key)| &*key.name).collect();
        assert_eq!(names, ["k2"]);
    }

    #[test]
    fn few_accounts_are_asked_a_second_apart_and_many_within_half_the_time() {
        let five_minutes = Duration::from_secs(300);
        assert_eq!(pace(five_minutes, 0), SLOWEST_PACE);
        assert_eq!(pace(five_minutes, 3), SLOWEST_PACE);
        assert_eq!(pace(five_minutes, 10_000), Duration::from_millis(15));
        assert_eq!(pace(Duration::from_secs(1), 2), Duration::from_millis(250));
    }
}
