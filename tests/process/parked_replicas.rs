//! Three replicas hold parked submits, and each is killed, while there is no money and while the parked ones go out.
//!
//! What must hold: every parked submit ends solved, or uncertain and listed so; none is lost; the vendor made of none two tasks.
//!
//! `PARKED_ROUNDS=5 cargo test --test process parked_replicas -- --nocapture` is the long form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sidekey::background::Background;
use sidekey::config::environment::Environment;
use sidekey::sandbox::{Fault, FaultRule};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::fleet::{Fleet, NOT_READY, REPLICAS};
use crate::parked::{ACCOUNT, Heard, form, start, vendor};
use crate::redis_server::RedisServer;
use crate::support::{Client, PATIENCE, Place, body, id, made};

const CLIENTS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn what_killed_replicas_had_parked_is_solved_once_or_uncertain() {
    let rounds: usize = Environment::of_this_process()
        .get("PARKED_ROUNDS")
        .map_or(1, |rounds| rounds.parse().unwrap());
    let background = Background::new();
    let (sandbox, redis) = (vendor(&background).await, RedisServer::start());
    let place = Place::new(&sandbox);
    let parks = "[submit]\nwhen_empty = \"park\"\n";
    place.configure(
        &sandbox,
        &format!("store = \"redis\"\nurl = {:?}\n{parks}", redis.url()),
    );
    let fleet = Arc::new(Fleet::start(place, start));
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(submit(Arc::clone(&fleet), Arc::clone(&over), client));
    }
    for kill in 0..rounds * REPLICAS {
        sleep(Duration::from_millis(700)).await;
        fleet.kill(kill).await;
    }
    over.store(true, Ordering::Relaxed);
    let heard = clients.join_all().await.concat();
    let ends = background.spawn(ends(Arc::clone(&fleet), heard.clone()));
    // The money comes back, and the parked ones go out so slowly that the kills meet some.
    let slow = FaultRule {
        delay_ms: 500,
        ..FaultRule::new(Fault::Slow).endpoint("in.php")
    };
    sandbox.set_fault(slow).unwrap();
    sandbox.set_balance(ACCOUNT, 1_000_000_000).unwrap();
    // Who starts knows of no rest, which is a minute at least; and what these had parked is adopted at once.
    for at in 0..REPLICAS {
        fleet.roll(at).await;
    }
    for _ in 0..rounds {
        let (before, began) = (sandbox.tasks().len(), Instant::now());
        while sandbox.tasks().len() < before + 20 {
            assert!(began.elapsed() < 2 * PATIENCE, "they do not go out");
            sleep(Duration::from_millis(10)).await;
        }
        for at in 0..REPLICAS {
            fleet.kill(at).await;
        }
    }
    sandbox.clear_faults();
    let ends = ends.await.unwrap();
    // Also those whose clients never heard their ids.
    let began = Instant::now();
    while fleet.sum("sidekey_parked_submits").await > 0.0 {
        assert!(began.elapsed() < PATIENCE, "some are never sent");
        sleep(Duration::from_millis(20)).await;
    }

    let made = made(&sandbox, "round");
    assert_eq!(made.len(), sandbox.tasks().len());
    let mut known = BTreeSet::new();
    for (turn, (label, task)) in made.iter().enumerate() {
        if fleet.answer(turn, task).await == format!("OK|solved-{task}") {
            known.insert(label);
        }
    }
    let uncertain = fleet.uncertain().await;
    for label in made.keys() {
        let (known, listed) = (known.contains(label), uncertain.contains(label));
        assert!(
            known != listed,
            "{label}: known {known}, uncertain {listed}"
        );
    }
    let (mut solved, mut listed, mut parked) = (0, 0, 0);
    for Heard { label, id } in &heard {
        parked += usize::from(id.len() == 16);
        if ends[id] == "ERROR_SUBMIT_UNCERTAIN" {
            assert!(uncertain.contains(label), "{id} is not listed");
            listed += 1;
        } else {
            assert_eq!(ends[id], format!("OK|solved-{}", made[label]), "{label}");
            assert!(known.contains(label), "{label}");
            solved += 1;
        }
    }
    figures(
        2 * rounds * REPLICAS,
        [
            heard.len(),
            parked,
            solved,
            listed,
            made.len(),
            uncertain.len(),
        ],
    );
    assert!(parked > 100, "only {parked} were parked");
    assert!(listed > 0, "no kill met a parked submit on its way");
    assert_eq!(sandbox.counts().foreign, 0, "wrong-key polls");
}

async fn submit(fleet: Arc<Fleet>, over: Arc<AtomicBool>, client: usize) -> Vec<Heard> {
    let mut heard = Vec::new();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let label = format!("round{client}x{number}");
        // Killed in the middle: nobody heard an id.
        if let Some(answer) = post(&fleet, client + number, &form(&label)).await
            && body(&answer) != "ERROR_SUBMIT_UNCERTAIN"
        {
            let id =
                id(&answer).unwrap_or_else(|| panic!("a submit was answered {}", body(&answer)));
            let id = id.to_owned();
            heard.push(Heard { label, id });
        }
        sleep(Duration::from_millis(20)).await;
    }
    heard
}

async fn post(fleet: &Fleet, turn: usize, form: &str) -> Option<Vec<u8>> {
    let mut client = Client::connect(fleet.address(turn).await).await.ok()?;
    let kind = "application/x-www-form-urlencoded";
    client.post("/in.php", kind, form.as_bytes()).await.ok()
}

/// All in turn: whom nobody polls is dropped.
async fn ends(fleet: Arc<Fleet>, heard: Vec<Heard>) -> BTreeMap<String, String> {
    let (mut ends, mut turn) = (BTreeMap::new(), 0);
    let began = Instant::now();
    while ends.len() < heard.len() {
        assert!(began.elapsed() < 10 * PATIENCE, "some never end");
        for Heard { id, .. } in &heard {
            if !ends.contains_key(id) {
                turn += 1;
                if let Some(answer) = fleet.poll(turn, id).await
                    && answer != NOT_READY
                {
                    ends.insert(id.clone(), answer);
                }
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    ends
}

#[expect(
    clippy::print_stderr,
    reason = "the figures of a crash test are what it is run for"
)]
fn figures(kills: usize, [heard, parked, solved, listed, made, uncertain]: [usize; 6]) {
    eprintln!(
        "{kills} kills of {REPLICAS} replicas: {heard} ids heard, {parked} of them parked; {solved} solved, {listed} uncertain; {made} tasks made, {uncertain} uncertain with those that nobody heard of"
    );
}
