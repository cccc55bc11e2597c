//! Processes that submit once and end: with nothing remembered between them, they spread evenly over their keys.
//!
//! `SPREAD_PROCESSES=1000 cargo test --test process spread -- --nocapture` is the long form.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sidekey::background::Background;
use sidekey::config::environment::Environment;
use sidekey::sandbox::Sandbox;
use tokio::task::JoinSet;

use crate::support::{Place, body, id, vendor_of};

const KEYS: usize = 10;
const PROCESSES: u64 = 100;
const AT_ONCE: usize = 4;
/// Of chi-square with 9 degrees of freedom: even processes are beyond it once in 100,000 runs.
const MOST: f64 = 39.3;

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn processes_that_submit_once_spread_evenly_over_their_keys() {
    let background = Background::new();
    let sandbox = vendor_of(KEYS, &background).await;
    let environment = Environment::of_this_process();
    let processes = environment
        .get("SPREAD_PROCESSES")
        .map_or(PROCESSES, |n| n.parse().unwrap());
    let started = Arc::new(AtomicU64::new(0));
    let mut starters = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (sandbox, started) = (sandbox.clone(), Arc::clone(&started));
        starters.spawn(async move {
            while started.fetch_add(1, Ordering::Relaxed) < processes {
                submit_once(&sandbox).await;
            }
        });
    }
    starters.join_all().await;
    let made: Vec<u64> = sandbox
        .ledger()
        .accounts
        .values()
        .map(|account| account.made)
        .collect();
    let each = processes as f64 / KEYS as f64;
    let chi_square: f64 = made
        .iter()
        .map(|made| (*made as f64 - each).powi(2) / each)
        .sum();
    print_figures(processes, &made, chi_square);
    assert_eq!(made.iter().sum::<u64>(), processes);
    assert!(chi_square < MOST, "{made:?}: {chi_square}");
}

/// A new place with a new state, as a container has it.
async fn submit_once(sandbox: &Sandbox) {
    let place = Place::new(sandbox);
    let program = place.start();
    let mut client = program.client().await;
    let target = "/in.php?key=placeholder&method=userrecaptcha&googlekey=k&pageurl=p";
    let answer = client.get(target).await.unwrap();
    assert!(id(&answer).is_some(), "{}", body(&answer));
    program.kill();
}

#[expect(
    clippy::print_stderr,
    reason = "the figures of a long run are what it is run for"
)]
fn print_figures(processes: u64, made: &[u64], chi_square: f64) {
    eprintln!("{processes} processes made {made:?} tasks: chi-square {chi_square:.1} of {MOST}");
}
