//! `kill -9` while clients submit under idempotency keys, and every one of them sent again to the next process.
//!
//! What must hold: the vendor made one task a key at most; who heard an id hears the same again; who heard nothing hears the
//! id, that nobody knows, or is the first.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use sidekey::background::Background;
use sidekey::sandbox::Sandbox;
use tokio::task::JoinSet;

use crate::support::{Client, Place, Program, body, vendor};

const SUBMITTERS: usize = 30;
const ROUNDS: u64 = 5;
const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_after_a_kill_never_pays_twice() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let mut program = place.start();
    let (mut same, mut uncertain, mut first) = (0, 0, 0);
    for round in 1..=ROUNDS {
        let sent = submit_until_killed(program, round).await;
        let made = made(&sandbox, round);
        program = place.start();
        let mut client = program.client().await;
        for (label, heard) in &sent {
            let again = submit(&mut client, label).await.unwrap();
            match (heard, again.strip_prefix("OK|")) {
                (Some(heard), _) => assert_eq!(*heard, again, "{label} was heard before"),
                (None, Some(id)) => match made.get(label) {
                    Some(ids) => assert_eq!(*ids, [id], "{label}"),
                    None => first += 1,
                },
                (None, None) => {
                    assert_eq!(again, "ERROR_SUBMIT_UNCERTAIN", "{label}");
                    uncertain += 1;
                }
            }
            same += usize::from(heard.is_some());
            let twice = submit(&mut client, label).await.unwrap();
            assert_eq!(again, twice, "{label}");
        }
    }
    for round in 1..=ROUNDS {
        for (label, ids) in made(&sandbox, round) {
            assert_eq!(ids.len(), 1, "{label} was paid for twice");
        }
    }
    assert!(same > 0, "nobody heard an id: {uncertain} {first}");
}

/// By label, what its client heard.
async fn submit_until_killed(program: Program, round: u64) -> BTreeMap<String, Option<String>> {
    let heard = Arc::new(AtomicU64::new(0));
    let kill_at = 20 + getrandom::u64().unwrap() % 150;
    let mut submitters = JoinSet::new();
    for n in 0..SUBMITTERS {
        let (address, pid, heard) = (program.http, program.pid(), Arc::clone(&heard));
        submitters.spawn(submit_on(
            address,
            pid,
            heard,
            kill_at,
            format!("round{round}x{n}x"),
        ));
    }
    let all = submitters.join_all().await;
    program.wait();
    all.into_iter().flatten().collect()
}

async fn submit_on(
    address: SocketAddr,
    pid: Pid,
    heard: Arc<AtomicU64>,
    kill_at: u64,
    prefix: String,
) -> BTreeMap<String, Option<String>> {
    let mut sent = BTreeMap::new();
    let Ok(mut client) = Client::connect(address).await else {
        return sent;
    };
    for number in 0.. {
        let label = format!("{prefix}{number}");
        let answer = submit(&mut client, &label).await;
        sent.insert(label, answer.clone());
        if answer.is_none() {
            break;
        }
        if heard.fetch_add(1, Ordering::Relaxed) + 1 == kill_at {
            kill_process(pid, Signal::KILL).unwrap();
        }
    }
    sent
}

/// `None`: the connection broke.
async fn submit(client: &mut Client, label: &str) -> Option<String> {
    let form = format!(
        "key=placeholder&{label}=1&x_idempotency_key={label}&method=userrecaptcha&googlekey=k&pageurl=p"
    );
    let answer = client.post("/in.php", FORM, form.as_bytes()).await.ok()?;
    Some(body(&answer).to_owned())
}

/// The vendor's own count: ids by label.
fn made(sandbox: &Sandbox, round: u64) -> BTreeMap<String, Vec<String>> {
    let mut made = BTreeMap::<String, Vec<String>>::new();
    let prefix = format!("round{round}x");
    for call in &sandbox.record().calls {
        let label = call.names.iter().find(|name| name.starts_with(&prefix));
        if let (Some(label), Some(id), true) = (label, &call.task, call.done) {
            made.entry(label.clone()).or_default().push(id.clone());
        }
    }
    made
}
