//! A vendor that nobody can reach: that is no key's fault, and its end is noticed.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use sidekey::sandbox::{self, Dialect, Fault, FaultRule};
use tokio::time::Instant;

use crate::support::{TASK, World, key, keys, name, until, vendor};

const ACCOUNTS: usize = 5;
const CLIENTS: usize = 10;
const RESETS: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_network_errors_opens_the_breaker_and_moves_no_key() {
    let config = "submit.wait = \"100ms\"\npoll.pace = \"0s\"\npoll.unknown_task = \"refuse\"";
    let config_of_vendor = vendor(Dialect::Captchaai, ACCOUNTS);
    let mut world = World::start(config_of_vendor.clone(), config).await;
    for n in 1..=ACCOUNTS {
        world.sandbox.set_solve_time(&name(n), 600_000).unwrap();
    }
    let ids = join_all((0..CLIENTS).map(|_| world.submit())).await;
    assert_eq!(healthy(&world).await, ACCOUNTS);

    // Read and then reset, which a client could have caused: no breaker opens by that alone.
    world
        .sandbox
        .set_fault(FaultRule::new(Fault::Reset))
        .unwrap();
    let before = world.sandbox.counts().calls;
    let many = until("many calls were reset", async || {
        world.sandbox.counts().calls >= before + RESETS
    });
    tokio::select! {
        () = load(&world, &ids) => {}
        () = many => {}
    }
    assert!(!is_open(&world));
    assert_eq!(healthy(&world).await, ACCOUNTS);

    let address = world.sandbox.address();
    world.sandbox.stop().await;
    let opens = async {
        // And stays so over some of its own probes, each of which makes it last longer.
        let mut openings = BTreeSet::new();
        until("the breaker opens again and again", async || {
            openings.extend(world.running().server.outage.open_until());
            openings.len() > 2
        })
        .await;
    };
    tokio::select! {
        () = load(&world, &ids) => {}
        () = opens => {}
    }
    assert!(is_open(&world));
    assert_eq!(healthy(&world).await, ACCOUNTS);

    let again = sandbox::start(config_of_vendor, address, world.background()).await;
    world.sandbox = again.unwrap();
    until("the breaker closes", async || !is_open(&world)).await;
    for _ in 0..ACCOUNTS {
        world.submit().await;
    }
    assert_eq!(healthy(&world).await, ACCOUNTS);
    assert_eq!(world.metric("sidekey_key_failures_total").await, 0.0);
    world.end().await;
}

#[tokio::test]
async fn nothing_about_the_vendor_or_its_accounts_is_asked_during_an_outage_or_a_ban() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    let server = &world.running().server;
    let ask = async |what: &str| {
        let before = world.sandbox.counts().calls;
        for call in ["load.php?key={}", "res.php?key={}&action=getbalance"] {
            let answer = world.get(&format!("/{call}")).await;
            assert_eq!(answer, "ERROR_SERVER_ERROR", "{call} during {what}");
        }
        assert_eq!(world.sandbox.counts().calls, before, "asked during {what}");
    };
    // The prober sleeps and is not woken, so that the breaker stays open.
    while !server.outage.unreached(Instant::now(), 0.0) {}
    ask("an outage").await;
    assert!(server.outage.reached());
    server
        .egress
        .banned(Instant::now() + Duration::from_secs(600));
    ask("a ban").await;
    world.end().await;
}

#[tokio::test]
async fn a_key_that_cannot_be_proven_says_why() {
    let world = World::start(vendor(Dialect::Captchaai, 2), "").await;
    let server = &world.running().server;
    let ban = Instant::now() + Duration::from_secs(600);
    server.egress.banned(ban);
    world.write_keys(&keys([(name(3), key(3))]));
    until("the new key is adopted", async || {
        world.state_of(&name(3)).await.as_deref() == Some("unproven")
    })
    .await;
    let why = async || {
        let all = world.api("/api/keys").await;
        let all = all["keys"].as_array().unwrap().iter();
        let mut unproven = all.filter(|key| key["state"] == "unproven");
        unproven.next().unwrap()["why"].clone()
    };
    assert_eq!(why().await, "not proven yet: the vendor bans this address");
    while !server.outage.unreached(Instant::now(), 0.0) {}
    assert_eq!(why().await, "not proven yet: the vendor is out of reach");
    world.end().await;
}

/// Submits and polls without an end. No poll gives a running task up.
async fn load(world: &World, ids: &[String]) {
    join_all(ids.iter().map(|id| async move {
        loop {
            world.get(&format!("/in.php?key={{}}&{TASK}")).await;
            assert_eq!(world.poll(id).await, "CAPCHA_NOT_READY");
        }
    }))
    .await;
}

async fn healthy(world: &World) -> usize {
    let all = world.api("/api/keys").await;
    let all = all["keys"].as_array().unwrap().iter();
    all.filter(|key| key["state"] == "healthy").count()
}

fn is_open(world: &World) -> bool {
    world.running().server.outage.open_until().is_some()
}
