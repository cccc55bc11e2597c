//! More than one pool: which keys serve whom.

use sidekey::sandbox::{Dialect, Fault, FaultRule};

use crate::support::team::tenants;
use crate::support::{TASK, World, key, name, until, vendor};

#[tokio::test]
async fn a_tenant_is_served_by_its_pool_and_by_no_other() {
    let world = start(
        &["", "pool = \"batch\"", "pool = \"batch\""],
        "",
        &[
            ("alice", ""),
            ("bob", "pool = \"batch\""),
            ("carol", "pool = \"none\""),
        ],
    )
    .await;
    submits(&world, "alice", 4).await;
    assert_eq!(took(&world), [4, 0, 0]);
    submits(&world, "bob", 4).await;
    assert_eq!(took(&world), [4, 2, 2]);
    assert_eq!(refused(&world, "carol").await, "ERROR_KEY_DOES_NOT_EXIST");
    world.end().await;
}

#[tokio::test]
async fn each_pool_has_a_strategy_of_its_own() {
    let world = start(
        &[
            "max_tasks = 1",
            "max_tasks = 7",
            "pool = \"even\"\nmax_tasks = 4",
            "pool = \"even\"\nmax_tasks = 8",
        ],
        "pool.default.strategy = \"least-busy\"\npool.even.strategy = \"round-robin\"",
        &[("alice", ""), ("bob", "pool = \"even\"")],
    )
    .await;
    for account in 1..=4 {
        world
            .sandbox
            .set_solve_time(&name(account), 60_000)
            .unwrap();
    }
    submits(&world, "alice", 8).await;
    submits(&world, "bob", 6).await;
    let [one, seven, four, eight] = took(&world).try_into().unwrap();
    assert_eq!((one, seven), (1, 7));
    assert_eq!((four, eight), (3, 3));
    world.end().await;
}

#[tokio::test]
async fn a_key_of_a_tenants_own_serves_nobody_else() {
    let world = start(
        &["", ""],
        "",
        &[("alice", "keys = [\"account-2\"]"), ("bob", "")],
    )
    .await;
    submits(&world, "bob", 4).await;
    assert_eq!(took(&world), [4, 0]);
    submits(&world, "alice", 3).await;
    assert_eq!(took(&world), [4, 3]);
    world.end().await;
}

#[tokio::test]
async fn the_fallback_serves_who_has_no_key_until_it_has_one() {
    let world = start(
        &["", ""],
        "",
        &[
            ("alice", "keys = [\"later\"]\nfallback_pool = \"default\""),
            ("bob", "keys = [\"later\"]"),
        ],
    )
    .await;
    submits(&world, "alice", 2).await;
    assert_eq!(took(&world), [1, 1]);
    assert_eq!(refused(&world, "bob").await, "ERROR_KEY_DOES_NOT_EXIST");
    let text = keys_file(&["", ""]).replace(&name(2), "later");
    world.adopts(|| world.write_keys(&text)).await;
    submits(&world, "alice", 2).await;
    submits(&world, "bob", 2).await;
    assert_eq!(took(&world), [1, 5]);
    world.end().await;
}

#[tokio::test]
async fn who_is_out_of_money_falls_back_only_where_it_says_so() {
    let world = start(
        &["", ""],
        "balance.refresh = \"1s\"",
        &[
            (
                "alice",
                "keys = [\"account-1\"]\nfallback_pool = \"default\"\nfallback_when_empty = true",
            ),
            ("bob", "keys = [\"account-1\"]\nfallback_pool = \"default\""),
        ],
    )
    .await;
    submits(&world, "alice", 1).await;
    assert_eq!(took(&world), [1, 0]);
    world.sandbox.set_balance(&name(1), 0).unwrap();
    until("it is empty", async || {
        world.state_of(&name(1)).await.as_deref() == Some("empty")
    })
    .await;
    submits(&world, "alice", 1).await;
    assert_eq!(took(&world), [1, 1]);
    assert_eq!(refused(&world, "bob").await, "ERROR_ZERO_BALANCE");
    world.sandbox.set_balance(&name(1), 1_000_000).unwrap();
    until("it is refilled", async || {
        world.state_of(&name(1)).await.as_deref() == Some("healthy")
    })
    .await;
    submits(&world, "alice", 1).await;
    submits(&world, "bob", 1).await;
    assert_eq!(took(&world), [3, 1]);
    world.end().await;
}

/// Its own keys are not there, and own keys without money.
const FALL_BACK: [(&str, &str); 2] = [
    ("waits", "keys = [\"later\"]\nfallback_pool = \"default\""),
    (
        "is-empty",
        "keys = [\"account-1\"]\nfallback_pool = \"default\"\nfallback_when_empty = true",
    ),
];

#[tokio::test]
async fn who_falls_back_leaves_room_to_those_who_have_the_pool_for_their_own_and_to_each_other() {
    for [flood, other] in [
        ["waits", "shares"],
        ["is-empty", "shares"],
        ["waits", "is-empty"],
        ["is-empty", "waits"],
    ] {
        let world = start_fallen_back(
            &["", "max_tasks = 4"],
            "submit.when_busy = \"fail\"\nbalance.refresh = \"1s\"",
        )
        .await;
        let ids = [world.submit_as(other).await, world.submit_as(other).await];
        for id in ids {
            until("it is solved", async || {
                world.poll_as(other, &id).await == format!("OK|solved-{id}")
            })
            .await;
        }
        world.sandbox.set_solve_time(&name(2), 60_000).unwrap();
        submits(&world, flood, 2).await;
        let refused = refused(&world, flood).await;
        assert_eq!(refused, "ERROR_NO_SLOT_AVAILABLE", "{flood} beside {other}");
        submits(&world, other, 2).await;
        assert_eq!(took(&world), [0, 6]);
        world.end().await;
    }
}

#[tokio::test]
async fn who_falls_back_hears_why_the_pool_that_stands_in_refuses() {
    for (tenant, _) in FALL_BACK {
        let world = start_fallen_back(
            &["", ""],
            "submit.wait = \"50ms\"\nbalance.refresh = \"1s\"",
        )
        .await;
        let full = FaultRule::new(Fault::Code {
            code: "ERROR_NO_SLOT_AVAILABLE".into(),
        });
        world.sandbox.set_fault(full.endpoint("in.php")).unwrap();
        // The first try makes the key rest, and the next one finds it resting.
        refused(&world, tenant).await;
        refused(&world, tenant).await;
        let refusals = async |outcome: &str| {
            let series = "sidekey_requests_total{endpoint=\"in\",action=\"submit\",outcome=";
            world.metric(&format!("{series}\"{outcome}\"")).await
        };
        let reasons = (refusals("no_slot").await, refusals("all_busy").await);
        assert_eq!(reasons, (2.0, 0.0), "{tenant}");
        world.sandbox.clear_faults();
        world.sandbox.set_balance(&name(2), 0).unwrap();
        until("the other is empty as well", async || {
            world.state_of(&name(2)).await.as_deref() == Some("empty")
        })
        .await;
        assert_eq!(refused(&world, tenant).await, "ERROR_ZERO_BALANCE");
        assert_eq!(refusals("all_empty").await, 1.0, "{tenant}");
        world.end().await;
    }
}

#[tokio::test]
async fn who_waits_for_its_own_key_is_served_by_the_fallback_when_that_key_runs_out_of_money() {
    let world = start(
        &["max_tasks = 1", ""],
        "submit.wait = \"15s\"\nbalance.refresh = \"1s\"",
        &FALL_BACK[1..],
    )
    .await;
    world.sandbox.set_solve_time(&name(1), 60_000).unwrap();
    submits(&world, "is-empty", 1).await;
    let waits = async { tokio::join!(world.submit_as("is-empty"), world.submit_as("is-empty")) };
    let runs_out = async {
        until("they wait", async || {
            world.metric("sidekey_waiting_submits").await == 2.0
        })
        .await;
        world.sandbox.set_balance(&name(1), 0).unwrap();
    };
    tokio::join!(waits, runs_out);
    assert_eq!(took(&world), [1, 2]);
    world.end().await;
}

#[tokio::test]
async fn a_task_is_polled_with_its_own_key_when_its_tenant_is_given_another_pool() {
    let world = start(&["", "pool = \"batch\""], "", &[("alice", "")]).await;
    let id = world.submit_as("alice").await;
    world
        .adopts(|| world.write_tenants(&tenants(&[("alice", "pool = \"batch\"")])))
        .await;
    assert_eq!(world.poll_as("alice", &id).await, format!("OK|solved-{id}"));
    submits(&world, "alice", 1).await;
    assert_eq!(took(&world), [1, 1]);
    world.end().await;
}

#[tokio::test]
async fn keys_are_shown_with_their_pools() {
    let world = start(
        &["", "pool = \"batch\"", "", "disabled = true"],
        "",
        &[
            ("alice", "keys = [\"account-3\", \"account-2\"]"),
            ("bob", "keys = [\"account-3\"]"),
            ("carol", ""),
        ],
    )
    .await;
    let shown = world.api("/api/keys").await;
    let shown: Vec<_> = shown["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (key["pool"].clone(), key["pools"].clone()))
        .collect();
    for (n, (pool, pools)) in [
        ("default", vec!["default"]),
        ("batch", vec!["batch", "tenant:alice"]),
        ("tenant:alice", vec!["tenant:alice", "tenant:bob"]),
        ("default", vec!["default"]),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            shown[n],
            (pool.into(), serde_json::json!(pools)),
            "{}",
            name(n + 1)
        );
    }
    world.end().await;
}

/// Accounts with these lines in the keys file.
async fn start(lines: &[&str], config: &str, of: &[(&str, &str)]) -> World {
    let mut world = World::start_for(vendor(Dialect::Twocaptcha, lines.len()), config, of).await;
    world.stop().await;
    world.write_keys(&keys_file(lines));
    world.start_again().await;
    world.running().server.prober.has_learnt().await;
    world
}

/// The first account is empty, and the second one serves all.
async fn start_fallen_back(lines: &[&str], config: &str) -> World {
    let of = [FALL_BACK[0], FALL_BACK[1], ("shares", "")];
    let world = start(lines, config, &of).await;
    world.sandbox.set_balance(&name(1), 0).unwrap();
    until("it is empty", async || {
        world.state_of(&name(1)).await.as_deref() == Some("empty")
    })
    .await;
    world
}

fn keys_file(lines: &[&str]) -> String {
    let entry = |(n, lines): (usize, &&str)| {
        let (name, value) = (name(n + 1), key(n + 1));
        format!("[[key]]\nname = {name:?}\nvalue = {value:?}\n{lines}\n")
    };
    lines.iter().enumerate().map(entry).collect()
}

async fn submits(world: &World, tenant: &str, count: usize) {
    for _ in 0..count {
        world.submit_as(tenant).await;
    }
}

async fn refused(world: &World, tenant: &str) -> String {
    world
        .try_as(tenant, &format!("/in.php?key={{}}&{TASK}"))
        .await
}

/// How many tasks each account has made.
fn took(world: &World) -> Vec<u64> {
    let ledger = world.sandbox.ledger();
    (1..)
        .map_while(|n| Some(ledger.accounts.get(&name(n))?.made))
        .collect()
}
