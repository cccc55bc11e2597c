//! The version before and this one on one store: an upgrade, the way back, replicas of both beside each other.
//!
//! `SIDEKEY_BEFORE` is the program of the version before; without it this one stands for it:
//! `SIDEKEY_BEFORE=/path/to/sidekey cargo test --test process versions -- --nocapture`

use std::process::Command;

use rustix::process::Signal;
use sidekey::background::Background;
use sidekey::config::environment::Environment;
use tokio::time::{Duration, Instant, sleep};

use crate::redis_server::RedisServer;
use crate::support::{Client, PATIENCE, Place, Program, body, id, vendor};

const SUBMIT: &str = "/in.php?key=x&method=userrecaptcha&googlekey=K&pageurl=http://example.com";
const TASKS_A_TURN: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    Before,
    Now,
}
use Version::{Before, Now};

#[tokio::test(flavor = "multi_thread")]
async fn versions_take_turns_on_one_file() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let mut tasks: Vec<String> = Vec::new();
    // Each is killed once and stopped once before the other goes on.
    for (turn, version) in [Before, Now, Before, Now, Now, Before, Now]
        .into_iter()
        .enumerate()
    {
        let program = start(&place, version);
        for task in &tasks {
            solved(&program, task).await;
        }
        tasks.extend(submit(&program).await);
        if turn % 4 < 2 {
            end(program);
        } else {
            program.kill();
        }
    }
    assert_eq!(tasks.len(), 7 * TASKS_A_TURN);
    assert_eq!(sandbox.counts().foreign, 0, "wrong-key polls");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_two_versions_share_one_server() {
    let background = Background::new();
    let (sandbox, redis) = (vendor(&background).await, RedisServer::start());
    let place = Place::new(&sandbox);
    let state = format!("store = \"redis\"\nurl = {:?}\n", redis.url());
    place.configure(&sandbox, &state);
    let mut replicas = [
        start(&place, Before),
        start(&place, Before),
        start(&place, Before),
    ];
    let mut tasks: Vec<String> = Vec::new();
    // One after the other is replaced, and one is taken back.
    for (at, version) in [(0, Now), (1, Now), (1, Before), (1, Now), (2, Now)] {
        for replica in &replicas {
            tasks.extend(submit(replica).await);
        }
        let again = start(&place, version);
        end(std::mem::replace(&mut replicas[at], again));
        for (number, task) in tasks.iter().enumerate() {
            solved(&replicas[number % replicas.len()], task).await;
        }
    }
    assert_eq!(tasks.len(), 5 * 3 * TASKS_A_TURN);
    assert_eq!(sandbox.counts().foreign, 0, "wrong-key polls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_too_new_is_refused_and_says_what_to_do() {
    let background = Background::new();
    let (sandbox, redis) = (vendor(&background).await, RedisServer::start());
    let place = Place::new(&sandbox);
    end(place.start());
    let file = rusqlite::Connection::open(place.path("sidekey.db")).unwrap();
    file.pragma_update(None, "user_version", 2_001).unwrap();
    drop(file);
    is_refused(place.command(), "run that one, or move the file away");
    let mut report = crate::support::sidekey();
    report
        .args(["report", "--store"])
        .arg(place.path("sidekey.db"));
    is_refused(report, "ask that one for the report");

    redis.say("SET sidekey:version 2");
    let state = format!("store = \"redis\"\nurl = {:?}\n", redis.url());
    place.configure(&sandbox, &state);
    is_refused(
        place.command(),
        "run that one, or set state.url to another database",
    );
}

fn is_refused(command: Command, wanted: &str) {
    let (status, printed) = Program::spawned(command).wait();
    assert_eq!(status.code(), Some(69), "{printed}");
    assert!(
        printed.contains("was written by a newer sidekey"),
        "{printed}"
    );
    assert!(printed.contains(wanted), "{printed}");
}

fn start(place: &Place, version: Version) -> Program {
    let mut command = place.command();
    let before = Environment::of_this_process();
    if let (Before, Some(before)) = (version, before.get("SIDEKEY_BEFORE")) {
        let mut other = Command::new(before);
        other.args(command.get_args()).env_clear();
        other.current_dir(command.get_current_dir().unwrap());
        command = other;
    }
    Program::serving(command)
}

fn end(program: Program) {
    program.signal(Signal::TERM);
    let (status, printed) = program.wait();
    assert_eq!(status.code(), Some(0), "{printed}");
}

async fn submit(program: &Program) -> Vec<String> {
    let mut client = program.client().await;
    let mut tasks: Vec<String> = Vec::new();
    for _ in 0..TASKS_A_TURN {
        let answer = client.get(SUBMIT).await.unwrap();
        tasks.push(
            id(&answer)
                .unwrap_or_else(|| panic!("{}", body(&answer)))
                .to_owned(),
        );
    }
    tasks
}

async fn solved(program: &Program, task: &str) {
    let (mut client, began) = (Client::connect(program.http).await.unwrap(), Instant::now());
    let target = format!("/res.php?key=x&action=get&id={task}");
    loop {
        let answer = client.get(&target).await.unwrap();
        if body(&answer) != "CAPCHA_NOT_READY" {
            assert!(body(&answer).starts_with("OK|"), "{}", body(&answer));
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{task} is never ready");
        sleep(Duration::from_millis(20)).await;
    }
}
