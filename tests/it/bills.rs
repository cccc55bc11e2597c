//! Bills: what the report and the admin port say is what the vendor took, to the micro-dollar, and stays so.

use std::fs;

use clap::Parser;
use serde_json::Value;
use sidekey::cli::Arguments;
use sidekey::request::clock;
use sidekey::sandbox::{Dialect, SandboxConfig};

use crate::bill_reports::report;
use crate::support::{TASK, World, key, name, until, vendor, write};

pub(crate) const ALICE: &str = "a11ce000000000000000000000000000";
const BOB: &str = "b0b00000000000000000000000000000";
const TENANTS: &str = "\
[[tenant]]
name = \"alice\"
token = \"a11ce000000000000000000000000000\"
daily_limit = 500
[[tenant]]
name = \"bob\"
token = \"b0b00000000000000000000000000000\"
prices = { recaptcha_v2 = 0.01 }
";

#[tokio::test]
async fn each_solve_is_billed_once_at_the_price_of_its_submit() {
    let mut world = tenants(0.000_85).await;
    // Polled again and again, in two views and for many.
    let first = submit(&world, ALICE).await;
    for query in ["", "&json=1", ""] {
        let answer = poll(&world, ALICE, &format!("action=get{query}&id={first}")).await;
        assert!(answer.contains("solved-"), "{answer}");
    }
    poll(&world, ALICE, &format!("action=get2&id={first}")).await;
    poll(&world, ALICE, &format!("action=get&ids={first},{first}")).await;
    // The vendor says what it took; what bob is charged is his own price.
    let second = submit(&world, BOB).await;
    let answer = poll(&world, BOB, &format!("action=get2&id={second}")).await;
    assert!(answer.ends_with("|0.00085"), "{answer}");
    let unsolvable = "ERROR_CAPTCHA_UNSOLVABLE";
    world
        .sandbox
        .set_answer(&name(1), Some(unsolvable))
        .unwrap();
    let third = submit(&world, ALICE).await;
    world.sandbox.set_answer(&name(1), None).unwrap();
    let answer = poll(&world, ALICE, &format!("action=get&id={third}")).await;
    assert_eq!(answer, unsolvable);
    // Runs while prices change, and over a restart.
    let fourth = submit(&world, ALICE).await;
    price(&world, 0.002);
    assert_eq!(world.change("/api/reload").await.0, 200);
    world.stop().await;
    world.start_again().await;
    let answer = poll(&world, ALICE, &format!("action=get&id={fourth}")).await;
    assert!(answer.contains("solved-"), "{answer}");
    let fifth = submit(&world, ALICE).await;
    poll(&world, ALICE, &format!("action=get&id={fifth}")).await;

    let bill = bill(&world, &[]).await;
    assert_eq!(bill["total"]["cost_micro_usd"], 3 * 850 + 2_000, "{bill}");
    assert_eq!(bill["total"]["cost_micro_usd"], charged(&world));
    let line = |name: &str| {
        let lines = bill["lines"].as_array().unwrap();
        lines.iter().find(|line| line["tenant"] == name).unwrap()
    };
    let (alice, bob) = (line("alice"), line("bob"));
    assert_eq!(alice["charged_micro_usd"], 2 * 850 + 2_000);
    assert_eq!(bob["charged_micro_usd"], 10_000);
    assert_eq!((&alice["solves"], &alice["failed"]), (&3.into(), &1.into()));
    assert_eq!(
        (&alice["today"], &alice["daily_limit"]),
        (&3.into(), &500.into())
    );
    // The admin port says the same.
    assert_eq!(world.api("/api/usage").await, bill);
    let of_bob = world.api("/api/usage?by=type&tenant=bob").await;
    assert_eq!(of_bob["lines"][0]["type"], "recaptcha_v2");
    assert_eq!(of_bob["total"]["solves"], 1);
    let wrong = "/api/usage?month=november";
    let wrong = crate::support::http::send(world.admin(), "GET", wrong, "", "").await;
    assert_eq!(wrong.status, 400);
    world.end().await;
}

#[tokio::test]
async fn a_thread_plan_has_the_price_of_the_submit_too_and_solve_php_is_billed() {
    let mut config = vendor(Dialect::Captchaai, 1);
    config.accounts[0].threads = Some(5);
    let world = World::start(config, "prices.recaptcha_v2 = 0.001\nprices.image = 0.004").await;
    let id = world.submit().await;
    let path = world.config_path();
    let text = fs::read_to_string(&path).unwrap();
    write(
        &path,
        &text.replace("recaptcha_v2 = 0.001", "recaptcha_v2 = 0.1"),
    );
    assert_eq!(world.change("/api/reload").await.0, 200);
    assert!(world.poll(&id).await.starts_with("OK|"));
    let key = &world.api("/api/keys").await["keys"][0];
    assert_ne!(
        key["left_micro_usd"], -1_000,
        "a plan's balance is not spent"
    );
    let body = "method=base64&body=aGVsbG8%3D";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answer = world.send("POST", "/solve.php?key={}", form, body).await;
    assert!(answer.body.starts_with("OK|"), "{answer:?}");
    let bill = bill(&world, &["--by", "type"]).await;
    let lines = bill["lines"].as_array().unwrap();
    let of = |line: &Value| (line["type"].clone(), line["cost_micro_usd"].clone());
    let lines: Vec<_> = lines.iter().map(of).collect();
    let expected = [("image", 4_000), ("recaptcha_v2", 1_000)];
    assert_eq!(lines, expected.map(|(of, cost)| (of.into(), cost.into())));
    world.end().await;
}

#[tokio::test]
async fn another_client_of_a_key_is_noticed_and_our_own_use_is_not() {
    let mut config = prepaid();
    config.accounts[0].price_micros = 5_000;
    let lines = "balance.refresh = \"1s\"\nprices.recaptcha_v2 = 0.005\nprices.image = 0.005";
    let world = World::start(config, lines).await;
    let beyond = format!(
        "sidekey_key_unexplained_spend_usd_total{{key={:?}}}",
        name(1)
    );
    let active = "sidekey_alerts_active{cause=\"spend_beyond_ledger\"}";
    let balance = async || world.get("/res.php?key={}&action=getbalance").await;
    for _ in 0..30 {
        let id = world.submit().await;
        world.poll(&id).await;
    }
    let seen = async || world.api("/api/keys").await["keys"][0]["balance"].as_f64();
    until("the vendor has said what we spent", async || {
        balance().await;
        seen().await == Some(9.85)
    })
    .await;
    assert_eq!(world.metric(&beyond).await, 0.0);
    // With the real key, past Sidekey.
    let submit = format!("/in.php?key={}&{TASK}", key(1));
    for _ in 0..100 {
        let address = world.sandbox.address();
        let answer = crate::support::http::send(address, "GET", &submit, "", "").await;
        assert!(answer.body.starts_with("OK|"), "{answer:?}");
    }
    until("somebody is told", async || {
        world.metric(active).await == 1.0
    })
    .await;
    let beyond = world.metric(&beyond).await;
    assert!((0.25..=0.5).contains(&beyond), "{beyond} of 0.5");
    world.end().await;
}

#[tokio::test]
async fn changes_stand_in_the_audit_log_by_name_and_without_secrets() {
    let mut world = World::start(vendor(Dialect::Captchaai, 2), "").await;
    world.change("/api/keys/account-1/disable").await;
    world.change("/api/keys/nobody/disable").await;
    world.change("/api/keys/account-1/enable").await;
    world.write_keys(&crate::support::keys([
        (name(1), key(7)),
        (name(3), key(3)),
    ]));
    assert_eq!(world.change("/api/reload").await.0, 200);
    world.write_keys("[[key]\n");
    until("the broken file is noticed", async || {
        audited(&world)
            .await
            .first()
            .is_some_and(|row| row.1 == "reload_refused" && row.3.ends_with("/keys.toml"))
    })
    .await;
    let rows = audited(&world).await;
    let reload = "keys: added account-3, removed account-2, changed account-1";
    let by_hand = rows.iter().find(|row| row.3 == reload).cloned();
    let (who, what, ..) = by_hand.unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!(what, "reload");
    assert!(["loopback", "files"].contains(&&*who), "{who}");
    let hands: Vec<_> = rows
        .iter()
        .filter(|row| row.2 == name(1))
        .map(|row| (&*row.0, &*row.1))
        .collect();
    assert_eq!(hands, [("loopback", "enable"), ("loopback", "disable")]);
    assert!(!rows.iter().any(|row| row.2 == "nobody"));
    let text = world.api("/api/audit").await.to_string();
    for n in [1, 2, 3, 7] {
        assert!(!text.contains(&key(n)));
    }
    let one = world.api("/api/audit?limit=1").await;
    assert_eq!(one["audit"].as_array().unwrap().len(), 1);
    // It outlives the program.
    let before = rows.len();
    world.write_keys(&crate::support::keys([(name(1), key(1))]));
    world.stop().await;
    world.start_again().await;
    assert!(audited(&world).await.len() >= before);
    world.end().await;
}

/// Who, what, on what, and the detail; the newest first.
async fn audited(world: &World) -> Vec<(String, String, String, String)> {
    world.running().server.store.flush().await.unwrap();
    let answer = world.api("/api/audit").await;
    let rows = answer["audit"].as_array().unwrap().iter();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.map(|row| {
        (
            text(row, "who"),
            text(row, "what"),
            text(row, "subject"),
            text(row, "detail"),
        )
    })
    .collect()
}

/// What the command says of a running program.
async fn bill(world: &World, more: &[&str]) -> Value {
    world.running().server.store.flush().await.unwrap();
    let config = world.config_path().display().to_string();
    let words = ["sidekey", "report", "--format", "json", "--config", &config];
    let arguments = Arguments::try_parse_from(words.iter().chain(more)).unwrap();
    let (code, out, err) = report(&arguments, clock::now_ms());
    assert_eq!((code, &*err), (0, ""));
    serde_json::from_str(&out).unwrap()
}

/// Ten dollars on the account.
fn prepaid() -> SandboxConfig {
    let mut config = vendor(Dialect::Twocaptcha, 1);
    config.accounts[0].balance_micros = 10_000_000;
    config.accounts[0].price_micros = 850;
    config
}

/// Alice and bob before one prepaid account.
pub(crate) async fn tenants(usd: f64) -> World {
    let lines = format!(
        "tenants_file = \"tenants.toml\"\nclients.mode = \"tenants\"\npoll.pace = \"0s\"\nprices.recaptcha_v2 = {usd}"
    );
    let mut world = World::prepare(prepaid(), &lines).await;
    write(&world.place.path().join("tenants.toml"), TENANTS);
    world.write_keys(&crate::support::keys([(name(1), key(1))]));
    world.start_again().await;
    world.running().server.prober.has_learnt().await;
    world
}

/// From now on, at the vendor and in the configuration.
fn price(world: &World, usd: f64) {
    let path = world.config_path();
    let text = fs::read_to_string(&path).unwrap();
    write(
        &path,
        &text.replace("recaptcha_v2 = 0.00085", &format!("recaptcha_v2 = {usd}")),
    );
    let micros = (usd * 1e6) as i64;
    world
        .sandbox
        .change_account(&name(1), |account| account.price_micros = micros)
        .unwrap();
}

/// By the vendor's own ledger.
fn charged(world: &World) -> i64 {
    let accounts = world.sandbox.ledger().accounts;
    accounts.values().map(|totals| totals.charged_micros).sum()
}

pub(crate) async fn submit(world: &World, token: &str) -> String {
    let answer = world.get(&format!("/in.php?key={token}&{TASK}")).await;
    match answer.strip_prefix("OK|") {
        Some(id) => id.to_owned(),
        None => panic!("refused: {answer}"),
    }
}

pub(crate) async fn poll(world: &World, token: &str, query: &str) -> String {
    world.get(&format!("/res.php?key={token}&{query}")).await
}
