//! The program as it is started by people and by Kubernetes: the demo, the end under load, the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sidekey::sandbox::{Dialect, Fault, FaultRule};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::http::{self, Connection};
use crate::support::team::{tenants, token};
use crate::support::{PLACEHOLDER, TASK, World, key, keys, name, vendor};

const PATIENCE: Duration = Duration::from_secs(30);
const CLIENTS: usize = 50;

#[tokio::test]
async fn the_demo_solves_over_several_accounts_and_ends() {
    let demo = Command::new(env!("CARGO_BIN_EXE_sidekey"))
        .args(["demo", "--exit-after", "6"])
        .env_clear()
        .kill_on_drop(true)
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = timeout(PATIENCE, demo).await.unwrap().unwrap();
    let (shown, errors) = (text(&stdout), text(&stderr));
    assert_eq!(status.code(), Some(0), "{shown}\n{errors}");
    let solves: Vec<Vec<&str>> = shown
        .lines()
        .filter(|line| line.contains("solved-"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(solves.len(), 6, "{shown}");
    let accounts: BTreeSet<_> = solves.iter().map(|solve| solve[1]).collect();
    assert!(accounts.len() >= 2, "{shown}");
    for solve in solves {
        assert_eq!(solve[1], solve[2], "polled by another account: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_fails_no_request_and_exits_0() {
    let world = prepared().await;
    // So that there are always submits on their way.
    let slow = FaultRule::new(Fault::Slow).endpoint("in.php").delay_ms(150);
    world.sandbox.set_fault(slow).unwrap();
    let program = Program::start(&world).await;
    let address = program.http;
    let clients = (0..CLIENTS).map(|_| world.background().spawn(work_until_closed(address)));
    let clients: Vec<_> = clients.collect();
    world
        .sandbox
        .wait_for(|record| record.counts.endpoints.get("in.php") >= Some(&(4 * CLIENTS as u64)))
        .await;
    program.signal(Signal::TERM);
    let mut heard = 0;
    for client in join_all(clients).await {
        heard += client.unwrap();
    }
    assert_eq!(program.ended().await, Some(0));
    // Whatever reached the vendor was answered.
    assert_eq!(world.sandbox.tasks().len(), heard);
    assert!(heard >= CLIENTS, "{heard}");
    world.sandbox.stop().await;
}

#[tokio::test]
async fn the_log_has_one_line_a_request_with_stable_names_and_nothing_secret() {
    let world = prepared().await;
    let config = fs::read_to_string(world.config_path()).unwrap();
    fs::write(
        world.config_path(),
        config + "poll.unknown_task = \"refuse\"\nlog.format = \"json\"\nlog.level = \"trace\"\n",
    )
    .unwrap();
    let mut program = Program::start(&world).await;
    let get = async |target: String| {
        let target = target.replace("{}", PLACEHOLDER);
        http::send(program.http, "GET", &target, "", "").await.body
    };
    let id = get(format!("/in.php?key={{}}&proxy=login:password@host&{TASK}")).await;
    let id = id.strip_prefix("OK|").unwrap();
    for target in [
        format!("/res.php?key={{}}&action=get&id={id}"),
        format!("/res.php?key={{}}&action=reportgood&id={id}"),
        "/res.php?key={}&action=getbalance".into(),
        "/res.php?key={}&action=nothing".into(),
        "/res.php?key={}&action=get&id=unheard-of&json=1".into(),
    ] {
        get(target).await;
    }
    program.signal(Signal::TERM);
    let mut lines = Vec::new();
    while let Some(line) = program.log.next_line().await.unwrap() {
        for secret in [
            &key(1),
            &key(2),
            PLACEHOLDER,
            "password",
            "googlekey",
            "solved-",
        ] {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["target"] == "sidekey::request" {
            lines.push(line);
        }
    }
    assert_eq!(program.ended().await, Some(0));

    let calls: Vec<_> = lines
        .iter()
        .map(|line| (line["call"].as_str(), line["outcome"].as_str()))
        .collect();
    let expected = [
        ("submit", "relayed"),
        ("poll", "relayed"),
        ("report", "relayed"),
        ("balance", "answered"),
        ("unread", "unknown_action"),
        ("poll", "unknown_task"),
    ];
    assert_eq!(
        calls,
        expected.map(|(call, outcome)| (Some(call), Some(outcome)))
    );
    let names: BTreeMap<_, _> = lines[1].as_object().unwrap().clone().into_iter().collect();
    let names: Vec<_> = names.keys().map(String::as_str).collect();
    let stable = [
        "call",
        "key",
        "level",
        "message",
        "outcome",
        "own_us",
        "request",
        "target",
        "task",
        "timestamp",
        "tries",
        "vendor_ms",
    ];
    assert_eq!(names, stable);
    assert_eq!(
        (&lines[1]["task"], &lines[1]["tries"]),
        (&id.into(), &1.into())
    );
    world.sandbox.stop().await;
}

#[tokio::test]
async fn the_log_says_how_many_tenants_came_and_went_and_who_calls() {
    let config = "clients.mode = \"tenants\"\nlog.format = \"json\"";
    let world = World::prepare(vendor(Dialect::Twocaptcha, 2), config).await;
    world.use_tenants_file();
    world.write_keys(&keys([(name(1), key(1)), (name(2), key(2))]));
    world.write_tenants(&tenants(&[("alice", ""), ("bob", "")]));
    let mut program = Program::start(&world).await;
    world.write_tenants(&tenants(&[("bob", ""), ("carol", ""), ("dave", "")]));
    let reloaded = async {
        while let Some(line) = program.log.next_line().await.unwrap() {
            assert!(!line.contains("token-of"), "{line}");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "configuration reloaded" {
                return line;
            }
        }
        panic!("it ended before");
    };
    let line = timeout(PATIENCE, reloaded).await.unwrap();
    let counts =
        ["tenants", "tenants_added", "tenants_withdrawn", "keys"].map(|name| line[name].as_u64());
    assert_eq!(counts, [3, 2, 1, 2].map(Some), "{line}");
    let target = format!("/res.php?key={}&action=get&id=1", token("carol"));
    http::send(program.http, "GET", &target, "", "").await;
    // A probe may have its line in between.
    let line = loop {
        let line = program.log.next_line().await.unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["message"] == "request" {
            break line;
        }
    };
    let said = ["tenant", "outcome"].map(|name| line[name].as_str());
    assert_eq!(said, ["carol", "unknown_task"].map(Some), "{line}");
    program.signal(Signal::TERM);
    assert_eq!(program.ended().await, Some(0));
    world.sandbox.stop().await;
}

/// A sandbox with two accounts, and all files but no program.
async fn prepared() -> World {
    let world = World::prepare(vendor(Dialect::Twocaptcha, 2), "").await;
    world.write_keys(&keys([(name(1), key(1)), (name(2), key(2))]));
    world
}

/// Submits and polls over kept connections until the listener is closed. Returns how many ids were heard.
async fn work_until_closed(address: SocketAddr) -> usize {
    let mut heard = 0;
    let mut id = None;
    while let Ok(mut connection) = Connection::open(address).await {
        loop {
            let target = match &id {
                None => format!("/in.php?key={PLACEHOLDER}&{TASK}"),
                Some(id) => format!("/res.php?key={PLACEHOLDER}&action=get&id={id}"),
            };
            let Ok(answer) = connection.get(&target).await else {
                // Closed between two requests, as every server may; a client opens the next one.
                break;
            };
            let closes = answer.head.contains("connection: close");
            match answer.body.strip_prefix("OK|") {
                Some(new) if id.is_none() => {
                    heard += 1;
                    id = Some(new.to_owned());
                }
                Some(_) => id = None,
                None => assert_eq!(answer.body, "CAPCHA_NOT_READY"),
            }
            if closes {
                break;
            }
        }
    }
    heard
}

struct Program {
    child: Child,
    log: tokio::io::Lines<BufReader<ChildStdout>>,
    http: SocketAddr,
}

impl Program {
    async fn start(world: &World) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sidekey"))
            .args(["run", "--config"])
            .arg(world.config_path())
            .env_clear()
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
        let serves = async {
            while let Some(line) = log.next_line().await.unwrap() {
                if line.contains("sidekey serves") {
                    return line;
                }
            }
            panic!("it ended before it served");
        };
        let line = timeout(PATIENCE, serves).await.unwrap();
        let address = |name: &str| {
            let at = line.find(name).unwrap() + name.len();
            let rest = line[at..].trim_start_matches(['"', ':', '=']);
            let end = rest.find('"').unwrap();
            rest[..end].parse().unwrap()
        };
        Self {
            http: address("http"),
            child,
            log,
        }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// The exit code.
    async fn ended(mut self) -> Option<i32> {
        let rest = async {
            // Read to the end, so that the program never waits for us.
            while let Ok(Some(_)) = self.log.next_line().await {}
            self.child.wait().await.unwrap().code()
        };
        timeout(PATIENCE, rest).await.unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
