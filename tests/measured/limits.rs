//! What vendors let one account call: a load that breaks it without Sidekey breaks nothing through it.

use std::net::SocketAddr;
use std::time::Duration;

use sidekey::sandbox::{Counts, Dialect, Fault, FaultRule, SandboxConfig};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::http::Connection;
use crate::support::{PLACEHOLDER, TASK, World, key, name, vendor};

const ACCOUNTS: usize = 2;
/// On each account, where 60 in 3 s are allowed.
const SUBMITS: usize = 80;
/// On each account, where 20 a task and 1,200 beside are allowed.
const POLLS: usize = 3000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_2captcha_hold_for_every_key() {
    let _alone = crate::alone().await;
    // The profile's own: worlds that do not speak of limits have none. Without `ids=`, since polls that travel together come
    // nowhere near.
    let config = "# vendor.limits are as shipped\nvendor.takes.ids = false\nsubmit.wait = \"10s\"\npoll.pace = \"0s\"";
    let world = World::start(limited(), config).await;
    let (served, not_ready) = burst(world.http(), &[PLACEHOLDER.to_owned()]).await;
    let counts = world.sandbox.counts();
    assert!(counts.violations.is_empty(), "{counts:?}");
    assert_eq!(served, ACCOUNTS * SUBMITS);
    assert_eq!(not_ready, ACCOUNTS * POLLS);
    assert!(counts.endpoints["res.php"] > 2000, "{counts:?}");
    world.end().await;
}

/// The negative control.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_sidekey_the_same_load_breaks_the_limits_of_2captcha() {
    let _alone = crate::alone().await;
    let world = World::start(limited(), "").await;
    let (served, not_ready) = burst(world.sandbox.address(), &keys()).await;
    let broken = world.sandbox.counts().violations;
    assert!(broken["MAX_USER_TURN"] >= ACCOUNTS as u64, "{broken:?}");
    assert!(broken["ERROR: 1005"] >= ACCOUNTS as u64, "{broken:?}");
    assert!(served < ACCOUNTS * SUBMITS);
    assert!(not_ready < ACCOUNTS * POLLS);
    world.end().await;
}

/// A plan's threads, and the requests a second that an operator was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_threads_of_captchaai_and_a_rate_hold_for_every_key() {
    let _alone = crate::alone().await;
    let config = "submit.wait = \"15s\"\npoll.pace = \"200ms\"";
    let mut world = World::prepare(plans(), config).await;
    let entry = |n| {
        let (name, value) = (name(n), key(n));
        format!(
            "[[key]]\nname = {name:?}\nvalue = {value:?}\nmax_requests_per_second = {A_SECOND}\n"
        )
    };
    world.write_keys(&(1..=ACCOUNTS).map(entry).collect::<String>());
    world.start_again().await;
    world.running().server.prober.has_learnt().await;
    solve_all(world.http(), &[PLACEHOLDER.to_owned()]).await;
    let counts = world.sandbox.counts();
    assert_eq!(broken_plans(&counts), (0, 0), "{counts:?}");
    assert_eq!(world.sandbox.tasks().len(), SOLVES);
    world.end().await;
}

/// The negative control.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_sidekey_the_same_load_breaks_threads_and_rate() {
    let _alone = crate::alone().await;
    let world = World::start(plans(), "").await;
    solve_all(world.sandbox.address(), &keys()).await;
    let (refused, too_much) = broken_plans(&world.sandbox.counts());
    assert!(refused > 0 && too_much > 0, "{refused} {too_much}");
    world.end().await;
}

#[tokio::test]
async fn a_429_rests_its_key_for_as_long_as_it_says() {
    let _alone = crate::alone().await;
    let world = World::start(vendor(Dialect::Captchaai, 1), "submit.wait = \"5s\"").await;
    let too_much = Fault::Status {
        status: 429,
        retry_after: Some(2),
    };
    let rule = FaultRule::new(too_much).endpoint("in.php").times(1);
    world.sandbox.set_fault(rule).unwrap();
    world.submit().await;
    let calls = world.sandbox.record().calls;
    let submits = calls.iter().filter(|call| call.endpoint == "in.php");
    let submits: Vec<u64> = submits.map(|call| call.at_ms).collect();
    assert_eq!(submits.len(), 2);
    assert!(submits[1] - submits[0] >= 2000, "{submits:?}");
    world.end().await;
}

#[tokio::test]
async fn a_poll_over_our_own_limit_is_not_ready_and_no_trouble() {
    let _alone = crate::alone().await;
    let config = "vendor.limits.polls = 3\nvendor.limits.polls_per_task = 0\nvendor.limits.submits = 0\n\
                  vendor.takes.ids = false\npoll.pace = \"0s\"\npoll.hide_outage = \"0s\"";
    let world = World::start(vendor(Dialect::Twocaptcha, 1), config).await;
    world.sandbox.set_solve_time(&name(1), 3_600_000).unwrap();
    let id = world.submit().await;
    let target = format!("/res.php?key={{}}&action=get&ids={id},{id}");
    let calls = async || {
        for _ in 0..10 {
            assert_eq!(world.poll(&id).await, "CAPCHA_NOT_READY");
            assert_eq!(
                world.get(&target).await,
                "CAPCHA_NOT_READY|CAPCHA_NOT_READY"
            );
        }
        world.sandbox.counts().calls
    };
    let most = calls().await;
    assert_eq!(calls().await, most, "the limit is not reached");
    world.end().await;
}

fn limited() -> SandboxConfig {
    let mut config = vendor(Dialect::Twocaptcha, ACCOUNTS).with_documented_limits();
    for account in &mut config.accounts {
        account.solve_ms = 3_600_000;
    }
    config
}

fn keys() -> Vec<String> {
    (1..=ACCOUNTS).map(key).collect()
}

/// All submits at once, then all polls of what was made, as fast as they go. How many were served, how many heard of
/// their task.
async fn burst(address: SocketAddr, keys: &[String]) -> (usize, usize) {
    let submits = ACCOUNTS * SUBMITS;
    let key_of = |n: usize| keys[n % keys.len()].clone();
    let mut submitting = JoinSet::new();
    for n in 0..submits {
        let target = format!("/in.php?key={}&{TASK}", key_of(n));
        submitting.spawn(async move {
            let mut connection = Connection::open(address).await.unwrap();
            let answer = connection.get(&target).await.unwrap().body;
            Some((n, answer.strip_prefix("OK|")?.to_owned()))
        });
    }
    let made = submitting.join_all().await;
    let made: Vec<(usize, String)> = made.into_iter().flatten().collect();
    let mut polling = JoinSet::new();
    for start in 0..20 {
        let mine = made.iter().skip(start).step_by(20);
        let targets: Vec<String> = mine
            .map(|(n, id)| format!("/res.php?key={}&action=get&id={id}", key_of(*n)))
            .collect();
        let polls = ACCOUNTS * POLLS / 20;
        polling.spawn(async move {
            let mut connection = Connection::open(address).await.unwrap();
            let mut not_ready = 0;
            for target in targets.iter().cycle().take(polls) {
                let answer = connection.get(target).await.unwrap().body;
                not_ready += usize::from(answer == "CAPCHA_NOT_READY");
            }
            not_ready
        });
    }
    let not_ready = polling.join_all().await.into_iter().sum();
    (made.len(), not_ready)
}

const SOLVES: usize = 40;
const THREADS: u32 = 3;
const A_SECOND: u32 = 30;

fn plans() -> SandboxConfig {
    let mut config = SandboxConfig {
        requests_per_second: A_SECOND,
        ..vendor(Dialect::Captchaai, ACCOUNTS).with_documented_limits()
    };
    for account in &mut config.accounts {
        account.threads = Some(THREADS);
        account.solve_ms = 300;
    }
    config
}

/// Each client solves one task, and submits again when it is refused.
async fn solve_all(address: SocketAddr, keys: &[String]) {
    let mut clients = JoinSet::new();
    for n in 0..SOLVES {
        let key = keys[n % keys.len()].clone();
        clients.spawn(async move {
            let mut connection = Connection::open(address).await.unwrap();
            let submit = format!("/in.php?key={key}&{TASK}");
            let id = loop {
                let answer = connection.get(&submit).await.unwrap().body;
                match answer.strip_prefix("OK|") {
                    Some(id) => break id.to_owned(),
                    None => sleep(Duration::from_millis(100)).await,
                }
            };
            let poll = format!("/res.php?key={key}&action=get&id={id}");
            while connection.get(&poll).await.unwrap().body != format!("OK|solved-{id}") {
                sleep(Duration::from_millis(100)).await;
            }
        });
    }
    clients.join_all().await;
}

/// Submits that no thread was free for, and calls that came too fast.
fn broken_plans(counts: &Counts) -> (u64, u64) {
    let refused = counts.outcomes.get("ERROR_ZERO_BALANCE");
    let too_much = counts.violations.get("ERROR_TOO_MUCH_REQUESTS");
    (
        refused.copied().unwrap_or_default(),
        too_much.copied().unwrap_or_default(),
    )
}
