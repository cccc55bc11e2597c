//! The log: what it says is what docs/logs.md says, and a reader that stands still holds nobody up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sidekey::background::Background;
use sidekey::sandbox::{Fault, FaultRule};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Client, PATIENCE, Place, body, id, vendor};

/// Of a row of the messages: its level, and its fields.
struct Documented {
    level: String,
    fields: BTreeSet<String>,
}

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/logs.md")).unwrap()
}

/// What stands in backticks in a cell of a table.
fn quoted(cell: &str) -> BTreeSet<String> {
    let pieces = cell.split('`').skip(1).step_by(2);
    pieces.map(str::to_owned).collect()
}

fn messages(document: &str) -> BTreeMap<String, Documented> {
    let (_, section) = document.split_once("## Messages").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").collect::<Vec<_>>());
    cells
        .filter(|cells| cells[0].trim() != "message")
        .map(|cells| {
            let documented = Documented {
                level: cells[1].trim().to_owned(),
                fields: quoted(cells[2]),
            };
            (cells[0].trim().to_owned(), documented)
        })
        .collect()
}

fn fields(document: &str) -> BTreeSet<String> {
    let (_, section) = document.split_once("## Fields").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| quoted(row.split('|').nth(1).unwrap()))
        .collect()
}

/// In all lines, and so in no row.
const EVERYWHERE: [&str; 5] = ["timestamp", "level", "target", "message", "request"];

#[test]
fn every_message_of_the_source_is_documented_with_its_level_and_fields() {
    let document = document();
    let (documented, known) = (messages(&document), fields(&document));
    let mut said = BTreeSet::new();
    for event in events() {
        let Event {
            place,
            level,
            message,
            fields,
        } = event;
        let row = documented
            .get(&message)
            .unwrap_or_else(|| panic!("{place}: {message:?} is not in docs/logs.md"));
        assert_eq!(row.level, level, "{message}");
        for field in fields {
            assert!(row.fields.contains(&field), "{place}: {message}: {field}");
            assert!(known.contains(&field), "{place}: {field} is not explained");
        }
        said.insert(message);
    }
    assert!(said.len() > 80, "only {} were found", said.len());
    // This one is written by the writer itself.
    said.insert("log lines were dropped: whoever reads the log is too slow".to_owned());
    let gone: Vec<_> = documented
        .keys()
        .filter(|row| !said.contains(*row))
        .collect();
    assert!(gone.is_empty(), "documented, and never said: {gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_program_writes_is_what_is_documented() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    place.configure(&sandbox, "[log]\nformat = \"json\"\nlevel = \"trace\"\n");
    let program = place.start();
    let mut client = program.client().await;
    let answer = client.get(SUBMIT).await.unwrap();
    client.get(&poll(&answer)).await.unwrap();
    place.write("keys.toml", "key = []\n");
    program.wait_for_line("configuration reloaded");
    place.write("keys.toml", "[[key]\n");
    program.wait_for_line("is not used");
    program.signal(Signal::TERM);
    let (status, printed) = program.wait();
    assert!(status.success());

    let document = document();
    let (documented, known) = (messages(&document), fields(&document));
    let mut said = BTreeSet::new();
    for line in printed.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let message = line["message"].as_str().unwrap().to_owned();
        let row = &documented[&message];
        let level = line["level"].as_str().unwrap().to_lowercase();
        assert_eq!(level, row.level, "{line}");
        for field in line.as_object().unwrap().keys() {
            assert!(known.contains(field), "{field} in {line}");
            let is_named = row.fields.contains(field) || EVERYWHERE.contains(&field.as_str());
            assert!(is_named, "{field} in {line}");
        }
        // A request's lines have its id, and those of the program itself have none.
        let has_id = line["request"].is_string();
        match message.as_str() {
            "request" => assert!(has_id, "{line}"),
            "sidekey serves" | "configuration reloaded" | "drained" => {
                assert!(!has_id, "{line}");
            }
            _ => {}
        }
        said.insert(message);
    }
    for message in [
        "sidekey serves",
        "request",
        "configuration reloaded",
        "drained",
    ] {
        assert!(said.contains(message), "{message} in {said:?}");
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_is_told_of_once_also_at_the_end() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let collector = free_address();
    place.configure(&sandbox, &format!("[log]\notlp = \"http://{collector}\"\n"));
    let program = place.start();
    let mut client = program.client().await;
    client.get(SUBMIT).await.unwrap();
    program.wait_for_line("the collector takes no traces");
    // This one ends when the traces before it are given up.
    let slow = FaultRule::new(Fault::Slow)
        .endpoint("in.php")
        .delay_ms(1_000);
    sandbox.set_fault(slow).unwrap();
    let last = background.spawn(async move { client.get(SUBMIT).await });
    let began = Instant::now();
    while sandbox.counts().endpoints.get("in.php") != Some(&2) {
        assert!(began.elapsed() < PATIENCE, "it is never sent");
        sleep(Duration::from_millis(5)).await;
    }
    program.signal(Signal::TERM);
    last.await.unwrap().unwrap();
    let (status, printed) = program.wait();
    assert!(status.success(), "{printed}");
    let told = printed.matches("the collector takes no traces").count();
    assert_eq!(told, 1, "{printed}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stands_still_holds_up_no_request_and_not_the_end() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    place.configure(&sandbox, "[log]\nlevel = \"trace\"\n");
    // Nobody reads the log, which would say where it listens.
    let (http, admin) = (free_address(), free_address());
    let mut text = fs::read_to_string(place.path("sidekey.toml")).unwrap();
    for address in [http, admin] {
        text = text.replacen("127.0.0.1:0", &address.to_string(), 1);
    }
    place.write("sidekey.toml", &text);
    let mut child = place.command().stdout(Stdio::piped()).spawn().unwrap();
    let mut log = child.stdout.take().unwrap();

    let began = Instant::now();
    let mut client = loop {
        match Client::connect(http).await {
            Ok(client) => break client,
            Err(_) => assert!(began.elapsed() < PATIENCE),
        }
    };
    let answer = client.get(SUBMIT).await.unwrap();
    let poll = poll(&answer);
    let mut ask = async |times| {
        for _ in 0..times {
            let began = Instant::now();
            client.get(&poll).await.unwrap();
            assert!(began.elapsed() < Duration::from_secs(5));
        }
    };
    let dropped = async || -> u64 {
        let mut client = Client::connect(admin).await.unwrap();
        let answer = client.get("/metrics").await.unwrap();
        let name = "sidekey_log_lines_dropped_total ";
        let mut lines = body(&answer).lines();
        let value = lines.find_map(|line| line.strip_prefix(name));
        value.unwrap().parse().unwrap()
    };
    // The pipe holds 64 KiB, the writer as much and 8,000 lines.
    while dropped().await == 0 {
        ask(500).await;
    }
    let read = tokio::task::spawn_blocking(move || {
        let mut seen = String::new();
        let mut piece = [0; 65_536];
        while !seen.contains("log lines were dropped") {
            match log.read(&mut piece).unwrap() {
                0 => panic!("it ended before it told"),
                read => seen.push_str(&String::from_utf8_lossy(&piece[..read])),
            }
        }
        log
    });
    let log = timeout(PATIENCE, read).await.unwrap().unwrap();
    // Nobody reads again: the pipe is full, and it ends all the same.
    ask(1_500).await;
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
    assert!(timeout(PATIENCE, ended).await.unwrap().unwrap().success());
    drop(log);
    sandbox.stop().await;
}

const SUBMIT: &str = "/in.php?key=placeholder&method=userrecaptcha&googlekey=S&pageurl=http://a";

fn poll(answer: &[u8]) -> String {
    let id = id(answer).unwrap();
    format!("/res.php?key=placeholder&action=get&id={id}")
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

struct Event {
    place: String,
    level: String,
    message: String,
    fields: Vec<String>,
}

/// All calls of `tracing` macros in the source, the tests' apart.
fn events() -> Vec<Event> {
    let mut found = Vec::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (at, _) in text.match_indices("tracing::") {
            let rest = &text[at + "tracing::".len()..];
            let Some((level, rest)) = rest.split_once("!(") else {
                continue;
            };
            if !["error", "warn", "info", "debug", "trace"].contains(&level) {
                continue;
            }
            let arguments = arguments(rest);
            let (message, fields) = arguments.split_last().unwrap();
            found.push(Event {
                place: path.display().to_string(),
                level: level.to_owned(),
                message: message.trim_matches('"').to_owned(),
                fields: fields.iter().filter_map(|field| name(field)).collect(),
            });
        }
    }
    found
}

/// Up to the parenthesis that closes, by commas outside of strings and brackets.
fn arguments(text: &str) -> Vec<String> {
    let (mut found, mut now) = (Vec::new(), String::new());
    let (mut depth, mut in_string, mut in_comment) = (0, false, false);
    for char in text.chars() {
        match char {
            '\n' => in_comment = false,
            _ if in_comment => continue,
            '"' => in_string = !in_string,
            '(' | '[' | '{' if !in_string => depth += 1,
            ')' if !in_string && depth == 0 => break,
            ')' | ']' | '}' if !in_string => depth -= 1,
            ',' if !in_string && depth == 0 => {
                found.push(std::mem::take(&mut now).trim().to_owned());
                continue;
            }
            '/' if !in_string && now.ends_with('/') => {
                now.pop();
                in_comment = true;
                continue;
            }
            _ => {}
        }
        now.push(char);
    }
    found.push(now.trim().to_owned());
    found.retain(|argument| !argument.is_empty());
    found
}

/// `key = %name`, `%error`, `seconds`.
fn name(field: &str) -> Option<String> {
    let name = field.split('=').next().unwrap().trim();
    (!name.starts_with("target:")).then(|| name.trim_start_matches(['%', '?']).to_owned())
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .filter(|path| !path.ends_with("tests.rs"))
        .collect()
}
