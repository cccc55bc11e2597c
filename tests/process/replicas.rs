//! Three processes on one Redis, `kill -9` of one after the other while clients submit at any and poll at any other.
//!
//! What must hold: no poll goes out with another account's key, every id that a client heard is answered, and every task that
//! the vendor made is known to the replicas or listed as uncertain.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sidekey::background::Background;
use tokio::sync::RwLock;
use tokio::time::{Instant, sleep};

use crate::redis_server::RedisServer;
use crate::support::{Client, PATIENCE, Place, Program, body, id, vendor};

const REPLICAS: usize = 3;
const KILLS: usize = 6;
const CLIENTS: usize = 9;
const SUBMIT: &str = "/in.php?key=x&method=userrecaptcha&googlekey=K&pageurl=http://example.com";
const NOT_READY: &str = "CAPCHA_NOT_READY";

type Programs = Arc<RwLock<Vec<Program>>>;

#[tokio::test(flavor = "multi_thread")]
async fn killed_one_after_the_other_replicas_lose_no_task_and_mix_up_no_keys() {
    let background = Background::new();
    let (sandbox, redis) = (vendor(&background).await, RedisServer::start());
    let state = format!("store = \"redis\"\nurl = {:?}\n", redis.url());
    let place = Place::new(&sandbox);
    place.configure(&sandbox, &state);
    let programs: Vec<_> = (0..REPLICAS).map(|_| place.start()).collect();
    let programs: Programs = Arc::new(RwLock::new(programs));
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (programs, over) = (Arc::clone(&programs), Arc::clone(&over));
            background.spawn(async move {
                let (mut at, mut heard) = (client, Vec::new());
                while !over.load(Ordering::Relaxed) {
                    at += 1;
                    // Killed in the middle: nobody heard an id.
                    let answer = ask(&programs, at, SUBMIT).await.unwrap_or_default();
                    if let Some(id) = answer.strip_prefix("OK|") {
                        solved(&programs, at + 1, id).await;
                        heard.push(id.to_owned());
                    }
                }
                heard
            })
        })
        .collect();
    for kill in 0..KILLS {
        sleep(Duration::from_millis(700)).await;
        // Not under the clients' lock: it is gone while they use it.
        let pid = programs.read().await[kill % REPLICAS].pid();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        sleep(Duration::from_millis(300)).await;
        let again = place.start();
        programs.write().await[kill % REPLICAS] = again;
    }
    over.store(true, Ordering::Relaxed);
    let mut heard = BTreeSet::new();
    for client in clients {
        heard.extend(client.await.unwrap());
    }
    assert!(heard.len() > 100, "{}", heard.len());
    let mut unknown = 0;
    for task in sandbox.tasks() {
        let answer = answer(&programs, 0, &task.id.to_string()).await;
        let is_known = answer.starts_with("OK|");
        assert!(
            is_known || !heard.contains(&task.id.to_string()),
            "{answer}"
        );
        unknown += usize::from(!is_known);
    }
    let listed = programs.read().await[0].ask_admin("/api/uncertain").await;
    let listed: serde_json::Value = serde_json::from_str(body(listed.as_bytes())).unwrap();
    let uncertain = listed["uncertain"].as_array().unwrap().len();
    assert!(
        unknown <= uncertain,
        "{unknown} tasks are lost, {uncertain} listed"
    );
    assert_eq!(sandbox.counts().foreign, 0, "wrong-key polls");
}

/// None: the replica is gone.
async fn ask(programs: &Programs, at: usize, target: &str) -> Option<String> {
    let address = programs.read().await[at % REPLICAS].http;
    let mut client = Client::connect(address).await.ok()?;
    let answer = client.get(target).await.ok()?;
    Some(id(&answer).map_or_else(|| body(&answer).to_owned(), |id| format!("OK|{id}")))
}

async fn solved(programs: &Programs, at: usize, id: &str) {
    let answer = answer(programs, at, id).await;
    assert!(answer.starts_with("OK|"), "{id}: {answer}");
}

/// The first that is not "not ready", from whichever replica is there.
async fn answer(programs: &Programs, mut at: usize, id: &str) -> String {
    let began = Instant::now();
    loop {
        let target = format!("/res.php?key=x&action=get&id={id}");
        match ask(programs, at, &target).await {
            Some(answer) if answer != NOT_READY => return answer,
            _ => assert!(began.elapsed() < PATIENCE, "{id} is never ready"),
        }
        at += 1;
        sleep(Duration::from_millis(20)).await;
    }
}
