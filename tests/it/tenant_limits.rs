//! What a tenant may use: to the unit, whatever runs beside, however it ends.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use sidekey::sandbox::{Dialect, Fault, FaultRule, SandboxConfig};
use sidekey::tenants::meter::Used;
use tokio::time::sleep;

use crate::support::http::Connection;
use crate::support::{TASK, World, keys, name, until, vendor, write};

const CONFIG: &str = "clients.mode = \"tenants\"\ntenants_file = \"tenants.toml\"\n\
                      poll.unknown_task = \"refuse\"\npoll.pace = \"20ms\"";

/// The issue's own crowd: with the store, failures and refusals, and limits of every kind in the middle of the work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_in_the_middle_of_a_crowd_hold_to_the_unit() {
    const TENANTS: usize = 20;
    const CLIENTS: usize = 64;
    let mut config = vendor(Dialect::Twocaptcha, 3);
    config.record_limit = 2_000_000;
    for account in &mut config.accounts {
        account.solve_ms = 30;
    }
    // A third of all tasks fails, and a tenth of all submits is refused.
    config.accounts[2].answer = Some("ERROR_CAPTCHA_UNSOLVABLE".to_owned());
    // 20 to 39 solves; the odd ones by their budget, at 3,000 micro-dollars a solve, with a rest that is too small for one more.
    let limit = |n: usize| 20 + n;
    let entry = |n: usize| match n % 2 {
        0 => format!("daily_limit = {}\nmax_tasks = 11\n", limit(n)),
        _ => format!("monthly_budget = 0.{:06}\n", 3_000 * limit(n) + 2_999),
    };
    let file: String = (0..TENANTS).map(|n| tenant(n, &entry(n))).collect();
    let world = start(config, &file).await;
    let refused = FaultRule {
        probability: 0.1,
        ..FaultRule::new(code("ERROR_PAGEURL")).endpoint("in.php")
    };
    world.sandbox.set_fault(refused).unwrap();
    let server = &world.running().server;
    let clients = (0..TENANTS * CLIENTS).map(|n| {
        let (n, address) = (n % TENANTS, world.http());
        let account = server.tenants.of(&name_of(n).as_str().into());
        world.background().spawn(async move {
            let mut connection = Connection::open(address).await.unwrap();
            while account.used(now_ms()).solves_today < limit(n) as u32 {
                solve(&mut connection, n).await;
            }
        })
    });
    for client in join_all(clients.collect::<Vec<_>>()).await {
        client.unwrap();
    }
    let solved = solved_at_the_vendor(&world);
    server.store.flush().await.unwrap();
    for n in 0..TENANTS {
        let name = name_of(n);
        let counted: i64 = world.stored(&format!(
            "SELECT count(*) FROM usage WHERE tenant = '{name}' AND ended = 'solved'"
        ));
        let charged: i64 = world.stored(&format!(
            "SELECT sum(charge_micro_usd) FROM usage WHERE tenant = '{name}'"
        ));
        assert_eq!(counted, limit(n) as i64, "{name}");
        assert_eq!(solved.get(&name), Some(&limit(n)), "{name}");
        assert_eq!(charged, 3_000 * limit(n) as i64, "{name}");
        let series = format!("sidekey_tenant_solves_total{{tenant=\"{name}\"");
        assert_eq!(world.metric(&series).await, counted as f64);
        let left = used(&world, n);
        assert_eq!((left.running, left.reserved_micro_usd), (0, 0), "{name}");
    }
    let failed: i64 = world.stored("SELECT count(*) FROM usage WHERE ended = 'failed'");
    assert!(failed > 100, "{failed} failed");
    until("all refusals are stored", async || {
        let counted = world.metric("sidekey_tenant_refusals_total{").await;
        let stored: f64 = world.stored("SELECT total(count) FROM refusals");
        counted > 0.0 && counted == stored
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn each_limit_has_its_own_code_and_says_when_it_ends() {
    let limits = [
        ("daily_limit = 1", "ERROR_ZERO_BALANCE", "00:00 UTC"),
        (
            "monthly_budget = 0.003",
            "ERROR_ZERO_BALANCE",
            "first of the month",
        ),
        (
            "max_tasks = 1",
            "ERROR_NO_SLOT_AVAILABLE",
            "when one of them has ended",
        ),
        (
            "rate_per_minute = 1",
            "ERROR_NO_SLOT_AVAILABLE",
            "60 seconds",
        ),
    ];
    let entry = |(n, (line, ..)): (usize, &(&str, _, _))| tenant(n, line);
    let file: String = limits.iter().enumerate().map(entry).collect();
    let mut config = vendor(Dialect::Twocaptcha, 1);
    config.accounts[0].solve_ms = 60_000;
    let world = start(config, &file).await;
    for (n, (line, code, until)) in limits.into_iter().enumerate() {
        let id = id(&submit(&world, n, "").await);
        assert_eq!(submit(&world, n, "").await, code, "{line}");
        let json = submit(&world, n, "&json=1").await;
        let limit = line.split(' ').next().unwrap();
        assert!(json.contains(&format!("\"request\":\"{code}\"")), "{json}");
        assert!(json.contains(limit) && json.contains(until), "{json}");
        let series = format!(
            "sidekey_tenant_refusals_total{{tenant=\"{}\",reason=\"{limit}\"}}",
            name_of(n)
        );
        assert_eq!(world.metric(&series).await, 2.0, "{series}");
        // What was accepted is polled to its end.
        assert_eq!(poll(&world, n, &id).await, "CAPCHA_NOT_READY");
    }
    assert_eq!(world.sandbox.tasks().len(), 4);
    world.end().await;
}

#[tokio::test]
async fn a_budget_holds_to_the_micro_dollar() {
    let cases = [(8_999, 2), (9_000, 3), (9_001, 3)];
    let own = "prices = { recaptcha_v2 = 0.000007 }";
    let entry = |(n, (budget, _)): (usize, &(i64, _))| {
        tenant(n, &format!("monthly_budget = 0.{budget:06}"))
    };
    let mut file: String = cases.iter().enumerate().map(entry).collect();
    file += &tenant(3, &format!("monthly_budget = 0.000020\n{own}"));
    let world = start(vendor(Dialect::Twocaptcha, 1), &file).await;
    for (n, solves) in cases
        .iter()
        .map(|(_, solves)| *solves)
        .chain([2])
        .enumerate()
    {
        for _ in 0..solves {
            solved(&world, n).await;
        }
        assert_eq!(submit(&world, n, "").await, "ERROR_ZERO_BALANCE", "{n}");
    }
    assert_eq!(used(&world, 3).spent_micro_usd, 14);
    let cost = "sidekey_tenant_cost_usd_total{tenant=\"tenant-03\"}";
    assert_eq!(world.metric(cost).await, 0.000_014);
    world.end().await;
}

#[tokio::test]
async fn only_a_solve_is_charged_and_a_repeat_reserves_nothing() {
    let mut config = vendor(Dialect::Twocaptcha, 1);
    config.accounts[0].answer = Some("ERROR_CAPTCHA_UNSOLVABLE".to_owned());
    let world = start(config, &tenant(0, "daily_limit = 1")).await;
    let strike = |fault, times| {
        let rule = FaultRule::new(fault).endpoint("in.php").times(times);
        world.sandbox.set_fault(rule).unwrap();
    };
    strike(code("ERROR_PAGEURL"), 1);
    assert_eq!(submit(&world, 0, "").await, "ERROR_PAGEURL");
    let failed = id(&submit(&world, 0, "").await);
    assert_eq!(submit(&world, 0, "").await, "ERROR_ZERO_BALANCE", "it runs");
    until("it failed", async || {
        poll(&world, 0, &failed).await == "ERROR_CAPTCHA_UNSOLVABLE"
    })
    .await;
    assert_eq!(used(&world, 0), Used::default());
    world.sandbox.set_answer(&name(1), None).unwrap();
    let keyed = "&x_idempotency_key=order-1";
    let solved = id(&submit(&world, 0, keyed).await);
    until("it is solved", async || {
        poll(&world, 0, &solved).await.starts_with("OK|")
    })
    .await;
    assert_eq!(submit(&world, 0, keyed).await, format!("OK|{solved}"));
    assert_eq!(
        submit(&world, 0, "&x_idempotency_key=order-2").await,
        "ERROR_ZERO_BALANCE"
    );
    assert_eq!(used(&world, 0).solves_today, 1);
    assert_eq!(world.sandbox.tasks().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn what_ran_and_what_nobody_can_know_holds_over_a_restart() {
    let mut world = start(
        vendor(Dialect::Twocaptcha, 1),
        &tenant(0, "daily_limit = 3"),
    )
    .await;
    solved(&world, 0).await;
    let lost = FaultRule::new(Fault::Close)
        .endpoint("in.php")
        .times(1)
        .done();
    world.sandbox.set_fault(lost).unwrap();
    assert_eq!(submit(&world, 0, "").await, "ERROR_SUBMIT_UNCERTAIN");
    world.sandbox.set_solve_time(&name(1), 500).unwrap();
    let running = id(&submit(&world, 0, "").await);
    let before = used(&world, 0);
    let counts = |used: Used| (used.solves_today, used.uncertain_today, used.running);
    assert_eq!(counts(before), (1, 1, 1));
    for _ in 0..2 {
        assert_eq!(submit(&world, 0, "").await, "ERROR_ZERO_BALANCE");
        world.stop().await;
        world.start_again().await;
        world.running().server.prober.has_learnt().await;
        assert_eq!(used(&world, 0), before);
    }
    let uncertain = world.api("/api/uncertain").await;
    assert!(uncertain.to_string().contains("tenant-00"), "{uncertain}");
    until("it is solved", async || {
        poll(&world, 0, &running).await.starts_with("OK|")
    })
    .await;
    assert_eq!(counts(used(&world, 0)), (2, 1, 0));
    assert_eq!(submit(&world, 0, "").await, "ERROR_ZERO_BALANCE");
    until("the refusals of both runs are one number", async || {
        world.stored::<f64>("SELECT total(count) FROM refusals") == 3.0
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn changed_limits_hold_at_once_and_forget_nothing() {
    let world = start(
        vendor(Dialect::Twocaptcha, 1),
        &tenant(0, "daily_limit = 2"),
    )
    .await;
    solved(&world, 0).await;
    let last = id(&submit(&world, 0, "").await);
    assert_eq!(submit(&world, 0, "").await, "ERROR_ZERO_BALANCE");
    let change = |line: &str| write(&world.place.path().join("tenants.toml"), line);
    world.adopts(|| change(&tenant(0, "daily_limit = 3"))).await;
    let more = id(&submit(&world, 0, "").await);
    assert_eq!(submit(&world, 0, "").await, "ERROR_ZERO_BALANCE");
    world.adopts(|| change(&tenant(0, "active = false"))).await;
    assert_eq!(submit(&world, 0, "").await, "ERROR_KEY_DOES_NOT_EXIST");
    for id in [last, more] {
        until("it is solved", async || {
            poll(&world, 0, &id).await.starts_with("OK|")
        })
        .await;
    }
    assert_eq!(used(&world, 0).solves_today, 3);
    let series = "sidekey_tenant_solves_total{tenant=\"tenant-00\"";
    assert_eq!(world.metric(series).await, 3.0);
    world.adopts(|| change(&tenant(1, ""))).await;
    assert_eq!(world.metric(series).await, 0.0, "gone with its tenant");
    world.adopts(|| change(&tenant(0, "daily_limit = 3"))).await;
    assert_eq!(submit(&world, 0, "").await, "ERROR_ZERO_BALANCE");
    world.end().await;
}

#[tokio::test]
async fn a_tenant_near_its_limits_is_told_of_once() {
    let file = tenant(0, "daily_limit = 5") + &tenant(1, "monthly_budget = 0.016");
    let world = start(vendor(Dialect::Twocaptcha, 1), &file).await;
    let told = async |cause: &str| {
        let series = format!("sidekey_alerts_total{{cause=\"{cause}\"}}");
        world.metric(&series).await
    };
    for _ in 0..4 {
        solved(&world, 0).await;
    }
    until("80 % are told", async || {
        told("tenant_daily_low").await == 1.0
    })
    .await;
    assert_eq!(told("tenant_daily_reached").await, 0.0);
    for n in [0, 1, 1, 1, 1, 1] {
        solved(&world, n).await;
    }
    assert_eq!(submit(&world, 1, "").await, "ERROR_ZERO_BALANCE");
    until("all is told", async || {
        told("tenant_daily_reached").await == 1.0 && told("tenant_budget_reached").await == 1.0
    })
    .await;
    assert_eq!(told("tenant_daily_low").await, 1.0);
    world.end().await;
}

async fn start(vendor: SandboxConfig, tenants: &str) -> World {
    let accounts = vendor.accounts.iter();
    let file = keys(accounts.map(|account| (&account.name, &account.key)));
    let mut world = World::prepare(vendor, "").await;
    let text = fs::read_to_string(world.config_path()).unwrap();
    fs::write(world.config_path(), format!("{text}{CONFIG}\n")).unwrap();
    world.write_keys(&file);
    write(&world.place.path().join("tenants.toml"), tenants);
    world.start_again().await;
    world.running().server.prober.has_learnt().await;
    world
}

fn tenant(n: usize, lines: &str) -> String {
    let (name, token) = (name_of(n), token(n));
    format!("[[tenant]]\nname = {name:?}\ntoken = {token:?}\n{lines}\n")
}

fn name_of(n: usize) -> String {
    format!("tenant-{n:02}")
}

fn token(n: usize) -> String {
    format!("{n:032x}")
}

fn code(code: &str) -> Fault {
    Fault::Code { code: code.into() }
}

fn now_ms() -> i64 {
    sidekey::request::clock::now_ms()
}

fn used(world: &World, n: usize) -> Used {
    let tenants = &world.running().server.tenants;
    tenants.of(&name_of(n).as_str().into()).used(now_ms())
}

async fn submit(world: &World, n: usize, more: &str) -> String {
    world.get(&submit_target(n, more)).await
}

/// The vendor sees whose it is.
fn submit_target(n: usize, more: &str) -> String {
    format!("/in.php?key={}&{}=1&{TASK}{more}", token(n), name_of(n))
}

async fn poll(world: &World, n: usize, id: &str) -> String {
    world.get(&poll_target(n, id)).await
}

fn poll_target(n: usize, id: &str) -> String {
    format!("/res.php?key={}&action=get&id={id}", token(n))
}

fn id(answer: &str) -> String {
    match answer.strip_prefix("OK|") {
        Some(id) => id.to_owned(),
        None => panic!("refused: {answer}"),
    }
}

async fn solved(world: &World, n: usize) {
    let id = id(&submit(world, n, "").await);
    until("it is solved", async || {
        poll(world, n, &id).await.starts_with("OK|")
    })
    .await;
}

/// One task to its end, if there is one.
async fn solve(connection: &mut Connection, n: usize) {
    let answer = connection.get(&submit_target(n, "")).await.unwrap().body;
    let Some(id) = answer.strip_prefix("OK|") else {
        return sleep(Duration::from_millis(20)).await;
    };
    let poll = poll_target(n, id);
    while connection.get(&poll).await.unwrap().body == "CAPCHA_NOT_READY" {
        sleep(Duration::from_millis(20)).await;
    }
}

/// By tenant.
fn solved_at_the_vendor(world: &World) -> BTreeMap<String, usize> {
    let record = world.sandbox.record();
    assert_eq!(record.counts.dropped, 0);
    let tasks = world.sandbox.tasks();
    let solved = tasks.iter().filter(|task| task.state == "solved");
    let solved: BTreeMap<_, _> = solved.map(|task| (&task.id, task)).collect();
    let mut by_tenant = BTreeMap::new();
    for call in record.calls.iter().filter(|call| call.endpoint == "in.php") {
        let tenant = call.names.iter().find(|name| name.starts_with("tenant-"));
        let made = call.task.as_ref().is_some_and(|id| solved.contains_key(id));
        if let Some(tenant) = tenant.filter(|_| made) {
            *by_tenant.entry(tenant.clone()).or_default() += 1;
        }
    }
    by_tenant
}
