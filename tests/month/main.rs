//! A month in a minute: every solve goes through the whole program, the wall clock goes a day ahead at a time, prices change
//! in the middle and the program is restarted now and then. The bill is the sandbox's ledger, to the micro-dollar.
//!
//! A binary of its own, because the clock is the whole process's. The long form:
//! `SIDEKEY_MONTH=200000 SIDEKEY_MONTH_ROWS=200000 cargo test --profile quick-release --test month -- --nocapture`
#![expect(clippy::unwrap_used, reason = "test support")]

mod rows;

#[path = "../it/support/http.rs"]
#[expect(dead_code, reason = "this needs less of it")]
mod http;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use serde_json::Value;
use sidekey::app::{self, Running};
use sidekey::background::Background;
use sidekey::cli::{Arguments, Command, report};
use sidekey::config::environment::Environment;
use sidekey::config::{Input, load};
use sidekey::request::clock;
use sidekey::sandbox::{self, AccountConfig, Dialect, Sandbox, SandboxConfig};
use tokio::task::JoinSet;
use tokio::time::Instant;

const DAYS: usize = 30;
const CLIENTS: usize = 32;
const SOLVES: usize = 900;
const ROWS: usize = 20_000;
const ACCOUNT: &str = "account-1";
const KEY: &str = "00000000000000000000000realkey01";
const TENANTS: [&str; 3] = ["alice", "bob", "carol"];
/// In micro-dollars, before and after the middle of the month.
const PRICES: [i64; 2] = [2_990, 3_123];

#[test]
fn the_bill_of_a_month_is_the_vendors_ledger() {
    on_runtime(month(solves("SIDEKEY_MONTH", SOLVES)));
}

#[test]
fn a_report_adds_up_exactly_and_fast() {
    let place = tempfile::TempDir::new().unwrap();
    on_runtime(rows::add_up(
        place.path(),
        solves("SIDEKEY_MONTH_ROWS", ROWS),
    ));
}

fn solves(variable: &str, usual: usize) -> usize {
    let environment = Environment::of_this_process();
    environment
        .get(variable)
        .map_or(usual, |number| number.parse().unwrap())
}

fn on_runtime(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(work);
}

#[expect(clippy::print_stdout, reason = "what was measured")]
fn say(text: &str) {
    println!("{text}");
}

async fn month(solves: usize) {
    let background = Background::new();
    let place = tempfile::TempDir::new().unwrap();
    let sandbox = start_sandbox(&background).await;
    write_files(place.path(), &sandbox, PRICES[0]);
    to_the_first_of_a_month();
    let first = clock::now_ms();
    let mut program = Some(start_program(place.path()).await);
    let mut left_over = Vec::new();
    for day in 0..DAYS {
        if day == DAYS / 2 {
            // What was submitted at the old price is polled at the new one.
            let (running, _) = program.as_ref().unwrap();
            left_over = submit_only(running).await;
            write_files(place.path(), &sandbox, PRICES[1]);
            sandbox
                .change_account(ACCOUNT, |account| account.price_micros = PRICES[1])
                .unwrap();
            reload(running).await;
        }
        if day % 7 == 3 || day == DAYS / 2 {
            stop(program.take().unwrap()).await;
            program = Some(start_program(place.path()).await);
        }
        let (running, _) = program.as_ref().unwrap();
        for (token, id) in left_over.drain(..) {
            solved(running.http[0], token, &id).await;
        }
        let done = (day * solves) / DAYS;
        let until = ((day + 1) * solves) / DAYS;
        a_day(running, until - done).await;
        clock::go_ahead(Duration::from_secs(86_400));
    }
    stop(program.take().unwrap()).await;

    let began = Instant::now();
    let bill = bill(place.path(), first);
    let took = began.elapsed();
    let totals = sandbox.ledger().accounts.remove(ACCOUNT).unwrap();
    let expected = solves as u64 + TENANTS.len() as u64;
    assert_eq!((totals.made, totals.solved), (expected, expected));
    assert_eq!(bill["total"]["solves"], totals.solved);
    assert_eq!(bill["total"]["cost_micro_usd"], totals.charged_micros);
    assert_eq!(bill["total"]["uncertain"], 0);
    assert_eq!(bill["total"]["expired"], 0);
    assert_eq!(bill["lines"].as_array().unwrap().len(), DAYS);
    // Unoptimised it takes several times as long.
    assert!(took < Duration::from_secs(5), "{took:?}");
    say(&format!(
        "{solves} solves in {DAYS} days; the report took {took:?}"
    ));
    files_add_up(place.path(), first, totals.charged_micros);
    sandbox.stop().await;
}

/// So many tasks of all tenants, each submitted and polled once it is solved.
async fn a_day(running: &Running, solves: usize) {
    let address = running.http[0];
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let next = Arc::clone(&next);
        clients.spawn(async move {
            let mut connection = http::Connection::open(address).await.unwrap();
            loop {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if number >= solves {
                    return;
                }
                let token = token(number % TENANTS.len());
                let answer = connection.get(&in_php(&token)).await.unwrap();
                let id = answer
                    .body
                    .strip_prefix("OK|")
                    .expect(&answer.body)
                    .to_owned();
                // Some hear the vendor's own price, some ask twice.
                let action = if number.is_multiple_of(2) {
                    "get"
                } else {
                    "get2"
                };
                for _ in 0..1 + number % 3 / 2 {
                    let poll = format!("/res.php?key={token}&action={action}&id={id}");
                    let answer = connection.get(&poll).await.unwrap();
                    assert!(answer.body.starts_with("OK|"), "{answer:?}");
                }
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}

async fn submit_only(running: &Running) -> Vec<(usize, String)> {
    let mut ids = Vec::new();
    for tenant in 0..TENANTS.len() {
        let target = in_php(&token(tenant));
        let answer = http::send(running.http[0], "GET", &target, "", "").await;
        ids.push((tenant, answer.body.strip_prefix("OK|").unwrap().to_owned()));
    }
    ids
}

async fn solved(address: SocketAddr, tenant: usize, id: &str) {
    let poll = format!("/res.php?key={}&action=get&id={id}", token(tenant));
    let answer = http::send(address, "GET", &poll, "", "").await;
    assert!(answer.body.starts_with("OK|"), "{answer:?}");
}

fn in_php(token: &str) -> String {
    format!("/in.php?key={token}&method=userrecaptcha&googlekey=SITEKEY&pageurl=http://example.com")
}

fn token(tenant: usize) -> String {
    format!("{:0>32}", format!("70ce{tenant}"))
}

async fn start_sandbox(background: &Background) -> Sandbox {
    let config = SandboxConfig {
        dialect: Dialect::Twocaptcha,
        accounts: vec![AccountConfig {
            solve_ms: 0,
            balance_micros: 10_000_000_000,
            price_micros: PRICES[0],
            ..AccountConfig::new(ACCOUNT.to_owned(), KEY.to_owned())
        }],
        record_limit: 1_000,
        ..SandboxConfig::default()
    };
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    sandbox::start(config, any_port, background).await.unwrap()
}

fn write_files(place: &Path, sandbox: &Sandbox, price: i64) {
    let config = format!(
        "listen.http = [\"127.0.0.1:0\"]\nadmin.listen = [\"127.0.0.1:0\"]\ntenants_file = \"tenants.toml\"\n\
         clients.mode = \"tenants\"\nvendor.profile = \"2captcha\"\nvendor.url = {:?}\nvendor.allow_plaintext = true\n\
         vendor.limits.submits = 0\nvendor.limits.polls = 0\npoll.pace = \"0s\"\nstate.sync = \"process\"\n\
         state.path = {:?}\nprices.recaptcha_v2 = 0.{price:06}\n",
        sandbox.url(),
        place.join("sidekey.db"),
    );
    fs::write(place.join("sidekey.toml"), config).unwrap();
    let keys = format!("[[key]]\nname = {ACCOUNT:?}\nvalue = {KEY:?}\n");
    fs::write(place.join("keys.toml"), keys).unwrap();
    let tenants = TENANTS.iter().enumerate();
    let tenants =
        tenants.map(|(n, name)| format!("[[tenant]]\nname = {name:?}\ntoken = {:?}\n", token(n)));
    fs::write(place.join("tenants.toml"), tenants.collect::<String>()).unwrap();
}

async fn start_program(place: &Path) -> (Running, Background) {
    let input = Input {
        config: Some(config(place)),
        ..Input::default()
    };
    let background = Background::new();
    let running = app::start(input.clone(), load(&input), &background).await;
    let running = running.unwrap();
    running.server.prober.has_learnt().await;
    (running, background)
}

async fn stop((running, background): (Running, Background)) {
    assert_eq!(running.stop(&background).await, 0, "work was cut off");
}

async fn reload(running: &Running) {
    let headers = "X-Sidekey: 1\r\n";
    let answer = http::send(running.admin[0], "POST", "/api/reload", headers, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn config(place: &Path) -> PathBuf {
    place.join("sidekey.toml")
}

/// At noon, so that no day ends while it is tested. The bill must not reach into the next month.
fn to_the_first_of_a_month() {
    let half_a_day = sidekey::calendar::DAY_MS / 2;
    let to_noon = (half_a_day - clock::now_ms()).rem_euclid(2 * half_a_day);
    clock::go_ahead(Duration::from_millis(to_noon as u64));
    while !rfc3339_day(clock::now_ms()).ends_with("-01") {
        clock::go_ahead(Duration::from_secs(86_400));
    }
    // February is too short.
    while rfc3339_day(clock::now_ms()).ends_with("-02-01") {
        clock::go_ahead(Duration::from_secs(28 * 86_400));
    }
}

fn rfc3339_day(at_ms: i64) -> String {
    sidekey::calendar::date(at_ms.div_euclid(sidekey::calendar::DAY_MS))
}

/// Of the month, by day.
fn bill(place: &Path, at_ms: i64) -> Value {
    let config = config(place);
    let out = run(
        &["--config", text(&config), "--by", "day", "--format", "json"],
        at_ms,
    );
    serde_json::from_str(&out).unwrap()
}

/// Of a store without a configuration.
fn bill_of(store: &Path, at_ms: i64, by: &str) -> Value {
    let out = run(
        &["--store", text(store), "--by", by, "--format", "json"],
        at_ms,
    );
    serde_json::from_str(&out).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The files of all tenants, a line for each solve.
fn files_add_up(place: &Path, at_ms: i64, charged: i64) {
    let directory = place.join("bills");
    let store = place.join("sidekey.db");
    run(
        &["--store", text(&store), "--csv-dir", text(&directory)],
        at_ms,
    );
    let mut sum = 0;
    for tenant in TENANTS {
        let month = &rfc3339_day(at_ms)[..7];
        let file = directory.join(format!("{tenant}_{month}.csv"));
        let text = fs::read_to_string(file).unwrap();
        for line in text.lines().skip(1) {
            let cost = line.rsplit(',').next().unwrap();
            sum += sidekey::money::micro_usd(cost).unwrap();
        }
    }
    assert_eq!(sum, charged);
}

fn run(more: &[&str], at_ms: i64) -> String {
    let words = ["sidekey", "report"];
    let arguments = Arguments::try_parse_from(words.iter().chain(more)).unwrap();
    let Command::Report(args) = arguments.command else {
        panic!("no report");
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = report::run(&args, Environment::default(), at_ms, &mut out, &mut err).unwrap();
    assert_eq!((code, String::from_utf8_lossy(&err)), (0, "".into()));
    String::from_utf8(out).unwrap()
}
