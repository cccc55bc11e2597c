//! Every call that clients make, through one Sidekey with several accounts behind it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sidekey::sandbox::{Dialect, Fault, FaultRule, RecordedCall};
use tokio::time::{advance, pause, resume};

use crate::support::http::Connection;
use crate::support::{PLACEHOLDER, TASK, World, http, key, name, until, vendor};

const KEYS: usize = 3;
const REFUSE: &str = "poll.unknown_task = \"refuse\"";

#[tokio::test]
async fn a_task_is_submitted_polled_and_reported_with_its_own_key() {
    for dialect in [Dialect::Captchaai, Dialect::Twocaptcha] {
        let world = World::start(vendor(dialect, KEYS), REFUSE).await;
        for report in ["reportgood", "reportbad"].repeat(KEYS) {
            let id = world.submit().await;
            assert_eq!(world.poll(&id).await, format!("OK|solved-{id}"));
            let solved = json!({"status": 1, "request": format!("solved-{id}")});
            assert_eq!(parsed(&world.poll(&format!("{id}&json=1")).await), solved);
            let get2 = world
                .get(&format!("/res.php?key={{}}&action=get2&id={id}"))
                .await;
            assert!(get2.starts_with(&format!("OK|solved-{id}|")), "{get2}");
            let target = format!("/res.php?key={{}}&action={report}&id={id}");
            assert_eq!(world.get(&target).await, "OK_REPORT_RECORDED");
        }
        for (account, totals) in world.sandbox.ledger().accounts {
            assert_eq!((totals.made, totals.foreign), (2, 0), "{account}");
            assert_eq!(totals.reported_good + totals.reported_bad, 2, "{account}");
        }
        world.end().await;
    }
}

#[tokio::test]
async fn an_id_without_an_action_is_a_poll() {
    let world = World::start(vendor(Dialect::Captchaai, KEYS), REFUSE).await;
    let id = world.submit().await;
    let target = format!("/res.php?key={{}}&id={id}");
    assert_eq!(world.get(&target).await, format!("OK|solved-{id}"));
    world.end().await;
}

#[tokio::test]
async fn answers_to_ids_of_several_accounts_come_in_the_order_asked() {
    for (dialect, calls) in [(Dialect::Twocaptcha, 3), (Dialect::Captchaai, 6)] {
        let world = World::start(vendor(dialect, KEYS), REFUSE).await;
        let mut ids = Vec::new();
        for _ in 0..2 * KEYS {
            ids.push(world.submit().await);
        }
        ids.reverse();
        let mut expected: Vec<_> = ids.iter().map(|id| format!("solved-{id}")).collect();
        ids.insert(2, "unheard-of".into());
        expected.insert(2, "ERROR_WRONG_CAPTCHA_ID".into());
        let before = polls(&world).len();
        let target = format!("/res.php?key={{}}&action=get&ids={}", ids.join(","));
        assert_eq!(world.get(&target).await, expected.join("|"));
        assert_eq!(polls(&world).len() - before, calls, "{dialect:?}");
        let answer = world.get(&format!("{target}&json=1")).await;
        assert_eq!(
            parsed(&answer),
            json!({"status": 1, "request": expected.join("|")})
        );
        assert_eq!(world.sandbox.counts().foreign, 0);
        world.end().await;
    }
}

#[tokio::test]
async fn tasks_that_are_not_ready_stay_so_among_those_that_are() {
    let world = World::start(vendor(Dialect::Twocaptcha, KEYS), REFUSE).await;
    let mut ids = Vec::new();
    for n in 1..=KEYS {
        world
            .sandbox
            .set_solve_time(&name(n), if n == 2 { 600_000 } else { 0 })
            .unwrap();
    }
    for _ in 0..KEYS {
        ids.push(world.submit().await);
    }
    let tasks = world.sandbox.tasks();
    let expected = ids.iter().map(|id| {
        let slow = tasks
            .iter()
            .any(|task| task.id == *id && task.account == name(2));
        if slow {
            "CAPCHA_NOT_READY".to_owned()
        } else {
            format!("solved-{id}")
        }
    });
    let expected = expected.collect::<Vec<_>>().join("|");
    let target = format!("/res.php?key={{}}&action=get&ids={}", ids.join(","));
    assert_eq!(world.get(&target).await, expected);
    world.end().await;
}

#[tokio::test]
async fn balances_and_threads_are_summed_over_the_keys() {
    let mut vendor = vendor(Dialect::Captchaai, KEYS);
    for (n, account) in vendor.accounts.iter_mut().enumerate() {
        account.balance_micros = 1_250_000 * (n as i64 + 1);
        account.threads = Some(5);
        account.solve_ms = 600_000;
    }
    let world = World::start(vendor, "").await;
    world.submit().await;
    assert_eq!(world.get("/res.php?key={}&action=getbalance").await, "7.50");
    let answer = world.get("/res.php?key={}&action=getbalance&json=1").await;
    assert_eq!(parsed(&answer), json!({"status": 1, "request": "7.50"}));
    let answer = world.get("/res.php?key={}&action=threadsinfo&json=1").await;
    assert_eq!(
        parsed(&answer),
        json!({"status": 1, "threads": "15", "working_threads": "1"})
    );
    world.end().await;
}

#[tokio::test]
async fn calls_that_name_no_account_of_ours_are_refused_and_reach_no_vendor() {
    let world = World::start(vendor(Dialect::Twocaptcha, KEYS), REFUSE).await;
    let before = world.sandbox.counts().calls;
    for (target, code) in [
        (
            "/res.php?key={}&action=add_pingback&addr=http://example.com",
            "ERROR_EMPTY_ACTION",
        ),
        ("/res.php?key={}&action=get_pingback", "ERROR_EMPTY_ACTION"),
        (
            "/res.php?key={}&action=del_pingback&addr=all",
            "ERROR_EMPTY_ACTION",
        ),
        ("/res.php?key={}&action=something", "ERROR_EMPTY_ACTION"),
        ("/res.php?key={}", "ERROR_EMPTY_ACTION"),
        (
            "/res.php?key={}&action=get&id=unheard-of",
            "ERROR_WRONG_CAPTCHA_ID",
        ),
        (
            "/res.php?key={}&action=reportbad&id=unheard-of",
            "ERROR_WRONG_CAPTCHA_ID",
        ),
        (
            "/res.php?key={}&action=something&id=unheard-of",
            "ERROR_WRONG_CAPTCHA_ID",
        ),
        (
            "/res.php?key={}&action=get&action[]=reportbad&id=1",
            "ERROR_BAD_PARAMETERS",
        ),
    ] {
        assert_eq!(world.get(target).await, code, "{target}");
        let answer = parsed(&world.get(&format!("{target}&json=1")).await);
        assert_eq!(
            (&answer["status"], &answer["request"]),
            (&0.into(), &code.into())
        );
        assert!(
            answer["error_text"]
                .as_str()
                .unwrap()
                .starts_with("sidekey: ")
        );
    }
    assert_eq!(world.sandbox.counts().calls, before);
    world.end().await;
}

#[tokio::test]
async fn an_unknown_action_with_an_id_goes_to_the_tasks_account() {
    let world = World::start(vendor(Dialect::Twocaptcha, KEYS), REFUSE).await;
    for _ in 0..KEYS {
        let id = world.submit().await;
        let owner = world.sandbox.tasks().pop().unwrap().account;
        let target = format!("/res.php?key={{}}&action=refund&id={id}");
        assert_eq!(world.get(&target).await, "ERROR_BAD_PARAMETERS");
        let asked = last(&world);
        assert_eq!(
            (asked.action.as_str(), asked.account.as_ref()),
            ("refund", Some(&owner))
        );
    }
    world.end().await;
}

#[tokio::test]
async fn load_is_asked_without_a_key() {
    let world = World::start(vendor(Dialect::Twocaptcha, KEYS), "").await;
    let answer = world.get("/load.php?key={}").await;
    assert!(answer.contains("<load>12</load>"), "{answer}");
    assert!(last(&world).keys.is_empty());
    world.end().await;
}

#[tokio::test]
async fn solve_answers_with_the_solution() {
    let mut vendor = vendor(Dialect::Captchaai, KEYS);
    vendor
        .accounts
        .iter_mut()
        .for_each(|account| account.solve_ms = 300);
    let world = World::start(vendor, "").await;
    let answer = world.get(&format!("/solve.php?key={{}}&{TASK}")).await;
    assert!(answer.starts_with("OK|solved-"), "{answer}");
    world.end().await;
}

#[tokio::test]
async fn an_answer_of_solve_php_that_comes_late_frees_its_slot_and_is_counted() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    let held = FaultRule::new(Fault::Slow).endpoint("solve.php");
    world.sandbox.set_fault(held.delay_ms(100_000_000)).unwrap();
    let mut client = Connection::open(world.http()).await.unwrap();
    let target = format!("/solve.php?key={PLACEHOLDER}&{TASK}");
    client.write("GET", &target, "", "").await.unwrap();
    until("it is sent", async || {
        world.sandbox.record().counts.endpoints.get("solve.php") == Some(&1)
    })
    .await;
    // Longer than any client waits.
    pause();
    advance(Duration::from_secs(601)).await;
    resume();
    until("nobody knows", async || {
        world.metric("sidekey_uncertain_submits_total").await == 1.0
    })
    .await;
    let key = async || world.api("/api/keys").await["keys"][0].clone();
    assert_eq!(key().await["slots"]["used"], 1);
    world.sandbox.clear_faults();
    until("its slot is free", async || {
        key().await["slots"]["used"] == 0
    })
    .await;
    assert_eq!(world.metric("sidekey_solve_seconds_count").await, 1.0);
    world.end().await;
}

#[tokio::test]
async fn a_task_submitted_elsewhere_is_found_at_its_account_and_then_known() {
    let mut world = World::start(vendor(Dialect::Twocaptcha, KEYS), "").await;
    world.get("/res.php?key={}&action=getbalance").await;
    let target = format!("/in.php?key={}&{TASK}", key(3));
    let elsewhere = http::send(world.sandbox.address(), "GET", &target, "", "").await;
    let id = elsewhere.body.strip_prefix("OK|").unwrap();
    until("its account is found", async || {
        let answer = world.poll(id).await;
        assert!(answer == "CAPCHA_NOT_READY" || answer == format!("OK|solved-{id}"));
        answer != "CAPCHA_NOT_READY"
    })
    .await;
    let asked_in_vain = world.sandbox.counts().foreign;
    assert!(asked_in_vain <= 2, "{asked_in_vain}");
    // The record is written beside the answer; a stop in order finishes it.
    world.stop().await;
    world.start_again().await;
    let target = format!("/res.php?key={{}}&action=reportbad&id={id}");
    assert_eq!(world.get(&target).await, "OK_REPORT_RECORDED");
    assert_eq!(world.sandbox.counts().foreign, asked_in_vain);
    world.end().await;
}

#[tokio::test]
async fn every_form_of_a_request_goes_out_with_one_key() {
    let world = World::start(vendor(Dialect::Twocaptcha, KEYS), "").await;
    let form = format!("body=aGk=&key={PLACEHOLDER}&method=base64");
    let json = format!(
        "{{\"method\":\"userrecaptcha\",\"googlekey\":\"a\",\"pageurl\":\"b\",\"key\":\"{PLACEHOLDER}\"}}"
    );
    let part = |name: &str, value: &str| {
        format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let multipart = part("body", "aGk=")
        + &part("method", "base64")
        + &part("key", PLACEHOLDER)
        + "--edge--\r\n";
    for (kind, body) in [
        ("application/x-www-form-urlencoded", &form),
        ("application/json", &json),
        ("multipart/form-data; boundary=edge", &multipart),
    ] {
        let header = format!("Content-Type: {kind}\r\n");
        let answer = world.send("POST", "/in.php", &header, body).await;
        assert!(answer.body.starts_with("OK|"), "{kind}: {answer:?}");
        assert_eq!(last(&world).keys.len(), 1, "{kind}");
    }
    // As an old client sends it that uses Sidekey as its HTTP proxy.
    let target = format!("http://2captcha.com//in.php?key={{}}&{TASK}");
    let answer = world
        .send("GET", &target, "Host: 2captcha.com\r\n", "")
        .await;
    assert!(answer.body.starts_with("OK|"), "{answer:?}");
    world.end().await;
}

#[tokio::test]
async fn a_project_is_kept_here_and_not_told_the_vendor() {
    let world = World::start(vendor(Dialect::Twocaptcha, KEYS), "").await;
    for (project, target) in [
        ("shop", format!("/project/shop/in.php?key={{}}&{TASK}")),
        ("blog", format!("/in.php?key={{}}&x_project=blog&{TASK}")),
    ] {
        let answer = world.get(&target).await;
        let id = answer.strip_prefix("OK|").unwrap();
        let kept: Option<String> =
            world.stored(&format!("SELECT project FROM tasks WHERE id = '{id}'"));
        assert_eq!(kept.as_deref(), Some(project));
        assert_eq!(
            last(&world).names,
            ["googlekey", "key", "method", "pageurl"]
        );
    }
    world.end().await;
}

#[tokio::test]
async fn web_pages_may_call_only_from_listed_origins() {
    let config = "clients.origins = [\"https://shop.example\"]";
    let world = World::start(vendor(Dialect::Twocaptcha, KEYS), config).await;
    let target = format!("/in.php?key={{}}&{TASK}");
    for (origin, allowed) in [
        ("Origin: https://shop.example", true),
        ("Origin: https://evil.example", false),
        ("Origin: null", false),
        // An image, a script, a frame: by GET, and without an origin.
        ("Sec-Fetch-Site: cross-site", false),
        ("Sec-Fetch-Site: same-site", false),
        // Typed into the address bar.
        ("Sec-Fetch-Site: none", true),
        (
            "Sec-Fetch-Site: cross-site\r\nOrigin: https://shop.example",
            true,
        ),
    ] {
        let header = format!("{origin}\r\n");
        let answer = world.send("GET", &target, &header, "").await;
        assert_eq!(
            answer.body.starts_with("OK|"),
            allowed,
            "{origin}: {answer:?}"
        );
        assert_eq!(
            answer.body == "ERROR_KEY_DOES_NOT_EXIST",
            !allowed,
            "{origin}"
        );
    }
    world.end().await;
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused_in_the_clients_format() {
    let world = World::start(
        vendor(Dialect::Twocaptcha, KEYS),
        "listen.max_body = \"32KiB\"",
    )
    .await;
    let before = world.sandbox.counts().calls;
    let body = format!("method=base64&body={}", "A".repeat(40_000));
    let header = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (target, code) in [
        ("/in.php", "ERROR_TOO_BIG_CAPTCHA_FILESIZE"),
        (
            "/in.php?json=1",
            "\"request\":\"ERROR_TOO_BIG_CAPTCHA_FILESIZE\"",
        ),
    ] {
        let answer = world.send("POST", target, header, &body).await;
        assert!(
            answer.status == 200 && answer.body.contains(code),
            "{answer:?}"
        );
    }
    assert_eq!(world.sandbox.counts().calls, before);
    world.end().await;
}

#[tokio::test]
async fn bodies_beyond_the_budget_for_all_are_refused_until_one_ends() {
    let config = "listen.max_body = \"64KiB\"\nlisten.max_body_total = \"64KiB\"";
    let world = World::start(vendor(Dialect::Twocaptcha, KEYS), config).await;
    let body = format!("method=base64&body={}", "A".repeat(20_000));
    let header = "Content-Type: application/x-www-form-urlencoded\r\n";
    // Most of the budget, and the end never comes.
    let mut slow = Connection::open(world.http()).await.unwrap();
    let held = format!(
        "{header}Content-Length: 60000\r\n\r\n{}",
        "A".repeat(50_000)
    );
    slow.write("POST", "/in.php", &held, "").await.unwrap();
    let submit = async || world.send("POST", "/in.php", header, &body).await.body;
    until("the budget is used up", async || {
        submit().await == "ERROR_NO_SLOT_AVAILABLE"
    })
    .await;
    drop(slow);
    until("the budget is free again", async || {
        submit().await.starts_with("OK|")
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn what_is_no_call_gets_a_real_http_error() {
    let world = World::start(vendor(Dialect::Twocaptcha, KEYS), "").await;
    for (method, target, status) in [
        ("GET", "/", 404),
        ("GET", "/createTask", 404),
        ("PUT", "/in.php", 405),
        ("CONNECT", "2captcha.com:443", 405),
    ] {
        assert_eq!(
            world.send(method, target, "", "").await.status,
            status,
            "{method} {target}"
        );
    }
    world.end().await;
}

fn polls(world: &World) -> Vec<Arc<RecordedCall>> {
    let calls = world.sandbox.record().calls;
    calls
        .into_iter()
        .filter(|call| call.action == "get")
        .collect()
}

fn last(world: &World) -> Arc<RecordedCall> {
    world.sandbox.record().calls.pop_back().unwrap()
}

fn parsed(answer: &str) -> Value {
    serde_json::from_str(answer).unwrap()
}
