//! Slots, from the submit to the final answer: no key is sent more than it takes, and submits wait for room.

use std::time::Duration;

use sidekey::sandbox::{Dialect, Fault, FaultRule, SandboxConfig};
use tokio::time::Instant;

use crate::support::{TASK, World, key, name, until, vendor};

#[tokio::test]
async fn one_key_without_a_slot_for_a_second_serves_the_client_within_wait() {
    let world = World::start(vendor(Dialect::Twocaptcha, 1), "submit.wait = \"3s\"").await;
    let no_slot = Fault::Code {
        code: "ERROR_NO_SLOT_AVAILABLE".into(),
    };
    let rule = FaultRule::new(no_slot).endpoint("in.php");
    world.sandbox.set_fault(rule).unwrap();
    let sandbox = world.sandbox.clone();
    world.background().spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sandbox.clear_faults();
    });
    let began = Instant::now();
    world.submit().await;
    assert!(began.elapsed() < Duration::from_secs(4));
    world.end().await;
}

#[tokio::test]
async fn a_full_account_is_not_asked_and_its_clients_wait_for_a_task_to_end() {
    let world = World::start(plan(1), "submit.wait = \"5s\"").await;
    until("the limit is learnt", async || {
        slots(&world).await == (0, 1)
    })
    .await;
    let first = world.submit().await;
    assert_eq!(slots(&world).await, (1, 1));
    let submits = async { world.submit().await };
    let end = async {
        until("the second waits", async || {
            world.metric("sidekey_waiting_submits").await > 0.0
        })
        .await;
        until("the first is solved", async || {
            world.poll(&first).await.starts_with("OK|")
        })
        .await;
    };
    let (second, ()) = tokio::join!(submits, end);
    assert_ne!(first, second);
    assert_eq!(slots(&world).await, (1, 1));
    world.end().await;
}

#[tokio::test]
async fn when_every_slot_stays_taken_clients_hear_the_vendors_own_words() {
    let mut world = World::start(plan(60_000), "submit.wait = \"100ms\"").await;
    until("the limit is learnt", async || {
        slots(&world).await == (0, 1)
    })
    .await;
    let id = world.submit().await;
    for _ in 0..2 {
        let refused = world.get(&format!("/in.php?key={{}}&{TASK}")).await;
        assert_eq!(refused, "ERROR_NO_SLOT_AVAILABLE");
        let refused = world.get(&format!("/in.php?key={{}}&json=1&{TASK}")).await;
        assert!(refused.contains("\"ERROR_ZERO_BALANCE\""), "{refused}");
        let threads = world.get("/res.php?key={}&action=threadsinfo&json=1").await;
        assert!(threads.contains("\"working_threads\":\"1\""), "{threads}");
        // The task of the last run holds its slot again.
        world.stop().await;
        world.start_again().await;
        until("the limit is learnt", async || {
            slots(&world).await == (1, 1)
        })
        .await;
    }
    assert_eq!(world.poll(&id).await, "CAPCHA_NOT_READY");
    world.end().await;
}

#[tokio::test]
async fn the_file_limits_an_account_and_the_rates_of_a_key() {
    let mut world = World::prepare(vendor(Dialect::Twocaptcha, 1), "submit.wait = \"50ms\"").await;
    let (name, value) = (name(1), key(1));
    world.write_keys(&format!(
        "[[key]]\nname = {name:?}\nvalue = {value:?}\nmax_tasks = 2\nmax_requests_per_second = 3\n"
    ));
    world.start_again().await;
    let submit = format!("/in.php?key={{}}&{TASK}");
    for _ in 0..2 {
        world.submit().await;
    }
    assert_eq!(world.get(&submit).await, "ERROR_NO_SLOT_AVAILABLE");
    assert_eq!(world.sandbox.tasks().len(), 2);
    world.end().await;
}

/// One account with one thread.
fn plan(solve_ms: u64) -> SandboxConfig {
    let mut config = vendor(Dialect::Captchaai, 1);
    for account in &mut config.accounts {
        account.threads = Some(1);
        account.solve_ms = solve_ms;
    }
    config
}

/// Used and max, as `/api/keys` says.
async fn slots(world: &World) -> (u64, u64) {
    let all = world.api("/api/keys").await;
    let slots = &all["keys"][0]["slots"];
    (
        slots["used"].as_u64().unwrap(),
        slots["max"].as_u64().unwrap_or_default(),
    )
}
