//! A balance that falls is told to a webhook: once, and again after a refill, whatever the receiver is like.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use sidekey::background::Background;
use sidekey::config::environment::Environment;
use sidekey::sandbox::Dialect;
use tokio::time::Instant;

use crate::receiver::{Mood, Receiver};
use crate::support::{TASK, World, name, until, vendor};

#[tokio::test]
async fn a_low_balance_is_told_once_and_again_after_a_refill() {
    let receiving = Background::new();
    let receiver = Receiver::start(Mood::Fails, &receiving).await;
    let url = format!("http://{}/hook", receiver.address);
    let mut config = vendor(Dialect::Twocaptcha, 1);
    config.accounts[0].balance_micros = 520_000;
    let lines = format!("alerts.webhook = {url:?}\nbalance.refresh = \"1s\"");
    let world = World::start(config, &lines).await;
    // Money that is gone without a task is another cause, and told as well.
    let lows = || -> Vec<Value> {
        let bodies = receiver.bodies().into_iter();
        bodies
            .filter(|told| told["cause"] == "balance_low")
            .collect()
    };
    let count = || lows().len();
    let active = async || {
        world
            .metric("sidekey_alerts_active{cause=\"balance_low\"}")
            .await
    };

    let id = world.submit().await;
    until("somebody is told", async || {
        // The receiver is down at first; no client notices.
        let began = Instant::now();
        world.poll(&id).await;
        assert!(began.elapsed() < Duration::from_secs(1));
        if receiver.tries() > 1 {
            receiver.becomes(Mood::Takes);
        }
        count() == 1
    })
    .await;
    world.sandbox.set_balance(&name(1), 5_000_000).unwrap();
    until("the refill is seen", async || {
        world.get("/res.php?key={}&action=getbalance").await;
        active().await == 0.0
    })
    .await;
    assert_eq!(count(), 1);
    world.sandbox.set_balance(&name(1), 990_000).unwrap();
    until("somebody is told again", async || {
        world.get("/res.php?key={}&action=getbalance").await;
        count() == 2
    })
    .await;
    let told = world
        .metric("sidekey_alerts_total{cause=\"balance_low\"}")
        .await;
    assert_eq!(told, 2.0);
    assert_eq!(active().await, 1.0);
    let first = &lows()[0];
    assert_eq!(first["cause"], "balance_low");
    assert_eq!(first["key"], name(1));
    let text = first["text"].as_str().unwrap();
    assert!(text.starts_with("sidekey: account-1 has $0."), "{text}");
    world.end().await;
    receiving.ask_to_stop();
}

/// `DOWN_SECONDS=60 cargo test --test it a_webhook_that_is_down -- --nocapture` is the long form.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "what was measured")]
async fn a_webhook_that_is_down_gets_every_alert_once_afterwards_and_requests_are_not_slowed() {
    let environment = Environment::of_this_process();
    let down = environment.get("DOWN_SECONDS");
    let down = Duration::from_secs(down.map_or(3, |seconds| seconds.parse().unwrap()));
    let receiving = Background::new();
    let receiver = Receiver::start(Mood::Gone, &receiving).await;
    let url = format!("http://{}/hook", receiver.address);
    let poor = |balance_micros| {
        let mut config = vendor(Dialect::Twocaptcha, 5);
        for account in &mut config.accounts {
            account.balance_micros = balance_micros;
        }
        config
    };
    // Beside it, in the same seconds: one that has nothing to tell.
    let calm = World::start(poor(5_000_000), "").await;
    let world = World::start(poor(500_000), &format!("alerts.webhook = {url:?}")).await;
    let (of_calm, id) = (calm.submit().await, world.submit().await);

    let began = Instant::now();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let moods = [Mood::Gone, Mood::Fails, Mood::Hangs];
    for (mood, part) in moods.into_iter().zip(1..) {
        receiver.becomes(mood);
        while began.elapsed() < down * part / 3 {
            without.push(took(calm.poll(&of_calm)).await);
            with.push(took(world.poll(&id)).await);
        }
    }
    assert!(receiver.tries() > 0);
    assert!(receiver.taken().is_empty());
    receiver.becomes(Mood::Takes);
    let told = || -> BTreeSet<String> {
        let bodies = receiver.bodies().into_iter();
        let low = bodies.filter(|told| told["cause"] == "balance_low");
        low.map(|told| told["key"].as_str().unwrap().to_owned())
            .collect()
    };
    until("all are told", async || told().len() == 5).await;
    // Alerts go out one after the other: what came twice has come before the next one.
    world.sandbox.remove_account(&name(1)).unwrap();
    until("the last is told", async || {
        world.get(&format!("/in.php?key={{}}&{TASK}")).await;
        let bodies = receiver.bodies();
        bodies.iter().any(|told| told["cause"] == "key_revoked")
    })
    .await;
    let bodies = receiver.bodies();
    let low = bodies.iter().filter(|told| told["cause"] == "balance_low");
    assert_eq!(low.count(), 5);
    assert_eq!(world.metric("sidekey_alerts_lost_total{").await, 0.0);

    let [without, with] = [without, with].map(Times::of);
    println!(
        "a poll without alerts took {without:?}, with a webhook that was down for {down:?} {with:?}"
    );
    // Half as much again, and a millisecond for a machine that has other things to do.
    assert!(with.median < without.median * 3 / 2 + Duration::from_millis(1));
    assert!(with.p99 < without.p99 * 2 + Duration::from_millis(20));
    calm.end().await;
    world.end().await;
    receiving.ask_to_stop();
}

async fn took(call: impl Future) -> Duration {
    let began = Instant::now();
    call.await;
    began.elapsed()
}

#[derive(Debug)]
#[expect(dead_code, reason = "the count is printed")]
struct Times {
    calls: usize,
    median: Duration,
    p99: Duration,
}

impl Times {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort();
        Self {
            calls: all.len(),
            median: all[all.len() / 2],
            p99: all[all.len() * 99 / 100],
        }
    }
}
