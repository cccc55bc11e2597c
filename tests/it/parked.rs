//! Submits that no key can take now: their clients hold ids of ours, which all calls know, and each is sent once.

use rusqlite::Connection;
use serde_json::Value;
use sidekey::sandbox::{AccountConfig, Dialect, Fault, FaultRule, SandboxConfig};

use crate::support::ledger::{Compared, labelled};
use crate::support::{TASK, World, key, keys, name, until, vendor};

const PARK: &str =
    "submit.when_empty = \"park\"\npoll.pace = \"0s\"\npoll.unknown_task = \"refuse\"";
const NOT_READY: &str = "CAPCHA_NOT_READY";

#[tokio::test]
async fn what_is_parked_is_solved_once_after_a_refill_and_every_call_knows_its_id() {
    let world = World::start(penniless(), PARK).await;
    let ids = park(&world, 5).await;
    let json = format!("/in.php?key={{}}&json=1&{}", labelled("parked9x"));
    let answer: Value = serde_json::from_str(&world.get(&json).await).unwrap();
    let in_json = answer["request"].as_str().unwrap().to_owned();
    assert_eq!(answer["status"], 1);
    assert_eq!(in_json.len(), 16, "{in_json}");

    for call in ["action=get", "action=get2", "json=0"] {
        let heard = world
            .get(&format!("/res.php?key={{}}&{call}&id={}", ids[0]))
            .await;
        assert_eq!(heard, NOT_READY, "{call}");
    }
    let heard = world
        .get(&format!("/res.php?key={{}}&action=get&json=1&id={in_json}"))
        .await;
    assert_eq!(heard, format!(r#"{{"status":0,"request":"{NOT_READY}"}}"#));
    assert_eq!(report(&world, &ids[0]).await, "ERROR_REPORT_NOT_RECORDED");
    assert_eq!(many(&world, &ids[..2]).await, [NOT_READY; 2].join("|"));
    assert_eq!(world.metric("sidekey_parked_submits").await, 6.0);
    let list = world.api("/api/parked").await;
    assert_eq!(
        (&list["parked"][0]["id"], &list["count"]),
        (&ids[0].clone().into(), &6.into())
    );
    assert!(world.sandbox.tasks().is_empty());
    let with_token =
        "SELECT count(*) FROM parked_requests WHERE instr(CAST(query AS TEXT), 'placeholder')";
    assert_eq!(world.stored::<i64>(with_token), 0);

    refill_with_another_key(&world).await;
    let mut answers = Vec::new();
    for id in ids.iter().chain([&in_json]) {
        answers.push(solved(&world, id).await);
    }
    answers.sort_unstable();
    answers.dedup();
    assert_eq!(answers.len(), 6);
    assert_eq!(world.metric("sidekey_parked_submits").await, 0.0);
    let first =
        "SELECT task_id = (SELECT min(task_id) FROM parked) FROM parked ORDER BY id LIMIT 1";
    assert!(world.stored::<bool>(first), "the first did not go first");

    let direct = world.submit().await;
    assert_ne!(direct.len(), 16, "parked though there is money: {direct}");
    let mixed = many(&world, &[ids[1].clone(), direct.clone(), ids[1].clone()]).await;
    let pieces: Vec<_> = mixed.split('|').collect();
    assert_eq!(
        (pieces[0], pieces[1]),
        (pieces[2], &*format!("solved-{direct}"))
    );
    assert!(pieces[0].starts_with("solved-"), "{mixed}");
    assert_eq!(report(&world, &ids[0]).await, "OK_REPORT_RECORDED");
    let get2 = world
        .get(&format!("/res.php?key={{}}&action=get2&id={}", ids[0]))
        .await;
    assert!(get2.starts_with("OK|solved-"), "{get2}");
    Compared::of(&world, "parked").assert_exact();
    assert_eq!(world.sandbox.tasks().len(), 7);
    world.end().await;
}

#[tokio::test]
async fn a_restart_loses_none_and_gives_no_id_twice() {
    let mut world = World::start(penniless(), PARK).await;
    let mut ids = park(&world, 3).await;
    world.stop().await;
    world.start_again().await;
    ids.extend(park(&world, 2).await);
    let mut all = ids.clone();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, ids, "not in the order of arrival, or given twice");
    world.stop().await;
    world.sandbox.set_balance(&name(1), 1_000_000).unwrap();
    world.start_again().await;
    for id in &ids {
        solved(&world, id).await;
    }
    // What an id of ours stands for is durable, too.
    world.stop().await;
    world.start_again().await;
    for id in &ids {
        solved(&world, id).await;
    }
    assert_eq!(world.sandbox.tasks().len(), 5);
    world.end().await;
}

#[tokio::test]
async fn the_repeat_of_a_parked_submit_under_its_own_key_hears_the_same_id() {
    let mut world = World::start(penniless(), PARK).await;
    let submit = format!("/in.php?key={{}}&x_idempotency_key=order-7&{TASK}");
    let first = world.get(&submit).await;
    assert_eq!(first.len(), "OK|".len() + 16, "not parked: {first}");
    assert_eq!(world.get(&submit).await, first);
    world.stop().await;
    world.sandbox.set_balance(&name(1), 1_000_000).unwrap();
    world.start_again().await;
    assert_eq!(world.get(&submit).await, first);
    solved(&world, &first[3..]).await;
    assert_eq!(world.get(&submit).await, first);
    assert_eq!(world.sandbox.tasks().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn after_its_time_a_parked_submit_ends_in_the_vendors_words_and_is_never_sent() {
    let mut world = World::start(penniless(), &format!("{PARK}\nsubmit.park_for = \"1s\"")).await;
    let id = park(&world, 1).await.remove(0);
    until("it ends", async || world.poll(&id).await != NOT_READY).await;
    assert_eq!(world.poll(&id).await, "ERROR_CAPTCHA_UNSOLVABLE");
    world.stop().await;
    world.sandbox.set_balance(&name(1), 1_000_000).unwrap();
    world.start_again().await;
    assert_eq!(world.poll(&id).await, "ERROR_CAPTCHA_UNSOLVABLE");
    world.submit().await;
    assert_eq!(world.sandbox.tasks().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn what_cannot_be_parked_is_refused_as_ever() {
    let config = "submit.when_empty = \"park\"\nsubmit.park_max = 2";
    let world = World::start(penniless(), config).await;
    // Before any is parked, one finds out that there is no money.
    let pingback = format!("/in.php?key={{}}&pingback=http://example.com&{TASK}");
    assert_eq!(world.get(&pingback).await, "ERROR_ZERO_BALANCE");
    let ids = park(&world, 2).await;
    let full = world.get(&format!("/in.php?key={{}}&{TASK}")).await;
    assert_eq!(full, "ERROR_ZERO_BALANCE");
    assert_eq!(world.get(&pingback).await, "ERROR_ZERO_BALANCE");

    // An id that was never given is not asked about anywhere, although unknown ids are.
    let asked = world.sandbox.record().counts;
    for unknown in ["9007199254740991", "9000000000000000"] {
        assert_eq!(world.poll(unknown).await, "ERROR_WRONG_CAPTCHA_ID");
        assert_eq!(report(&world, unknown).await, "ERROR_WRONG_CAPTCHA_ID");
    }
    assert_eq!(world.sandbox.record().counts, asked);

    let cancel = format!("/api/parked/{}", ids[0]);
    assert_eq!(world.change_by("DELETE", &cancel).await.0, 200);
    let (status, told) = world.change_by("DELETE", &cancel).await;
    assert_eq!(status, 404, "cancelled twice: {told}");
    assert_eq!(world.poll(&ids[0]).await, "ERROR_CAPTCHA_UNSOLVABLE");
    world.end().await;
}

#[tokio::test]
async fn while_slots_are_taken_submits_are_parked_at_once_and_go_in_turn() {
    let mut config = vendor(Dialect::Captchaai, 1);
    config.accounts[0].threads = Some(1);
    let world = World::start(config, "submit.when_busy = \"park\"\npoll.pace = \"0s\"").await;
    until("the limit is learnt", async || {
        world.api("/api/keys").await["keys"][0]["slots"]["max"] == 1
    })
    .await;
    let first = world.submit().await;
    let parked = park(&world, 3).await;
    assert_eq!(world.poll(&first).await, format!("OK|solved-{first}"));
    let mut answers = Vec::new();
    for id in &parked {
        answers.push(solved(&world, id).await);
    }
    let order = answers.clone();
    answers.sort_unstable();
    assert_eq!(answers, order, "not in the order of their arrival");
    world.end().await;
}

#[tokio::test]
async fn a_vendor_that_counts_where_we_do_loses_nobody_a_task() {
    let world = World::start(vendor(Dialect::Twocaptcha, 1), "poll.pace = \"0s\"").await;
    let id = "9007199254740000";
    let text = format!("OK|{id}");
    let rule = FaultRule::new(Fault::Body { text }).endpoint("in.php");
    world.sandbox.set_fault(rule.times(1)).unwrap();
    assert_eq!(world.submit().await, id);
    let text = "OK|solved".to_owned();
    let rule = FaultRule::new(Fault::Body { text }).endpoint("res.php");
    world.sandbox.set_fault(rule.action("get")).unwrap();
    assert_eq!(world.poll(id).await, "OK|solved");
    assert_eq!(many(&world, &[id.to_owned()]).await, "solved");
    world.sandbox.clear_faults();
    world.end().await;
}

/// A parked submit waits for the store as well; one that has a key never does for long.
#[tokio::test]
async fn a_store_that_stands_still_keeps_nobody_behind_those_that_are_parked() {
    let mut config = vendor(Dialect::Captchaai, 1);
    config.accounts[0].threads = Some(1);
    let world = World::start(config, "submit.when_busy = \"park\"\npoll.pace = \"0s\"").await;
    until("the limit is learnt", async || {
        world.api("/api/keys").await["keys"][0]["slots"]["max"] == 1
    })
    .await;
    let first = world.submit().await;
    let parked = park(&world, 1).await.remove(0);
    let operator = Connection::open(world.place.path().join("sidekey.db")).unwrap();
    operator.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(world.poll(&first).await, format!("OK|solved-{first}"));
    let submit = format!("/in.php?key={{}}&{TASK}");
    let mut answer = String::new();
    until("a submit goes past the parked one", async || {
        answer = world.get(&submit).await;
        answer.starts_with("OK|")
    })
    .await;
    let second = &answer[3..];
    assert_eq!(world.poll(&parked).await, NOT_READY);
    operator.execute_batch("ROLLBACK").unwrap();
    assert_eq!(world.poll(second).await, format!("OK|solved-{second}"));
    solved(&world, &parked).await;
    assert_eq!(world.sandbox.tasks().len(), 3);
    world.end().await;
}

#[tokio::test]
async fn a_parked_submit_whose_answer_is_lost_is_uncertain_and_one_that_is_blamed_hears_why() {
    let mut world = World::start(penniless(), PARK).await;
    let lost = park(&world, 1).await.remove(0);
    let bad = world
        .get("/in.php?key={}&method=userrecaptcha&googlekey=k")
        .await;
    let bad = bad.strip_prefix("OK|").unwrap();
    world.stop().await;
    world.sandbox.set_balance(&name(1), 1_000_000).unwrap();
    let rule = FaultRule::new(Fault::Empty).endpoint("in.php").times(1);
    world.sandbox.set_fault(rule).unwrap();
    world.start_again().await;
    until("its answer is lost", async || {
        world.poll(&lost).await == "ERROR_SUBMIT_UNCERTAIN"
    })
    .await;
    until("the other is refused", async || {
        world.poll(bad).await != NOT_READY
    })
    .await;
    assert_eq!(world.poll(bad).await, "ERROR_PAGEURL");
    let listed = world.api("/api/uncertain").await;
    assert_eq!(listed["uncertain"].as_array().unwrap().len(), 1);
    Compared::of(&world, "parked").assert_exact();
    world.end().await;
}

#[tokio::test]
async fn an_id_that_comes_late_is_heard_by_the_client_of_the_parked_submit() {
    let config = format!("{PARK}\nsubmit.wait = \"1s\"\nsubmit.deadline = \"1s\"");
    let mut world = World::start(penniless(), &config).await;
    let id = park(&world, 1).await.remove(0);
    world.stop().await;
    world.sandbox.set_balance(&name(1), 1_000_000).unwrap();
    let slow = FaultRule::new(Fault::Decorate {
        before: String::new(),
        after: String::new(),
    });
    let slow = slow.endpoint("in.php").delay_ms(60_000);
    world.sandbox.set_fault(slow).unwrap();
    world.start_again().await;
    until("nobody knows", async || {
        world.poll(&id).await == "ERROR_SUBMIT_UNCERTAIN"
    })
    .await;
    world.sandbox.clear_faults();
    until("its id has come", async || {
        world.poll(&id).await.starts_with("OK|solved-")
    })
    .await;
    // What it stands for is durable, too.
    world.stop().await;
    world.start_again().await;
    solved(&world, &id).await;
    assert_eq!(world.sandbox.tasks().len(), 1);
    world.end().await;
}

/// One account without money, whose tasks cost some.
fn penniless() -> SandboxConfig {
    let mut config = vendor(Dialect::Twocaptcha, 1);
    config.accounts[0].price_micros = 1_000;
    config.accounts[0].balance_micros = 0;
    config
}

/// An empty account rests for a minute before it is looked at again; a new key is looked at as soon as it is there.
async fn refill_with_another_key(world: &World) {
    let account = AccountConfig {
        solve_ms: 0,
        price_micros: 1_000,
        balance_micros: 1_000_000,
        ..AccountConfig::new(name(2), key(2))
    };
    world.sandbox.put_account(account).unwrap();
    let both = keys([(name(1), key(1)), (name(2), key(2))]);
    world.adopts(|| world.write_keys(&both)).await;
}

/// So many submits, each labelled, which are all parked.
async fn park(world: &World, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        let label = labelled(&format!("parked{}x{n}", ids_so_far(world)));
        let answer = world.get(&format!("/in.php?key={{}}&{label}")).await;
        let id = answer
            .strip_prefix("OK|")
            .unwrap_or_else(|| panic!("{answer}"));
        assert!(id.len() == 16 && id.starts_with('9'), "not parked: {id}");
        ids.push(id.to_owned());
    }
    ids
}

fn ids_so_far(world: &World) -> i64 {
    world.stored("SELECT count(*) FROM parked")
}

async fn solved(world: &World, id: &str) -> String {
    let mut answer = String::new();
    until("it is solved", async || {
        answer = world.poll(id).await;
        answer != NOT_READY
    })
    .await;
    assert!(answer.starts_with("OK|solved-"), "{id}: {answer}");
    answer
}

async fn many(world: &World, ids: &[String]) -> String {
    let ids = ids.join(",");
    world
        .get(&format!("/res.php?key={{}}&action=get&ids={ids}"))
        .await
}

async fn report(world: &World, id: &str) -> String {
    world
        .get(&format!("/res.php?key={{}}&action=reportbad&id={id}"))
        .await
}
