//! `kill -9` at random instants while many clients submit, and a restart on the same state.
//!
//! What must hold after each: every id that a client heard is polled through the key that submitted it, although unknown
//! ids are refused; and every task that the vendor made is in the store, or listed as uncertain, by its own submit.
//!
//! `CRASH_ROUNDS=100 cargo test --test process crash` is the long form. `.ci/crash` also runs it against a program that
//! relays ids before they are durable, which must fail.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sidekey::background::Background;
use sidekey::config::environment::Environment;
use sidekey::sandbox::Sandbox;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::{Client, PATIENCE, Place, Program, body, id, query, vendor};

const SUBMITTERS: u64 = 50;
const ROUNDS: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn no_id_is_lost_when_commits_are_synced() {
    Crashes::run("full").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_id_is_lost_when_commits_only_outlive_the_process() {
    Crashes::run("process").await;
}

struct Crashes {
    sandbox: Sandbox,
    place: Place,
    sums: Sums,
}

#[derive(Debug, Default)]
struct Sums {
    rounds: u64,
    heard: usize,
    /// In the store, but the client was cut off before it heard the id.
    known_but_unheard: usize,
    /// Made by the vendor, and not in the store but in the uncertain list.
    uncertain_tasks: usize,
    /// All of the uncertain list: also submits that the vendor never got.
    uncertain: usize,
    tasks: usize,
    /// By the id, what is wrong with it.
    lost: BTreeMap<String, String>,
}

impl Crashes {
    async fn run(sync: &str) {
        let background = Background::new();
        let sandbox = vendor(&background).await;
        let place = Place::new(&sandbox);
        place.configure(&sandbox, &format!("sync = \"{sync}\"\n"));
        let rounds = Environment::of_this_process();
        let rounds = rounds
            .get("CRASH_ROUNDS")
            .map_or(ROUNDS, |n| n.parse().unwrap());
        let mut crashes = Self {
            sandbox,
            place,
            sums: Sums::default(),
        };
        let mut program = crashes.place.start();
        let mut all_heard = Vec::new();
        for round in 1..=rounds {
            let heard = submit_until_killed(program, round).await;
            if round % 3 == 0 {
                crashes.kill_a_start().await;
            }
            program = crashes.place.start();
            crashes.poll(&program, &heard).await;
            crashes.account_for_all(&heard, round);
            all_heard.extend(heard);
        }
        // Later crashes must not undo what earlier ones left whole.
        crashes.poll(&program, &all_heard).await;
        let sums = &crashes.sums;
        eprintln_figures(sync, sums);
        assert!(
            sums.lost.is_empty(),
            "LOST {} with sync = {sync}:\n{}",
            sums.lost.len(),
            sums.lost.values().cloned().collect::<Vec<_>>().join("\n")
        );
        // An id that is lost is on no bill either.
        crashes.bill(&all_heard).await;
        assert_eq!(crashes.sandbox.counts().foreign, 0, "polls by a wrong key");
        assert_eq!(
            sums.tasks,
            sums.heard + sums.known_but_unheard + sums.uncertain_tasks
        );
        assert!(
            sums.heard as u64 >= rounds,
            "too few submits to mean anything"
        );
    }

    /// Each solve that a client heard stands on the bill once, however often it was heard and the program was killed.
    async fn bill(&self, heard: &[Heard]) {
        let store = self.place.path("sidekey.db");
        let heard: BTreeSet<String> = heard.iter().map(|heard| heard.id.clone()).collect();
        let patience = Instant::now() + Duration::from_secs(10);
        loop {
            let sql = "SELECT id, count(*) FROM usage WHERE ended = 'solved' GROUP BY id";
            let billed = query(&store, sql, |row| Ok((row.get(0)?, row.get(1)?)));
            let billed: BTreeMap<String, i64> = billed.into_iter().collect();
            assert!(billed.values().all(|times| *times == 1), "billed twice");
            let missing = heard.iter().filter(|id| !billed.contains_key(*id)).count();
            if missing == 0 {
                return;
            }
            assert!(Instant::now() < patience, "{missing} solves are on no bill");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Recovery is interrupted, too.
    async fn kill_a_start(&self) {
        let program = Program::spawned(self.place.command());
        sleep(Duration::from_micros(random_below(60_000))).await;
        program.kill();
    }

    async fn poll(&mut self, program: &Program, heard: &[Heard]) {
        let pollers = heard.chunks(heard.len().div_ceil(20).max(1));
        let mut polls = JoinSet::new();
        for ids in pollers {
            let (ids, address) = (ids.to_vec(), program.http);
            polls.spawn(async move {
                let mut client = Client::connect(address).await.unwrap();
                let mut lost = Vec::new();
                for Heard { id, .. } in ids {
                    let said = polled(&mut client, &id).await;
                    if said != format!("OK|solved-{id}") {
                        let why = format!("{id} was relayed, its poll says {said}");
                        lost.push((id, why));
                    }
                }
                lost
            });
        }
        self.sums.lost.extend(polls.join_all().await.concat());
    }

    /// One to one: each task by the label that its submit carried.
    fn account_for_all(&mut self, heard: &[Heard], round: u64) {
        let store = self.place.path("sidekey.db");
        let of_round = format!("round{round}x%");
        let known: BTreeMap<String, String> = query(
            &store,
            &format!("SELECT project, id FROM tasks WHERE project LIKE '{of_round}'"),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .into_iter()
        .collect();
        let uncertain: BTreeSet<String> = query(
            &store,
            &format!("SELECT project FROM uncertain WHERE project LIKE '{of_round}'"),
            |row| row.get(0),
        )
        .into_iter()
        .collect();
        let heard: BTreeMap<&str, &str> = heard
            .iter()
            .map(|Heard { label, id }| (label.as_str(), id.as_str()))
            .collect();
        let made = self.made(&format!("round{round}x"));
        let sums = &mut self.sums;
        for (label, id) in &made {
            let wrong = match (known.get(label), heard.get(label.as_str())) {
                (Some(known), _) if known != id => format!("{id} is known as {known}"),
                (_, Some(heard)) if heard != id => format!("{id} was relayed as {heard}"),
                (None, Some(_)) => format!("{id} was relayed and is not known"),
                (None, None) if !uncertain.contains(label) => {
                    format!("{id} is neither known nor uncertain")
                }
                (Some(_), Some(_)) => {
                    sums.heard += 1;
                    continue;
                }
                (Some(_), None) => {
                    sums.known_but_unheard += 1;
                    continue;
                }
                (None, None) => {
                    sums.uncertain_tasks += 1;
                    continue;
                }
            };
            sums.lost.insert(id.clone(), wrong);
        }
        for (label, id) in &known {
            if !made.contains_key(label) {
                let wrong = format!("{id} is known and was never made");
                sums.lost.insert(id.clone(), wrong);
            }
        }
        sums.rounds += 1;
        sums.tasks += made.len();
        sums.uncertain += uncertain.len();
    }

    /// The vendor's own count: label and id of every task made for submits of this round.
    fn made(&self, of_round: &str) -> BTreeMap<String, String> {
        let record = self.sandbox.record();
        record
            .calls
            .iter()
            .filter(|call| call.done && call.endpoint == "in.php")
            .filter_map(|call| {
                let label = call.names.iter().find(|name| name.starts_with(of_round))?;
                Some((label.clone(), call.task.clone()?))
            })
            .collect()
    }
}

#[derive(Clone)]
struct Heard {
    label: String,
    id: String,
}

/// In every other round at any instant, also before the first id. In the rest right when some client hears its id: that is
/// when a record that is not durable yet is missed most.
async fn submit_until_killed(program: Program, round: u64) -> Vec<Heard> {
    let submitting = Arc::new(Submitting {
        address: program.http,
        pid: program.pid(),
        round,
        kill_at: if round.is_multiple_of(2) {
            1 + random_below(150)
        } else {
            u64::MAX
        },
        sent: AtomicU64::new(0),
        heard: AtomicU64::new(0),
    });
    let mut submitters = JoinSet::new();
    for _ in 0..SUBMITTERS {
        submitters.spawn(Arc::clone(&submitting).submit());
    }
    if submitting.kill_at == u64::MAX {
        sleep(Duration::from_micros(random_below(250_000))).await;
        program.signal(Signal::KILL);
    }
    let heard = submitters.join_all().await.concat();
    program.wait();
    heard
}

struct Submitting {
    address: SocketAddr,
    pid: Pid,
    round: u64,
    /// How many ids are heard until the kill.
    kill_at: u64,
    sent: AtomicU64,
    heard: AtomicU64,
}

impl Submitting {
    /// Until the connection breaks. The label names the submit on both sides: as a parameter the vendor sees it, as a
    /// project the store keeps it.
    async fn submit(self: Arc<Self>) -> Vec<Heard> {
        let mut heard = Vec::new();
        let Ok(mut client) = Client::connect(self.address).await else {
            return heard;
        };
        loop {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            let label = format!("round{}x{number}", self.round);
            let form = format!("key=placeholder&{label}=1&x_project={label}&method=userrecaptcha");
            let form = format!("{form}&googlekey=k&pageurl=p");
            let kind = "application/x-www-form-urlencoded";
            let Ok(answer) = client.post("/in.php", kind, form.as_bytes()).await else {
                return heard;
            };
            if self.heard.fetch_add(1, Ordering::Relaxed) + 1 == self.kill_at {
                kill_process(self.pid, Signal::KILL).unwrap();
            }
            let Some(id) = id(&answer) else {
                panic!("a submit was answered {}", body(&answer));
            };
            let id = id.to_owned();
            heard.push(Heard { label, id });
        }
    }
}

/// As clients do: again while it is not ready. After a start it is so until the key is proven.
async fn polled(client: &mut Client, id: &str) -> String {
    let target = format!("/res.php?key=placeholder&action=get&id={id}");
    let began = Instant::now();
    loop {
        let answer = client.get(&target).await.unwrap();
        let said = body(&answer);
        if said != "CAPCHA_NOT_READY" || began.elapsed() > PATIENCE {
            return said.to_owned();
        }
        sleep(Duration::from_millis(5)).await;
    }
}

fn random_below(limit: u64) -> u64 {
    getrandom::u64().unwrap() % limit
}

#[expect(
    clippy::print_stderr,
    reason = "the figures of a long run are what it is run for"
)]
fn eprintln_figures(sync: &str, sums: &Sums) {
    eprintln!(
        "sync = {sync}: {} kills under {SUBMITTERS} submitters, {} tasks made: {} ids heard, {} known but unheard, \
         {} uncertain (of {} in the list), {} lost",
        sums.rounds,
        sums.tasks,
        sums.heard,
        sums.known_but_unheard,
        sums.uncertain_tasks,
        sums.uncertain,
        sums.lost.len(),
    );
}
