//! Keys change while their tasks run: every task is polled to its end by the account that took it.

use std::fs;
use std::time::Duration;

use sidekey::sandbox::{Dialect, SandboxConfig};

use crate::support::{World, key, keys, name, until, vendor, within};

const TASKS: usize = 20;
const REFUSE: &str = "poll.unknown_task = \"refuse\"";

#[tokio::test]
async fn tasks_outlive_a_new_value_under_their_keys_name_and_a_restart() {
    let mut world = World::start(slow(2), REFUSE).await;
    let ids = submit(&world).await;
    let new = key(9);
    world
        .sandbox
        .change_account(&name(1), |account| account.key.clone_from(&new))
        .unwrap();
    world
        .adopts(|| world.write_keys(&keys([(name(1), new), (name(2), key(2))])))
        .await;
    let (before, after) = ids.split_at(TASKS / 2);
    let described = world.api("/api/keys").await;
    let described = described["keys"].as_array().unwrap();
    let old = described.iter().find(|key| key["state"] == "draining");
    assert_eq!(old.unwrap()["why"], "old value, replaced");
    to_the_end(&world, before).await;
    assert!(
        world.sandbox.counts().unknown_key <= 1,
        "the old value was tried more than once"
    );
    world.stop().await;
    world.start_again().await;
    to_the_end(&world, after).await;
    // Reports come later still.
    for id in &ids {
        let target = format!("/res.php?key={{}}&action=reportbad&id={id}");
        assert_eq!(world.get(&target).await, "OK_REPORT_RECORDED");
    }
    assert_eq!(world.sandbox.counts().foreign, 0);
    world.end().await;
}

#[tokio::test]
async fn a_value_once_called_bad_is_not_tried_again_when_its_name_has_a_new_one() {
    // Bad keys rest for a moment only, so that the rests of a long task pass quickly.
    let config = format!(
        "{REFUSE}\npoll.pace = \"0s\"\nvendor.codes.ERROR_KEY_DOES_NOT_EXIST = {{ class = \"key-bad\", cooldown = \"1ms\" }}"
    );
    let world = World::start(vendor(Dialect::Captchaai, 1), &config).await;
    world.sandbox.set_solve_time(&name(1), 60_000).unwrap();
    let id = world.submit().await;
    world
        .sandbox
        .change_account(&name(1), |account| account.key = key(9))
        .unwrap();
    world
        .adopts(|| world.write_keys(&keys([(name(1), key(9))])))
        .await;
    for poll in 0..10 {
        assert_eq!(world.poll(&id).await, "CAPCHA_NOT_READY");
        let polls = world.sandbox.tasks()[0].polls;
        assert_eq!(polls, poll + 1, "a poll did not reach the account");
    }
    assert_eq!(world.sandbox.counts().unknown_key, 1);
    let described = world.api("/api/keys").await;
    let described = described["keys"].as_array().unwrap();
    let old = described.iter().find(|key| key["state"] == "draining");
    let next = &old.unwrap()["next_probe"];
    assert!(next.is_null(), "a probe that never comes is due at {next}");
    world.end().await;
}

#[tokio::test]
async fn a_key_that_left_the_file_is_polled_with_but_submits_nothing() {
    let world = World::start(slow(2), REFUSE).await;
    let ids = submit(&world).await;
    world.write_keys(&keys([(name(2), key(2))]));
    drains(&world, &ids, "draining").await;
    world.end().await;
}

#[tokio::test]
async fn a_key_that_the_file_disables_waits_for_nothing() {
    let world = World::start(slow(1), REFUSE).await;
    let text = keys([(name(1), key(1)), (name(2), key(2))]) + "disabled = true\n";
    world.adopts(|| world.write_keys(&text)).await;
    let described = world.api("/api/keys").await;
    let described = described["keys"].as_array().unwrap();
    let key = described.iter().find(|key| key["state"] == "disabled");
    let key = key.unwrap();
    assert_eq!(key["why"], "disabled = true in the keys file");
    for absent in ["until", "until_seconds", "next_probe"] {
        assert!(key[absent].is_null(), "{absent}: {key}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_disabled_key_is_polled_with_but_submits_nothing_also_after_a_restart() {
    let mut world = World::start(slow(2), REFUSE).await;
    let ids = submit(&world).await;
    let disabled = fs::read_to_string(world.keys_path()).unwrap();
    let disabled = disabled.replacen("[[key]]", "[[key]]\ndisabled = true", 1);
    world.write_keys(&disabled);
    let (before, after) = ids.split_at(TASKS / 2);
    drains(&world, before, "disabled").await;
    world.stop().await;
    world.start_again().await;
    drains(&world, after, "disabled").await;
    world.end().await;
}

#[tokio::test]
async fn a_key_disabled_by_hand_is_polled_with_but_submits_nothing_until_it_is_enabled() {
    let world = World::start(slow(2), REFUSE).await;
    let ids = submit(&world).await;
    let (status, told) = world.change("/api/keys/account-1/disable").await;
    assert_eq!(
        (status, told["key"]["why"].as_str()),
        (200, Some("disabled by hand"))
    );
    drains(&world, &ids, "disabled").await;
    let (status, told) = world.change("/api/keys/account-1/enable").await;
    assert_eq!(
        (status, told["key"]["state"].as_str()),
        (200, Some("healthy"))
    );
    let before = made(&world, 1);
    for _ in 0..4 {
        world.submit().await;
    }
    assert!(made(&world, 1) > before, "it is used again");
    world.end().await;
}

#[tokio::test]
async fn a_hand_disables_the_name_whatever_value_stands_under_it() {
    let world = World::start(vendor(Dialect::Captchaai, 2), REFUSE).await;
    world.change("/api/keys/account-1/disable").await;
    let new = key(9);
    world
        .sandbox
        .change_account(&name(1), |account| account.key.clone_from(&new))
        .unwrap();
    world.write_keys(&keys([(name(1), new), (name(2), key(2))]));
    assert_eq!(world.change("/api/reload").await.0, 200);
    assert_eq!(world.state_of(&name(1)).await.as_deref(), Some("disabled"));
    assert_eq!(world.change("/api/keys/account-1/enable").await.0, 200);
    until("it is probed", async || {
        world.state_of(&name(1)).await.as_deref() == Some("healthy")
    })
    .await;
    world.end().await;
}

/// Solves long enough for a key to change meanwhile.
fn slow(accounts: usize) -> SandboxConfig {
    let mut vendor = vendor(Dialect::Captchaai, accounts);
    for account in &mut vendor.accounts {
        account.solve_ms = 500;
    }
    vendor
}

/// Tasks on both accounts.
async fn submit(world: &World) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..TASKS {
        ids.push(world.submit().await);
    }
    assert_eq!(made(world, 1) as usize, TASKS / 2);
    ids
}

async fn drains(world: &World, ids: &[String], state: &str) {
    within(Duration::from_secs(10), "the key drains", async || {
        world.state_of(&name(1)).await.as_deref() == Some(state)
    })
    .await;
    let before = made(world, 1);
    for _ in 0..4 {
        world.submit().await;
    }
    assert_eq!(made(world, 1), before, "a submit went to a key that drains");
    to_the_end(world, ids).await;
    assert_eq!(world.sandbox.counts().foreign, 0);
    assert_eq!(world.sandbox.counts().unknown_key, 0);
}

async fn to_the_end(world: &World, ids: &[String]) {
    for id in ids {
        until("the task is solved", async || {
            let answer = world.poll(id).await;
            assert!(
                answer == "CAPCHA_NOT_READY" || answer == format!("OK|solved-{id}"),
                "{id}: {answer}"
            );
            answer != "CAPCHA_NOT_READY"
        })
        .await;
    }
}

fn made(world: &World, n: usize) -> u64 {
    world.sandbox.ledger().accounts[&name(n)].made
}
