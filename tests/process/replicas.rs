//! Three processes on one Redis: killed, rolled and cut off from it, while clients submit at any and poll at any other.
//!
//! What must hold: no poll goes out with another account's key, every id that a client heard is answered, and every task that
//! the vendor made is known to the replicas or listed as uncertain.
//!
//! `REPLICA_ROUNDS=20 cargo test --test process replicas -- --nocapture` is the long form.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sidekey::background::Background;
use sidekey::config::environment::Environment;
use sidekey::sandbox::{Fault, FaultRule, Sandbox};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::fleet::{Fleet, REPLICAS};
use crate::redis_server::RedisServer;
use crate::support::{Place, made, vendor};

const CLIENTS: usize = 9;

#[tokio::test(flavor = "multi_thread")]
async fn through_kills_rolling_restarts_and_one_of_redis_no_task_is_lost_and_no_keys_are_mixed_up()
{
    let rounds: usize = Environment::of_this_process()
        .get("REPLICA_ROUNDS")
        .map_or(2, |rounds| rounds.parse().unwrap());
    let background = Background::new();
    let (sandbox, mut redis) = (vendor(&background).await, RedisServer::start());
    for account in sandbox.accounts() {
        sandbox.set_solve_time(&account.name, 200).unwrap();
    }
    let place = Place::new(&sandbox);
    // An hour, so that whatever is asked is asked because of a start or a lead that passes on.
    let state = format!("store = \"redis\"\nurl = {:?}\n", redis.url());
    place.configure(&sandbox, &format!("{state}[balance]\nrefresh = \"1h\"\n"));
    let config = std::fs::read_to_string(place.path("sidekey.toml")).unwrap();
    let config = config.replace("[poll]", "[poll]\npace = \"100ms\"");
    place.write("sidekey.toml", &config);
    // So that kills meet submits on their way.
    let slow = FaultRule {
        delay_ms: 50,
        ..FaultRule::new(Fault::Slow).endpoint("in.php")
    };
    sandbox.set_fault(slow).unwrap();
    let fleet = Arc::new(Fleet::start(place, Place::start));
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(solve(Arc::clone(&fleet), Arc::clone(&over), client));
    }
    let work = || sleep(Duration::from_millis(700));
    for round in 0..rounds {
        for at in 0..REPLICAS {
            work().await;
            fleet.kill(at).await;
        }
        for at in 0..REPLICAS {
            work().await;
            fleet.roll(at).await;
        }
        if round == 0 {
            work().await;
            redis.kill();
            sleep(Duration::from_millis(500)).await;
            redis.start_again();
            // Whoever is killed before it has written back takes along what only it knows.
            sleep(Duration::from_secs(3)).await;
        }
    }
    over.store(true, Ordering::Relaxed);
    let heard: BTreeSet<String> = clients.join_all().await.into_iter().flatten().collect();
    let made = made(&sandbox, "crowd");
    let (mut known, mut apart) = (0, 0);
    // Asked once all are at their ends: until then a dead replica's submits may be open.
    let mut answers = Vec::new();
    for (turn, task) in made.values().enumerate() {
        answers.push(fleet.answer(turn, task).await.starts_with("OK|"));
    }
    let uncertain = fleet.uncertain().await;
    for ((label, task), is_known) in made.iter().zip(answers) {
        assert!(is_known != uncertain.contains(label), "{label}: {is_known}");
        assert!(is_known || !heard.contains(task), "{task} is lost");
        known += usize::from(is_known);
        apart += usize::from(!is_known);
    }
    let upkeep = upkeep(&sandbox);
    figures(rounds, [heard.len(), known, apart, upkeep.len()]);
    assert!(heard.len() > 100, "{}", heard.len());
    assert_eq!(sandbox.counts().foreign, 0, "wrong-key polls");
    // As many as one alone asks at its first start.
    assert_eq!(upkeep.len(), sandbox.accounts().len(), "{upkeep:?}");
}

/// Calls that no client asked for.
fn upkeep(sandbox: &Sandbox) -> Vec<(u64, String, String)> {
    let record = sandbox.record();
    let own = record
        .calls
        .iter()
        .filter(|call| call.endpoint == "res.php" && call.action != "get");
    own.map(|call| {
        (
            call.at_ms,
            call.action.clone(),
            call.account.clone().unwrap_or_default(),
        )
    })
    .collect()
}

/// One after the other, each polled elsewhere, until it is over. Returns the ids that were heard.
async fn solve(fleet: Arc<Fleet>, over: Arc<AtomicBool>, client: usize) -> Vec<String> {
    let mut heard = Vec::new();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let label = format!("crowd{client}x{number}");
        let submit = format!(
            "/in.php?key=placeholder&{label}=1&x_project={label}&method=userrecaptcha&googlekey=k&pageurl=p"
        );
        // Killed in the middle: nobody heard an id.
        let answer = fleet
            .get(client + number, &submit)
            .await
            .unwrap_or_default();
        if let Some(id) = answer.strip_prefix("OK|") {
            let solved = fleet.answer(client + number + 1, id).await;
            assert!(solved.starts_with("OK|"), "{id}: {solved}");
            heard.push(id.to_owned());
        }
    }
    heard
}

#[expect(
    clippy::print_stderr,
    reason = "the figures of a crash test are what it is run for"
)]
fn figures(rounds: usize, [heard, known, uncertain, upkeep]: [usize; 4]) {
    eprintln!(
        "{rounds} rounds of {REPLICAS} kills and {REPLICAS} rolling restarts: {heard} ids heard, {known} tasks known, {uncertain} uncertain, {upkeep} calls for upkeep"
    );
}
