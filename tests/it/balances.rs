//! Money: who has none gets no work, and who has more gets more of it.

use std::time::Duration;

use futures_util::future::join_all;
use sidekey::sandbox::{Dialect, Fault, FaultRule, SandboxConfig};
use tokio::time::Instant;

use crate::support::{TASK, World, name, until, vendor, within};

const DOLLAR: i64 = 1_000_000;
const OFTEN: &str = "balance.refresh = \"1s\"";

#[tokio::test]
async fn a_key_below_the_minimum_gets_no_submits_until_it_is_refilled() {
    let world = World::start(prepaid(2), OFTEN).await;
    world.sandbox.set_balance(&name(1), 9_999).unwrap();
    until("the fall is noticed", async || {
        world.state_of(&name(1)).await.as_deref() == Some("empty")
    })
    .await;
    let keys = world.api("/api/keys").await;
    let why = keys["keys"][0]["why"].as_str().unwrap();
    assert_eq!(why, "balance 0.009999 is below balance.minimum");
    for _ in 0..6 {
        world.submit().await;
    }
    assert_eq!([took(&world, 1), took(&world, 2)], [0, 6]);

    world.sandbox.set_balance(&name(2), 0).unwrap();
    let submit = format!("/in.php?key={{}}&{TASK}");
    until("all are empty", async || {
        world.get(&submit).await == "ERROR_ZERO_BALANCE"
    })
    .await;
    let before = world.sandbox.tasks().len();
    assert_eq!(world.get(&submit).await, "ERROR_ZERO_BALANCE");
    assert_eq!(world.sandbox.tasks().len(), before);

    world.sandbox.set_balance(&name(1), DOLLAR).unwrap();
    until("the refill is noticed", async || {
        world.get(&submit).await.starts_with("OK|")
    })
    .await;
    assert_eq!(world.state_of(&name(1)).await.as_deref(), Some("healthy"));
    assert!(took(&world, 1) > 0);
    let series = format!("sidekey_key_balance_usd{{key={:?}}}", name(1));
    assert!(world.metric(&series).await > 0.9);
    world.end().await;
}

/// Each would otherwise wait for all that came before it, one round of questions each.
#[tokio::test]
async fn who_waited_for_a_round_of_questions_in_vain_does_not_wait_for_one_more() {
    const SLOW: u64 = 1_000;
    let mut world = World::start(prepaid(1), "balance.refresh = \"1d\"").await;
    world.stop().await;
    let rule = FaultRule::new(Fault::Empty)
        .endpoint("res.php")
        .delay_ms(SLOW);
    world.sandbox.set_fault(rule).unwrap();
    world.start_again().await;
    let began = Instant::now();
    let ask = |_| world.get("/res.php?key={}&action=getbalance");
    for answer in join_all((0..10).map(ask)).await {
        assert_eq!(answer, "ERROR_SERVER_ERROR");
    }
    assert!(began.elapsed() < Duration::from_millis(5 * SLOW));
    world.sandbox.clear_faults();
    world.end().await;
}

#[tokio::test]
async fn the_strategy_balance_follows_the_money() {
    let config = format!("{OFTEN}\npool.default.strategy = \"balance\"");
    let mut vendor = prepaid(2);
    vendor.accounts[0].balance_micros = DOLLAR;
    let world = World::start(vendor, &config).await;
    submits(&world, 44).await;
    let (poor, rich) = (took(&world, 1), took(&world, 2));
    assert!(
        poor <= 8 && rich >= 36,
        "1 dollar of 11 got {poor}, 10 got {rich}"
    );

    world.sandbox.set_balance(&name(1), 100 * DOLLAR).unwrap();
    until("the refill is noticed", async || {
        world.api("/api/keys").await["keys"][0]["balance"].as_f64() > Some(50.0)
    })
    .await;
    // The mean of all is looked at only now and then.
    let mut before = (rich, poor);
    until("100 dollars of 110 get their share", async || {
        submits(&world, 44).await;
        let now = (took(&world, 2), took(&world, 1));
        let (poor, rich) = (now.0 - before.0, now.1 - before.1);
        before = now;
        poor <= 8 && rich >= 36
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn between_refreshes_clients_hear_what_was_settled_at_the_vendors_own_price() {
    let world = World::start(prepaid(1), "balance.refresh = \"1h\"").await;
    let balance = "/res.php?key={}&action=getbalance";
    assert_eq!(world.get(balance).await, "10.00");
    let asked = world.sandbox.counts().calls;
    let first = world.submit().await;
    let answer = world
        .get(&format!("/res.php?key={{}}&action=get2&id={first}"))
        .await;
    assert!(answer.ends_with("|0.00085"), "{answer}");
    assert_eq!(world.get(balance).await, "9.99915");
    // A plain poll does not say the price: the configured one is taken.
    let second = world.submit().await;
    assert!(world.poll(&second).await.starts_with("OK|"));
    assert_eq!(world.get(balance).await, "9.99615");
    assert_eq!(world.sandbox.counts().calls, asked + 4);
    let key = &world.api("/api/keys").await["keys"][0];
    assert_eq!(key["balance"], 10.0);
    assert!(key["burn_per_hour"].as_f64() > Some(0.0), "{key}");
    assert!(key["hours_left"].as_f64() > Some(0.0), "{key}");
    world.end().await;
}

#[tokio::test]
async fn a_thread_plan_is_asked_for_its_threads_and_not_judged_by_its_balance() {
    let mut plan = vendor(Dialect::Captchaai, 1);
    plan.accounts[0].threads = Some(2);
    plan.accounts[0].balance_micros = 0;
    let world = World::start(plan, OFTEN).await;
    world.submit().await;
    world.sandbox.set_threads(&name(1), Some(7)).unwrap();
    until("the bigger plan is noticed", async || {
        world.api("/api/keys").await["keys"][0]["slots"]["max"] == 7
    })
    .await;
    world.sandbox.set_threads(&name(1), Some(0)).unwrap();
    until("the end of the plan is noticed", async || {
        world.state_of(&name(1)).await.as_deref() == Some("empty")
    })
    .await;
    let asked = world.sandbox.record();
    let balances = asked
        .calls
        .iter()
        .filter(|call| call.action == "getbalance");
    assert_eq!(balances.count(), 0);
    world.end().await;
}

/// Known from an earlier run, so that no probe brings the first balance.
#[tokio::test]
async fn after_a_restart_the_balance_is_known_soon_and_never_said_to_be_0() {
    let mut world = World::start(prepaid(2), "").await;
    world.stop().await;
    world.start_again().await;
    let said = world.get("/res.php?key={}&action=getbalance").await;
    assert_eq!(said, "20.00");
    within(Duration::from_secs(10), "both are known", async || {
        let keys = world.api("/api/keys").await;
        let keys = keys["keys"].as_array().unwrap();
        keys.iter().all(|key| key["balance"] == 10.0)
    })
    .await;
    world.end().await;
}

/// A thread plan is asked for its threads, so that nobody knows its balance before a client asks.
#[tokio::test]
async fn clients_who_ask_while_nobody_answers_cost_one_call_for_all() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    let status = Fault::Status {
        status: 500,
        retry_after: None,
    };
    world.sandbox.set_fault(FaultRule::new(status)).unwrap();
    let began = Instant::now();
    let balance = "/res.php?key={}&action=getbalance";
    let answers = join_all((0..20).map(|_| world.get(balance))).await;
    for answer in answers {
        assert_eq!(answer, "ERROR_SERVER_ERROR");
    }
    let asked = world.sandbox.record().calls;
    let asked = asked
        .iter()
        .filter(|call| call.action == "getbalance")
        .count();
    assert!(
        asked as u64 <= 1 + began.elapsed().as_secs() / 2,
        "{asked} calls"
    );
    world.sandbox.clear_faults();
    until("the balance is heard", async || {
        world.get(balance).await == "10.00"
    })
    .await;
    world.end().await;
}

/// Ten dollars on each account, and 0.00085 a solve.
fn prepaid(accounts: usize) -> SandboxConfig {
    let mut config = vendor(Dialect::Twocaptcha, accounts);
    for account in &mut config.accounts {
        account.balance_micros = 10 * DOLLAR;
        account.price_micros = 850;
    }
    config
}

async fn submits(world: &World, count: usize) {
    for _ in 0..count {
        world.submit().await;
    }
}

fn took(world: &World, account: usize) -> usize {
    let tasks = world.sandbox.tasks();
    let of = |task: &&sidekey::sandbox::LedgerTask| task.account == name(account);
    tasks.iter().filter(of).count()
}
