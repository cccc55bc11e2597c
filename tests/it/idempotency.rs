//! Idempotency keys: however often a submit comes under one, it is paid for once.

use std::collections::BTreeSet;
use std::fs;

use futures_util::future::join_all;
use sidekey::sandbox::{Dialect, Fault, FaultRule};

use crate::support::http::Connection;
use crate::support::{PLACEHOLDER, TASK, World, until, vendor};

const REFUSE: &str = "poll.unknown_task = \"refuse\"";
const KEY: &str = "order-4711";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
const UNCERTAIN: &str = "ERROR_SUBMIT_UNCERTAIN";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_repeats_at_once_are_one_submit() {
    let world = World::start(vendor(Dialect::Twocaptcha, 3), REFUSE).await;
    let slow = FaultRule::new(Fault::Slow).endpoint("in.php").delay_ms(200);
    world.sandbox.set_fault(slow).unwrap();
    let targets: Vec<_> = (0..100)
        .map(|n| target(KEY, if n % 2 == 0 { "&json=1" } else { "" }))
        .collect();
    let answers = join_all(targets.iter().map(|target| world.get(target))).await;
    let tasks = world.sandbox.tasks();
    assert_eq!(tasks.len(), 1);
    let id = &tasks[0].id;
    for (n, answer) in answers.iter().enumerate() {
        let wanted = match n % 2 {
            0 => format!(r#"{{"status":1,"request":"{id}"}}"#),
            _ => format!("OK|{id}"),
        };
        assert_eq!(*answer, wanted);
    }
    assert_eq!(world.metric("sidekey_repeated_submits_total").await, 99.0);
    assert_eq!(world.poll(id).await, format!("OK|solved-{id}"));
    world.end().await;
}

#[tokio::test]
async fn the_key_is_taken_from_every_place_and_reaches_the_vendor_from_none() {
    let mut config = vendor(Dialect::Twocaptcha, 1);
    config.forbidden.push(KEY.to_owned());
    let world = World::start(config, REFUSE).await;
    let keyed = format!("key={PLACEHOLDER}&{TASK}&x_idempotency_key={KEY}");
    let part = |name: &str, value: &str| {
        format!("--BOUND\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let mut parts = part("key", PLACEHOLDER) + &part("x_idempotency_key", KEY);
    parts += &part("method", "post");
    parts += &part("body", "aGVsbG8=");
    let json = format!(
        r#"{{"key":"{PLACEHOLDER}","x_idempotency_key":"{KEY}","method":"hcaptcha","sitekey":"k","pageurl":"p"}}"#
    );
    let plain = format!("key={PLACEHOLDER}&{TASK}");
    let header = format!("{FORM}Idempotency-Key: \"{KEY}\"\r\n");
    let bare = format!("{FORM}idempotency-key: {KEY}\r\n");
    let multipart = |boundary: &str| {
        let headers = format!("Content-Type: multipart/form-data; boundary={boundary}\r\n");
        (
            headers,
            (parts.clone() + "--BOUND--\r\n").replace("BOUND", boundary),
        )
    };
    let rows: Vec<Vec<(String, String, String)>> = vec![
        vec![("GET".into(), String::new(), String::new())],
        // The field and the header are the same key.
        vec![
            ("/in.php".into(), FORM.into(), keyed.clone()),
            ("/in.php".into(), header, plain.clone()),
            ("/in.php".into(), bare, plain.clone()),
            (
                "/in.php".into(),
                format!("{FORM}Idempotency-Key: \"{KEY}\"\r\n"),
                keyed,
            ),
        ],
        // A library's boundary is another one each time.
        ["one", "two", "BOUND"]
            .map(multipart)
            .map(|(headers, body)| ("/in.php".into(), headers, body))
            .into(),
        vec![
            ("/in.php".into(), JSON.into(), json.clone()),
            ("/in.php".into(), JSON.into(), json),
        ],
    ];
    for row in rows {
        // Different work under one key is refused, so every place has a program of its own.
        let token = format!("program-{}", world.sandbox.tasks().len());
        let made = world.sandbox.tasks().len();
        let mut answers = BTreeSet::new();
        for (target_of, headers, body) in &row {
            let body = body.replace(PLACEHOLDER, &token);
            let answer = if target_of == "GET" {
                let target = target(KEY, "").replace("{}", &token);
                world.get(&target).await;
                world.get(&target).await
            } else {
                world.send("POST", target_of, headers, &body).await.body
            };
            assert!(answer.starts_with("OK|"), "{body}: {answer}");
            answers.insert(answer);
        }
        assert_eq!(answers.len(), 1);
        assert_eq!(world.sandbox.tasks().len(), made + 1, "{row:?}");
    }
    let record = world.sandbox.record();
    let names = record.calls.iter().flat_map(|call| &call.names);
    assert!(!names.into_iter().any(|name| name.contains("idempotency")));
    world.end().await;
}

#[tokio::test]
async fn other_parameters_under_one_key_are_refused_and_nothing_is_sent() {
    let mut world = World::start(vendor(Dialect::Twocaptcha, 1), REFUSE).await;
    let first = world.get(&target(KEY, "")).await;
    for restarted in [false, true] {
        if restarted {
            world.stop().await;
            world.start_again().await;
        }
        let other = world.get(&target(KEY, "&invisible=1&json=1")).await;
        assert!(
            other.contains("ERROR_BAD_PARAMETERS") && other.contains("other parameters before"),
            "{other}"
        );
        assert_eq!(world.get(&target(KEY, "")).await, first);
    }
    let two = format!("{FORM}Idempotency-Key: another\r\n");
    let body = format!("key=p&{TASK}&x_idempotency_key={KEY}");
    let refused = world.send("POST", "/in.php", &two, &body).await.body;
    assert_eq!(refused, "ERROR_BAD_PARAMETERS");
    let disagree = world
        .send("POST", "/in.php?x_idempotency_key=another", FORM, &body)
        .await;
    assert_eq!(disagree.body, "ERROR_BAD_PARAMETERS");
    let long = world.get(&target(&"x".repeat(256), "")).await;
    assert_eq!(long, "ERROR_BAD_PARAMETERS");
    assert_eq!(world.sandbox.tasks().len(), 1);
    // Another program counts its own keys, and solve.php is another thing to ask for.
    let stranger = target(KEY, "&invisible=1").replace("{}", "another-program");
    assert!(world.get(&stranger).await.starts_with("OK|"));
    assert_eq!(world.sandbox.tasks().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_repeat_after_a_restart_hears_the_same_id_or_that_nobody_knows() {
    let mut world = World::start(vendor(Dialect::Twocaptcha, 2), REFUSE).await;
    let known = world.get(&target("known", "")).await;
    let lost = FaultRule::new(Fault::Reset)
        .endpoint("in.php")
        .done()
        .times(1);
    world.sandbox.set_fault(lost).unwrap();
    assert_eq!(world.get(&target("lost", "")).await, UNCERTAIN);
    assert_eq!(world.get(&target("lost", "")).await, UNCERTAIN);
    assert_eq!(world.sandbox.tasks().len(), 2);
    world.stop().await;
    world.start_again().await;
    assert_eq!(world.get(&target("known", "")).await, known);
    assert_eq!(world.get(&target("lost", "")).await, UNCERTAIN);
    assert_eq!(world.sandbox.tasks().len(), 2);
    world.end().await;
}

/// What a `kill -9` leaves: the files as they are while the submit is on its way.
#[tokio::test]
async fn a_repeat_of_what_was_on_its_way_at_a_crash_pays_nothing() {
    let mut world = World::start(vendor(Dialect::Twocaptcha, 1), REFUSE).await;
    world.sandbox.set_fault(held()).unwrap();
    let mut client = Connection::open(world.http()).await.unwrap();
    let target = target(KEY, "");
    let asked = target.replace("{}", PLACEHOLDER);
    client.write("GET", &asked, "", "").await.unwrap();
    world.sandbox.wait_for(|record| submits(record) == 1).await;
    let files = ["sidekey.db", "sidekey.db-wal"].map(|name| {
        let path = world.place.path().join(name);
        (fs::read(&path).unwrap(), path)
    });
    world.sandbox.clear_faults();
    until("the task is stored", async || {
        world.stored::<i64>("SELECT count(*) FROM tasks") == 1
    })
    .await;
    world.stop().await;
    for (content, path) in files {
        fs::write(path, content).unwrap();
    }
    world.start_again().await;
    assert_eq!(world.get(&target).await, UNCERTAIN);
    assert_eq!(world.sandbox.tasks().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_refusal_is_not_remembered_and_the_repeat_tries_again() {
    let world = World::start(vendor(Dialect::Twocaptcha, 1), REFUSE).await;
    let code = Fault::Code {
        code: "ERROR_PAGEURL".into(),
    };
    let refused = FaultRule::new(code).endpoint("in.php").times(3);
    world.sandbox.set_fault(refused).unwrap();
    for _ in 0..3 {
        assert_eq!(world.get(&target(KEY, "")).await, "ERROR_PAGEURL");
    }
    assert_eq!(world.stored::<i64>("SELECT count(*) FROM claims"), 0);
    let first = world.get(&target(KEY, "")).await;
    assert!(first.starts_with("OK|"), "{first}");
    assert_eq!(world.get(&target(KEY, "")).await, first);
    world.end().await;
}

#[tokio::test]
async fn a_client_that_left_hears_its_id_when_it_repeats_and_a_repeat_in_the_air_waits() {
    let world = World::start(vendor(Dialect::Twocaptcha, 1), REFUSE).await;
    world.sandbox.set_fault(held()).unwrap();
    let mut client = Connection::open(world.http()).await.unwrap();
    let target = target(KEY, "");
    let body = target.replace("/in.php?key={}", &format!("key={PLACEHOLDER}"));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    client.write("POST", "/in.php", form, &body).await.unwrap();
    world.sandbox.wait_for(|record| submits(record) == 1).await;
    drop(client);
    // Its body shows when the repeat is there.
    let free = world.metric("sidekey_body_free_bytes").await;
    let answered = async {
        until("the repeat waits", async || {
            world.metric("sidekey_body_free_bytes").await < free
        })
        .await;
        world.sandbox.clear_faults();
    };
    let repeat = world.send("POST", "/in.php", form, &body);
    let (answer, ()) = tokio::join!(repeat, answered);
    let tasks = world.sandbox.tasks();
    assert_eq!(tasks.len(), 1);
    assert_eq!(answer.body, format!("OK|{}", tasks[0].id));
    let repeat = world.send("POST", "/in.php", form, &body).await;
    assert_eq!(repeat.body, answer.body);
    // A submit without the key is another one.
    assert_ne!(world.submit().await, tasks[0].id);
    world.end().await;
}

#[tokio::test]
async fn the_answer_of_solve_php_is_repeated_too_and_after_a_restart() {
    let mut world = World::start(vendor(Dialect::Captchaai, 1), REFUSE).await;
    let target = format!("/solve.php?key={{}}&{TASK}&x_idempotency_key={KEY}");
    let first = world.get(&target).await;
    assert!(first.starts_with("OK|"), "{first}");
    assert_eq!(world.get(&target).await, first);
    world.stop().await;
    world.start_again().await;
    assert_eq!(world.get(&target).await, first);
    let solves = world.sandbox.record().counts.endpoints["solve.php"];
    assert_eq!(solves, 1);
    world.end().await;
}

#[tokio::test]
async fn an_id_that_comes_after_the_deadline_resolves_the_uncertain_submit() {
    let config = format!("{REFUSE}\nsubmit.wait = \"1s\"\nsubmit.deadline = \"1s\"");
    let world = World::start(vendor(Dialect::Twocaptcha, 1), &config).await;
    world.sandbox.set_fault(held()).unwrap();
    let target = target(KEY, "");
    assert_eq!(world.get(&target).await, UNCERTAIN);
    assert_eq!(world.get(&target).await, UNCERTAIN);
    let uncertain = world.api("/api/uncertain").await;
    assert!(uncertain["uncertain"][0]["task"].is_null(), "{uncertain}");
    world.sandbox.clear_faults();
    until("the id is there", async || {
        world.metric("sidekey_late_answers_total").await == 1.0
    })
    .await;
    let tasks = world.sandbox.tasks();
    assert_eq!(tasks.len(), 1);
    let id = &tasks[0].id;
    let uncertain = world.api("/api/uncertain").await;
    assert_eq!(uncertain["uncertain"][0]["task"], **id);
    assert_eq!(world.get(&target).await, format!("OK|{id}"));
    let keys = world.api("/api/keys").await;
    assert_eq!(keys["keys"][0]["slots"]["used"], 1, "the task has its slot");
    assert_eq!(world.poll(id).await, format!("OK|solved-{id}"));
    let keys = world.api("/api/keys").await;
    assert_eq!(keys["keys"][0]["slots"]["used"], 0, "and gave it back");
    world.end().await;
}

fn target(key: &str, more: &str) -> String {
    format!("/in.php?key={{}}&{TASK}{more}&x_idempotency_key={key}")
}

/// The task is made and its id held back, until faults are cleared.
fn held() -> FaultRule {
    FaultRule::new(Fault::Slow)
        .endpoint("in.php")
        .delay_ms(600_000)
}

fn submits(record: &sidekey::sandbox::Record) -> usize {
    record.counts.endpoints.get("in.php").copied().unwrap_or(0) as usize
}
