//! Vendors ban an address at the fifth call with a bad key, so Sidekey makes three in ten minutes, whatever happens.

use futures_util::future::join_all;
use serde_json::Value;
use sidekey::sandbox::{AccountConfig, Dialect, SandboxConfig};

use crate::support::{TASK, World, key, keys, keys_of_which_live, name, until, vendor};

/// What 2captcha does.
const BAN_AFTER: u32 = 5;
const DEAD: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_dead_keys_costs_three_bad_answers_also_under_load_and_over_restarts() {
    let mut world = World::prepare(banning(1), "submit.wait = \"200ms\"").await;
    world.write_keys(&dead());
    for _ in 0..3 {
        world.start_again().await;
        join_all((0..30).map(|n| call(&world, n))).await;
        assert!(
            world.sandbox.counts().unknown_key <= 3,
            "{:?}",
            world.sandbox.counts()
        );
        world.stop().await;
    }
    assert_eq!(world.sandbox.counts().unknown_key, 3);
    world.start_again().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_keys_work_on_beside_dead_ones() {
    let world = World::start(banning(2), "poll.unknown_task = \"refuse\"").await;
    // Proven, so that they need no trial any more.
    assert_eq!(
        world.get("/res.php?key={}&action=getbalance").await,
        "20.00"
    );
    world.write_keys(&(keys([(name(1), key(1)), (name(2), key(2))]) + &dead()));
    until("the dead keys are adopted", async || {
        world.state_of("dead-1").await.is_some()
    })
    .await;
    let answers = join_all((0..60).map(|n| call(&world, n))).await;
    for answer in answers {
        assert!(!answer.starts_with("ERROR"), "{answer}");
    }
    assert!(world.sandbox.counts().unknown_key <= 3);
    world.end().await;
}

#[tokio::test]
async fn good_keys_among_dead_ones_serve_from_the_first_submit() {
    let (accounts, keys) = keys_of_which_live(12, &[2, 4]);
    let vendor = SandboxConfig {
        accounts,
        ban_after: BAN_AFTER,
        ..vendor(Dialect::Twocaptcha, 0)
    };
    let mut world = World::prepare(vendor, "submit.wait = \"1s\"").await;
    world.write_keys(&keys);
    for _ in 0..2 {
        world.start_again().await;
        for _ in 0..5 {
            world.submit().await;
        }
        let counts = world.sandbox.counts();
        assert!(counts.unknown_key <= 3, "{counts:?}");
        assert!(counts.violations.is_empty(), "{counts:?}");
        world.stop().await;
    }
    world.start_again().await;
    world.end().await;
}

/// A store that stands still holds the submit between the choice of its key and its first byte.
#[tokio::test]
async fn a_submit_whose_key_is_revoked_before_it_was_sent_is_not_sent() {
    let world = World::start(vendor(Dialect::Twocaptcha, 1), "submit.wait = \"2s\"").await;
    let id = world.submit().await;
    let path = world.place.path().join("sidekey.db");
    let operator = rusqlite::Connection::open(path).unwrap();
    let revoked = async {
        operator.execute_batch("BEGIN IMMEDIATE").unwrap();
        let submit = async { world.get(&format!("/in.php?key={{}}&{TASK}")).await };
        let revoke = async {
            until("the submit has its key", async || {
                let keys = world.api("/api/keys").await;
                keys["keys"][0]["slots"]["used"] == 2
            })
            .await;
            world.sandbox.remove_account(&name(1)).unwrap();
            world.poll(&id).await;
            until("the key is revoked", async || {
                world.state_of(&name(1)).await.as_deref() == Some("revoked")
            })
            .await;
        };
        let (answer, ()) = tokio::join!(submit, revoke);
        answer
    };
    assert_eq!(revoked.await, "ERROR_KEY_DOES_NOT_EXIST");
    operator.execute_batch("ROLLBACK").unwrap();
    let sent = world.sandbox.counts().endpoints["in.php"];
    assert_eq!(sent, 1, "it was sent with a key that was known to be bad");
    world.end().await;
}

/// What was proven is trusted at the next start, and everybody asks at once: clients, refresher and prober.
#[tokio::test]
async fn accounts_that_were_all_closed_while_we_were_down_cost_no_ban() {
    for clients in [0, 8] {
        let vendor = SandboxConfig {
            ban_after: BAN_AFTER,
            ..vendor(Dialect::Captchaai, DEAD)
        };
        let mut world = World::start(vendor, "").await;
        until("all are proven", async || {
            keys_that(&world, |key| key["proven"] == true).await == DEAD
        })
        .await;
        world.stop().await;
        for n in 1..=DEAD {
            world.sandbox.remove_account(&name(n)).unwrap();
        }
        world.start_again().await;
        let balance = |_| world.get("/res.php?key={}&action=getbalance");
        for answer in join_all((0..clients).map(balance)).await {
            assert_eq!(answer, "ERROR_KEY_DOES_NOT_EXIST");
        }
        until("the next probe is held up", async || {
            let held_up = |key: &Value| key["next_probe_seconds"].as_f64() > Some(60.0);
            keys_that(&world, held_up).await > 0
                && keys_that(&world, |key| key["state"] == "suspect" && !held_up(key)).await == 0
        })
        .await;
        let counts = world.sandbox.counts();
        assert!(counts.violations.is_empty(), "{clients}: {counts:?}");
        world.end().await;
    }
}

/// How many.
async fn keys_that(world: &World, holds: impl Fn(&Value) -> bool) -> usize {
    let keys = world.api("/api/keys").await;
    let keys = keys["keys"].as_array().unwrap();
    keys.iter().filter(|key| holds(key)).count()
}

/// Submits and the account calls that clients start with, as they come.
async fn call(world: &World, n: usize) -> String {
    match n % 3 {
        0 => world.get("/res.php?key={}&action=getbalance").await,
        _ => world.get(&format!("/in.php?key={{}}&{TASK}")).await,
    }
}

fn banning(accounts: usize) -> SandboxConfig {
    SandboxConfig {
        ban_after: BAN_AFTER,
        accounts: (1..=accounts)
            .map(|n| AccountConfig::new(name(n), key(n)))
            .collect(),
        ..vendor(Dialect::Twocaptcha, 0)
    }
}

fn dead() -> String {
    keys((1..=DEAD).map(|n| (format!("dead-{n}"), key(100 + n))))
}
