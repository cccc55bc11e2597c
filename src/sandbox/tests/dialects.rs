use super::*;
use crate::sandbox::IdShape;

#[tokio::test]
async fn text_answers_are_the_vendors_to_the_byte() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    let (head, answer) = get(&sandbox, &submit_target(ONE)).await;
    assert_eq!(answer, "OK|73548291");
    assert!(
        head.starts_with("http/1.1 200 ok")
            && head.contains("content-type: text/html; charset=utf-8"),
        "{head}"
    );
    assert!(head.contains("content-length: 11"), "{head}");
    assert_eq!(
        body(&sandbox, &poll_target(ONE, "73548291")).await,
        "OK|solved-73548291"
    );
    assert_eq!(
        body(&sandbox, &format!("/res.php?key={ONE}&id=73548291")).await,
        "OK|solved-73548291"
    );
    assert_eq!(
        body(
            &sandbox,
            &format!("/res.php?key={ONE}&action=get2&id=73548291")
        )
        .await,
        "OK|solved-73548291|0.00085"
    );
    assert_eq!(
        body(&sandbox, &format!("/res.php?key={ONE}&action=getbalance")).await,
        "9.99915"
    );
    assert_eq!(
        body(
            &sandbox,
            &format!("/res.php?key={ONE}&action=reportgood&id=73548291")
        )
        .await,
        "OK_REPORT_RECORDED"
    );
    assert_eq!(
        body(
            &sandbox,
            &format!("/res.php?key={ONE}&action=reportbad&id=73548291")
        )
        .await,
        "ERROR_DUPLICATE_REPORT"
    );
    assert_eq!(
        body(&sandbox, &format!("/res.php?key={ONE}&action=get")).await,
        "ERROR_WRONG_ID_FORMAT"
    );
    assert_eq!(
        body(&sandbox, &poll_target(ONE, "1")).await,
        "ERROR_WRONG_CAPTCHA_ID"
    );
    assert_eq!(
        body(&sandbox, &format!("/res.php?key={ONE}&action=nonsense")).await,
        "ERROR_BAD_PARAMETERS"
    );
    assert!(body(&sandbox, "/load.php").await.starts_with("<?xml"));
}

#[tokio::test]
async fn json_answers_are_the_vendors_to_the_byte() {
    let sandbox = begin(SandboxConfig {
        numeric_ids: true,
        error_text: true,
        ..config(Dialect::Captchaai)
    })
    .await;
    assert_eq!(
        body(&sandbox, &(submit_target(ONE) + "&json=1")).await,
        r#"{"status":1,"request":73548291}"#
    );
    let image = format!("/in.php?key={ONE}&method=base64&body=AAAA&json=1");
    assert_eq!(
        body(&sandbox, &image).await,
        r#"{"status":1,"request":"73548292"}"#
    );
    let poll = |id: &str| poll_target(ONE, id) + "&json=1";
    assert_eq!(
        body(&sandbox, &poll("73548291")).await,
        r#"{"status":1,"request":"solved-73548291"}"#
    );
    let unknown = body(&sandbox, &poll("7")).await;
    assert_eq!(
        unknown,
        r#"{"status":0,"request":"ERROR_WRONG_CAPTCHA_ID","error_text":"the sandbox says ERROR_WRONG_CAPTCHA_ID"}"#
    );
    let threads = format!("/res.php?key={ONE}&action=threadsinfo&json=1");
    assert_eq!(
        body(&sandbox, &threads).await,
        r#"{"threads":"1000","working_threads":"0"}"#
    );
    sandbox
        .change_account("one", |account| {
            account.answer_json = Some(r#"{"status":1,"result":"T-{id}"}"#.to_owned())
        })
        .unwrap();
    let id = submit(&sandbox, ONE).await;
    assert_eq!(
        body(&sandbox, &poll(&id)).await,
        format!(r#"{{"status":1,"result":"T-{id}"}}"#)
    );
}

#[tokio::test]
async fn the_same_call_is_understood_in_every_encoding() {
    let sandbox = begin(config(Dialect::Twocaptcha)).await;
    let form = format!("method=base64&body=AAAA&key={ONE}");
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n")
    };
    let multipart = [
        part("name=\"file\"; filename=\"a.png\"", "PNG"),
        part("name=method", "post"),
        part("name=\"key\"", ONE),
        "--b--\r\n".to_owned(),
    ]
    .concat();
    let json = format!(
        r#"{{"method":"userrecaptcha","googlekey":"6L","pageurl":"https://e.com","key":"{ONE}","json":1}}"#
    );
    let only_body = format!("/in.php?key={ONE}&method=base64");
    for (target, content_type, content, expected) in [
        ("/in.php", "application/x-www-form-urlencoded", &form, "OK|"),
        (
            "/in.php",
            "multipart/form-data; boundary=b",
            &multipart,
            "OK|",
        ),
        ("/in.php", "application/json", &json, "{\"status\":1,"),
        (
            &only_body,
            "multipart/form-data",
            &r#"{"body":"AAAA"}"#.to_owned(),
            "OK|",
        ),
        (
            &only_body,
            "text/plain;charset=UTF-8",
            &r#"{"body":"AAAA"}"#.to_owned(),
            "OK|",
        ),
        ("/in.php", "text/plain", &form, "ERROR_WRONG_USER_KEY"),
    ] {
        let (_, answer) = send(&sandbox, &post_request(target, content_type, content)).await;
        assert!(answer.starts_with(expected), "{content_type}: {answer}");
    }
    assert_eq!(sandbox.ledger().accounts["one"].made, 5);
}

#[tokio::test]
async fn a_poll_with_another_accounts_key_is_refused_and_recorded() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    let id = submit(&sandbox, ONE).await;
    for target in [
        poll_target(TWO, &id),
        format!("/res.php?key={TWO}&action=reportbad&id={id}"),
    ] {
        assert_eq!(body(&sandbox, &target).await, "ERROR_WRONG_CAPTCHA_ID");
    }
    let record = sandbox.record();
    assert_eq!(record.counts.foreign, 2);
    let last = record.calls.back().unwrap();
    assert!(last.foreign);
    assert_eq!(
        (
            last.account.as_deref(),
            last.key.as_deref(),
            last.task.as_deref()
        ),
        (Some("two"), Some(TWO), Some(id.as_str()))
    );
    assert_eq!(sandbox.ledger().accounts["two"].foreign, 2);
    assert_eq!(
        body(&sandbox, &poll_target(ONE, &id)).await,
        format!("OK|solved-{id}")
    );
}

#[tokio::test]
async fn a_full_account_says_so_in_its_dialect() {
    for (dialect, full, none) in [
        (
            Dialect::Captchaai,
            "ERROR_ZERO_BALANCE",
            "ERROR_KEY_DOES_NOT_EXIST",
        ),
        (
            Dialect::Twocaptcha,
            "ERROR_NO_SLOT_AVAILABLE",
            "ERROR_NO_SLOT_AVAILABLE",
        ),
    ] {
        let sandbox = begin(config(dialect)).await;
        sandbox
            .change_account("one", |account| {
                (account.threads, account.solve_ms) = (Some(1), 60_000)
            })
            .unwrap();
        let id = submit(&sandbox, ONE).await;
        assert_eq!(
            body(&sandbox, &poll_target(ONE, &id)).await,
            "CAPCHA_NOT_READY"
        );
        assert_eq!(body(&sandbox, &submit_target(ONE)).await, full);
        sandbox.set_threads("one", Some(0)).unwrap();
        assert_eq!(body(&sandbox, &submit_target(ONE)).await, none);
        let threads = body(
            &sandbox,
            &format!("/res.php?key={ONE}&action=threadsinfo&json=1"),
        )
        .await;
        let shown = r#"{"threads":"0","working_threads":"1"}"#;
        assert_eq!(threads == shown, dialect == Dialect::Captchaai, "{threads}");
        assert_eq!(sandbox.ledger().accounts["one"].refused, 2);
    }
}

#[tokio::test]
async fn money_runs_out_and_failures_cost_nothing() {
    let sandbox = begin(config(Dialect::Twocaptcha)).await;
    sandbox.set_balance("one", 1_700).unwrap();
    sandbox
        .set_answer("one", Some("ERROR_CAPTCHA_UNSOLVABLE"))
        .unwrap();
    let id = submit(&sandbox, ONE).await;
    assert_eq!(
        body(&sandbox, &poll_target(ONE, &id)).await,
        "ERROR_CAPTCHA_UNSOLVABLE"
    );
    sandbox.set_answer("one", Some("A|B")).unwrap();
    let id = submit(&sandbox, ONE).await;
    assert_eq!(body(&sandbox, &poll_target(ONE, &id)).await, "OK|A|B");
    submit(&sandbox, ONE).await;
    assert_eq!(
        body(&sandbox, &submit_target(ONE)).await,
        "ERROR_ZERO_BALANCE"
    );
    let totals = &sandbox.ledger().accounts["one"];
    assert_eq!(
        (
            totals.made,
            totals.solved,
            totals.failed,
            totals.refused,
            totals.charged_micros
        ),
        (3, 2, 1, 1, 1_700)
    );
    let tasks = sandbox.tasks();
    assert_eq!(
        tasks.iter().map(|task| task.charged_micros).sum::<i64>(),
        totals.charged_micros
    );
    assert_eq!(sandbox.accounts()[0].balance_micros, 0);
}

#[tokio::test]
async fn a_running_task_holds_its_price() {
    let sandbox = begin(config(Dialect::Twocaptcha)).await;
    sandbox
        .change_account("one", |account| {
            (account.balance_micros, account.solve_ms) = (900, 60_000)
        })
        .unwrap();
    submit(&sandbox, ONE).await;
    assert_eq!(
        body(&sandbox, &submit_target(ONE)).await,
        "ERROR_ZERO_BALANCE"
    );
    assert_eq!(sandbox.accounts()[0].balance_micros, 900);
}

#[tokio::test]
async fn many_ids_are_answered_in_the_order_asked() {
    let sandbox = begin(config(Dialect::Twocaptcha)).await;
    let (first, second) = (submit(&sandbox, ONE).await, submit(&sandbox, ONE).await);
    let foreign = submit(&sandbox, TWO).await;
    let target = format!("/res.php?key={ONE}&action=get&ids={second},{foreign},{first}");
    let joined = format!("solved-{second}|ERROR_WRONG_CAPTCHA_ID|solved-{first}");
    assert_eq!(body(&sandbox, &target).await, joined);
    assert_eq!(
        body(&sandbox, &(target + "&json=1")).await,
        format!(r#"{{"status":1,"request":"{joined}"}}"#)
    );
    assert_eq!(sandbox.counts().foreign, 2);

    let captchaai = begin(config(Dialect::Captchaai)).await;
    assert_eq!(
        body(
            &captchaai,
            &format!("/res.php?key={ONE}&action=get&ids=1,2")
        )
        .await,
        "ERROR_WRONG_ID_FORMAT"
    );
}

#[tokio::test]
async fn solve_php_answers_when_the_task_is_solved() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    sandbox.set_solve_time("one", 200).unwrap();
    let began = tokio::time::Instant::now();
    let request = post_request(
        "/solve.php",
        "application/x-www-form-urlencoded",
        &format!("key={ONE}&method=base64&body=AAAA&json=1"),
    );
    let (_, answer) = send(&sandbox, &request).await;
    assert_eq!(answer, r#"{"status":1,"request":"solved-73548291"}"#);
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(sandbox.tasks()[0].told);
}

#[tokio::test]
async fn bad_keys_are_told_apart_and_get_the_address_banned() {
    let sandbox = begin(SandboxConfig {
        ban_after: 3,
        ban_ms: 60_000,
        ..config(Dialect::Captchaai)
    })
    .await;
    let balance = |key: &str| format!("/res.php?key={key}&action=getbalance");
    assert_eq!(
        body(&sandbox, &balance("short")).await,
        "ERROR_WRONG_USER_KEY"
    );
    assert_eq!(
        body(&sandbox, &balance(&ONE.replace('1', "3"))).await,
        "ERROR_KEY_DOES_NOT_EXIST"
    );
    assert_eq!(body(&sandbox, &balance(ONE)).await, "10");
    sandbox
        .change_account("two", |account| account.enabled = false)
        .unwrap();
    assert_eq!(
        body(&sandbox, &balance(TWO)).await,
        "ERROR_KEY_DOES_NOT_EXIST"
    );
    assert_eq!(body(&sandbox, &balance(ONE)).await, "IP_BANNED");
    assert_eq!(sandbox.counts().unknown_key, 2);
}

#[tokio::test]
async fn debug_dump_shows_the_key_as_real_vendors_do() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    let answer = body(
        &sandbox,
        &(submit_target(ONE) + "&debug.dump=1&header_acao=1"),
    )
    .await;
    assert!(
        answer.contains(&format!("string(32) \"{ONE}\"")) && answer.ends_with("OK|73548291"),
        "{answer}"
    );
}

#[tokio::test]
async fn ids_come_in_the_shape_that_was_asked_for() {
    for (ids, expected) in [
        (IdShape::LeadingZero, "073548291"),
        (IdShape::Hex, "4624203"),
        (IdShape::Uuid, "00000000-0000-4000-8000-000004624203"),
    ] {
        let sandbox = begin(SandboxConfig {
            ids,
            numeric_ids: true,
            ..config(Dialect::Captchaai)
        })
        .await;
        assert_eq!(submit(&sandbox, ONE).await, expected);
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_pages() {
    let sandbox = begin(SandboxConfig {
        prefix: "/2captcha".to_owned(),
        ..config(Dialect::Captchaai)
    })
    .await;
    assert!(
        get(&sandbox, &submit_target(ONE))
            .await
            .0
            .starts_with("http/1.1 404")
    );
    assert_eq!(
        body(&sandbox, &format!("/2captcha{}", submit_target(ONE))).await,
        "OK|73548291"
    );
    let options = "OPTIONS /2captcha/in.php HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n";
    assert!(send(&sandbox, options).await.0.starts_with("http/1.1 405"));
}
