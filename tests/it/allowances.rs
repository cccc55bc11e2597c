//! `getbalance` and `threadsinfo` of tenants: their own keys' state, or their own limits; never a shared pool's money.

use sidekey::sandbox::{Dialect, SandboxConfig};

use crate::support::team::tenants;
use crate::support::{TASK, World, name, until, vendor};

const BALANCE: &str = "/res.php?key={}&action=getbalance";
const THREADS: &str = "/res.php?key={}&action=threadsinfo&json=1";

#[tokio::test]
async fn a_tenant_hears_the_balance_of_its_own_keys_and_of_no_others() {
    let world = World::start_for(
        of_balances(&[1_000_000, 2_000_000, 4_000_000]),
        "",
        &[
            ("alice", "keys = [\"account-1\", \"account-2\"]"),
            ("bob", "keys = [\"account-3\"]\nmonthly_budget = 1.00"),
        ],
    )
    .await;
    assert_eq!(world.try_as("alice", BALANCE).await, "3.00");
    assert_eq!(world.try_as("bob", BALANCE).await, "4.00");
    // Each asks for its own accounts only.
    world.end().await;
}

#[tokio::test]
async fn in_a_shared_pool_a_tenant_hears_what_its_limits_leave() {
    let world = World::start_for(
        of_balances(&[987_000_000]),
        "prices.recaptcha_v2 = 0.003\nprices.image = 0.0005\n",
        &[
            ("budget", "monthly_budget = 25.00\ndaily_limit = 10"),
            ("daily", "daily_limit = 2"),
            ("dearer", "daily_limit = 2\nprices = { image = 0.01, recaptcha_v2 = 0.02, bls = 0.02, geetest = 0.02, turnstile = 0.02, recaptcha_v3 = 0.02, other = 0.02 }"),
            ("free", ""),
        ],
    )
    .await;
    for (tenant, balance) in [
        ("budget", "25.00"),
        ("daily", "0.001"),
        ("dearer", "0.02"),
        ("free", "10.00"),
    ] {
        assert_eq!(world.try_as(tenant, BALANCE).await, balance, "{tenant}");
    }
    for tenant in ["budget", "daily"] {
        let id = world.submit_as(tenant).await;
        until("it is solved", async || {
            world.poll_as(tenant, &id).await.starts_with("OK|")
        })
        .await;
    }
    assert_eq!(world.try_as("budget", BALANCE).await, "24.997");
    assert_eq!(world.try_as("daily", BALANCE).await, "0.0005");
    let json = world
        .try_as("free", "/res.php?key={}&action=getbalance&json=1")
        .await;
    assert_eq!(json, r#"{"status":1,"request":"10.00"}"#);
    world.end().await;
}

#[tokio::test]
async fn the_nominal_balance_is_the_configurations() {
    let world = World::start_for(
        of_balances(&[987_000_000]),
        "clients.nominal_balance = 3.5",
        &[("alice", "")],
    )
    .await;
    assert_eq!(world.try_as("alice", BALANCE).await, "3.50");
    world.end().await;
}

#[tokio::test]
async fn threads_are_the_tenants_most_or_the_pools_and_those_at_work_its_own() {
    let mut vendor = vendor(Dialect::Captchaai, 2);
    for account in &mut vendor.accounts {
        account.threads = Some(5);
        account.solve_ms = 60_000;
    }
    let world = World::start_for(
        vendor,
        "",
        &[
            ("bounded", "max_tasks = 3"),
            ("shares", ""),
            ("owner", "keys = [\"account-2\"]"),
        ],
    )
    .await;
    until("the threads are known", async || {
        let keys = world.api("/api/keys").await;
        let keys = keys["keys"].as_array().unwrap();
        keys.iter().all(|key| key["slots"]["max"] == 5)
    })
    .await;
    world.submit_as("owner").await;
    world.submit_as("shares").await;
    let threads = |total, working| {
        format!(r#"{{"status":1,"threads":"{total}","working_threads":"{working}"}}"#)
    };
    assert_eq!(world.try_as("bounded", THREADS).await, threads(3, 0));
    // Of the pool of those who share, in which the owner's key is not.
    assert_eq!(world.try_as("shares", THREADS).await, threads(5, 1));
    assert_eq!(world.try_as("owner", THREADS).await, threads(5, 1));
    world.end().await;
}

#[tokio::test]
async fn while_a_shared_pool_serves_instead_of_own_keys_its_balance_stays_hidden() {
    let world = World::start_for(
        of_balances(&[0, 987_000_000]),
        "balance.refresh = \"1s\"",
        &[
            (
                "none-yet",
                "keys = [\"later\"]\nfallback_pool = \"default\"",
            ),
            (
                "falls-back",
                "keys = [\"account-1\"]\nfallback_pool = \"default\"\nfallback_when_empty = true",
            ),
            (
                "stays",
                "keys = [\"account-1\"]\nfallback_pool = \"default\"",
            ),
        ],
    )
    .await;
    until("it is empty", async || {
        world.state_of(&name(1)).await.as_deref() == Some("empty")
    })
    .await;
    assert_eq!(world.try_as("none-yet", BALANCE).await, "10.00");
    assert_eq!(world.try_as("falls-back", BALANCE).await, "10.00");
    assert_eq!(world.try_as("stays", BALANCE).await, "0.00");
    world.submit_as("none-yet").await;
    world.submit_as("falls-back").await;
    let refused = world
        .try_as("stays", &format!("/in.php?key={{}}&{TASK}"))
        .await;
    assert_eq!(refused, "ERROR_ZERO_BALANCE");
    world.end().await;
}

#[tokio::test]
async fn in_open_mode_clients_hear_of_the_default_pool_only() {
    let mut world = World::prepare(of_balances(&[1_000_000, 2_000_000]), "").await;
    let text = crate::support::keys([
        (name(1), crate::support::key(1)),
        (name(2), crate::support::key(2)),
    ]);
    world.write_keys(&text.replacen("account-2\"", "account-2\"\npool = \"batch\"", 1));
    world.start_again().await;
    world.running().server.prober.has_learnt().await;
    assert_eq!(world.get(BALANCE).await, "1.00");
    world.end().await;
}

#[tokio::test]
async fn a_tenant_whose_pool_has_no_key_hears_so() {
    let world = World::start_for(
        of_balances(&[1_000_000]),
        "",
        &[("alice", "keys = [\"gone\"]")],
    )
    .await;
    assert_eq!(
        world.try_as("alice", BALANCE).await,
        "ERROR_KEY_DOES_NOT_EXIST"
    );
    world.write_tenants(&tenants(&[("alice", "keys = [\"account-1\"]")]));
    until("its key is there", async || {
        world.try_as("alice", BALANCE).await == "1.00"
    })
    .await;
    world.end().await;
}

fn of_balances(micros: &[i64]) -> SandboxConfig {
    let mut config = vendor(Dialect::Twocaptcha, micros.len());
    for (account, micros) in config.accounts.iter_mut().zip(micros) {
        account.balance_micros = *micros;
    }
    config
}
