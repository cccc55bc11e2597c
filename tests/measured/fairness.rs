//! One tenant's flood does not slow another: slots are short, hundreds of submits wait, and who asks for little is served
//! about as fast as alone.
//!
//! `FAIR_TASKS=100 cargo test --test measured fairness -- --nocapture` is the long form.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use sidekey::config::environment::Environment;
use sidekey::sandbox::{Dialect, SandboxConfig};
use tokio::time::{Instant, sleep};

use crate::support::http::Connection;
use crate::support::team::token;
use crate::support::{TASK, World, until, vendor};

const ACCOUNTS: usize = 3;
const THREADS: u32 = 8;
/// Long beside what a busy machine adds.
const SOLVE_MS: u64 = 1000;
/// Of those that flood.
const FLOOD: usize = 300;
/// Of the other one.
const CLIENTS: usize = 4;
const TASKS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_slows_another_tenant_by_half_at_most() {
    let _alone = crate::alone().await;
    flooded_by(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_do_three_floods() {
    let _alone = crate::alone().await;
    flooded_by(3).await;
}

async fn flooded_by(floods: usize) {
    let environment = Environment::of_this_process();
    let tasks = environment
        .get("FAIR_TASKS")
        .map_or(TASKS, |tasks| tasks.parse().unwrap());
    let names: Vec<_> = (0..=floods).map(name_of).collect();
    let tenants: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let config = "poll.unknown_task = \"refuse\"\npoll.pace = \"20ms\"";
    let world = World::start_for(plan(), config, &tenants).await;
    until("the plans are learnt", async || {
        world.metric("sidekey_key_slots{").await >= f64::from(THREADS) * ACCOUNTS as f64
    })
    .await;
    let alone = measure(&world, tasks).await;
    let ends = Arc::new(AtomicBool::new(false));
    let solved = Arc::new(AtomicUsize::new(0));
    let flood: Vec<_> = (0..FLOOD)
        .map(|n| {
            let (address, ends, solved) = (world.http(), Arc::clone(&ends), Arc::clone(&solved));
            world.background().spawn(async move {
                let mut connection = Connection::open(address).await.unwrap();
                while !ends.load(Ordering::Relaxed) {
                    solve(&mut connection, 1 + n % floods, &ends).await;
                    solved.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    until("the flood is there", async || {
        world.metric("sidekey_waiting_submits").await > FLOOD as f64 / 2.0
    })
    .await;
    let (began, before) = (Instant::now(), solved.load(Ordering::Relaxed));
    let beside = measure(&world, tasks).await;
    let a_second = (solved.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    ends.store(true, Ordering::Relaxed);
    for client in join_all(flood).await {
        client.unwrap();
    }
    print(&alone, &beside, a_second);
    let (alone, beside) = (percentile(&alone, 99), percentile(&beside, 99));
    assert!(
        beside <= alone.mul_f64(1.5),
        "p99 {beside:?} beside the flood, {alone:?} alone"
    );
    world.end().await;
}

fn plan() -> SandboxConfig {
    let mut config = vendor(Dialect::Captchaai, ACCOUNTS);
    for account in &mut config.accounts {
        account.threads = Some(THREADS);
        account.solve_ms = SOLVE_MS;
    }
    config
}

/// From each submit to its solution, refused tries included, in order of length.
async fn measure(world: &World, tasks: usize) -> Vec<Duration> {
    let address = world.http();
    let client = async |_| measure_one(address, tasks).await;
    let mut took = join_all((0..CLIENTS).map(client)).await.concat();
    took.sort_unstable();
    took
}

async fn measure_one(address: SocketAddr, tasks: usize) -> Vec<Duration> {
    let mut connection = Connection::open(address).await.unwrap();
    let mut took = Vec::new();
    for _ in 0..tasks {
        let began = Instant::now();
        solve(&mut connection, 0, &AtomicBool::new(false)).await;
        took.push(began.elapsed());
    }
    took
}

async fn solve(connection: &mut Connection, n: usize, ends: &AtomicBool) {
    let pause = Duration::from_millis(20);
    let token = token(&name_of(n));
    let submit = format!("/in.php?key={token}&{TASK}");
    let id = loop {
        let answer = connection.get(&submit).await.unwrap().body;
        match answer.strip_prefix("OK|") {
            Some(id) => break id.to_owned(),
            None if ends.load(Ordering::Relaxed) => return,
            None => sleep(pause).await,
        }
    };
    let poll = format!("/res.php?key={token}&action=get&id={id}");
    while connection.get(&poll).await.unwrap().body == "CAPCHA_NOT_READY" {
        sleep(pause).await;
    }
}

/// The first is the one that is measured.
fn name_of(n: usize) -> String {
    format!("tenant-{n}")
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[expect(
    clippy::print_stderr,
    reason = "the figures are what a long run is run for"
)]
fn print(alone: &[Duration], beside: &[Duration], a_second: f64) {
    let slots = THREADS as usize * ACCOUNTS;
    eprintln!("{slots} slots of {SOLVE_MS} ms, {FLOOD} clients flood, {CLIENTS} others:");
    for (what, took) in [("alone", alone), ("beside", beside)] {
        let [p50, p99] = [50, 99].map(|percent| percentile(took, percent));
        eprintln!("{what}: {} tasks, p50 {p50:?}, p99 {p99:?}", took.len());
    }
    eprintln!("the flood solved {a_second:.1} a second");
}
