use serde_json::{Value, json};

use super::*;

async fn control(sandbox: &Sandbox, method: &str, path: &str, content: &str) -> (bool, Value) {
    let length = content.len();
    let request = format!(
        "{method} /sandbox/{path} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{content}"
    );
    let (head, body) = send(sandbox, &request).await;
    (
        head.starts_with("http/1.1 200"),
        serde_json::from_str(&body).unwrap(),
    )
}

#[tokio::test]
async fn faults_are_set_listed_and_cleared() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    let rule = r#"{"endpoint":"in.php","times":2,"fault":{"kind":"status","status":503}}"#;
    let (ok, made) = control(&sandbox, "POST", "faults", rule).await;
    assert!(ok && made["id"] == 1, "{made}");
    assert!(
        get(&sandbox, &submit_target(ONE))
            .await
            .0
            .starts_with("http/1.1 503")
    );
    let (_, list) = control(&sandbox, "GET", "faults", "").await;
    assert_eq!(
        (&list["faults"][0]["left"], &list["faults"][0]["struck"]),
        (&json!(1), &json!(1))
    );
    assert!(control(&sandbox, "DELETE", "faults", "").await.0);
    submit(&sandbox, ONE).await;
    for bad in [
        r#"{"fault":{"kind":"reset-connect"}}"#,
        r#"{"tmes":1,"fault":{"kind":"empty"}}"#,
        r#"{"fault":{"kind":"nope"}}"#,
        "",
    ] {
        let (ok, answer) = control(&sandbox, "POST", "faults", bad).await;
        assert!(!ok && answer["error"].is_string(), "{bad}");
    }
    assert!(!control(&sandbox, "DELETE", "faults/9", "").await.0);
}

#[tokio::test]
async fn accounts_are_added_changed_and_removed() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    let three = "3333333333333333cccccccccccccccc";
    assert!(
        !control(&sandbox, "POST", "accounts/three", "").await.0,
        "no key"
    );
    let new = format!(r#"{{"key":"{three}","balance_micros":5000000,"threads":2,"solve_ms":0}}"#);
    let (ok, state) = control(&sandbox, "POST", "accounts/three", &new).await;
    assert!(ok && state["threads"] == 2, "{state}");
    let id = submit(&sandbox, three).await;
    let (_, state) = control(
        &sandbox,
        "POST",
        "accounts/three",
        r#"{"threads":null,"enabled":false}"#,
    )
    .await;
    assert_eq!(
        (
            &state["threads"],
            &state["enabled"],
            &state["balance_micros"]
        ),
        (&Value::Null, &json!(false), &json!(5_000_000))
    );
    assert_eq!(
        body(&sandbox, &submit_target(three)).await,
        "ERROR_KEY_DOES_NOT_EXIST"
    );
    control(
        &sandbox,
        "POST",
        "accounts/three",
        r#"{"key":"4444444444444444dddddddddddddddd","enabled":true}"#,
    )
    .await;
    assert_eq!(
        body(
            &sandbox,
            &poll_target("4444444444444444dddddddddddddddd", &id)
        )
        .await,
        format!("OK|solved-{id}")
    );
    let same = format!(r#"{{"key":"{ONE}"}}"#);
    assert!(!control(&sandbox, "POST", "accounts/three", &same).await.0);
    assert!(control(&sandbox, "DELETE", "accounts/three", "").await.0);
    assert!(!control(&sandbox, "DELETE", "accounts/three", "").await.0);
    let (_, list) = control(&sandbox, "GET", "accounts", "").await;
    assert_eq!(list["accounts"].as_array().unwrap().len(), 3);
    assert_eq!(list["accounts"][1]["enabled"], json!(false));
}

#[tokio::test]
async fn record_and_ledger_can_be_asked_and_reset() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    let id = submit(&sandbox, ONE).await;
    body(&sandbox, &poll_target(TWO, &id)).await;
    let (_, all) = control(&sandbox, "GET", "record", "").await;
    assert_eq!(
        (
            &all["counts"]["calls"],
            all["calls"].as_array().unwrap().len()
        ),
        (&json!(2), 2)
    );
    for (question, count) in [
        ("after=1", 1),
        ("limit=1", 1),
        ("account=one", 1),
        ("endpoint=res.php", 1),
        ("foreign=1", 1),
        ("after=2", 0),
    ] {
        let (_, some) = control(&sandbox, "GET", &format!("record?{question}"), "").await;
        assert_eq!(some["calls"].as_array().unwrap().len(), count, "{question}");
    }
    assert!(!control(&sandbox, "GET", "record?after=x", "").await.0);
    let (_, ledger) = control(&sandbox, "GET", "ledger?tasks=1", "").await;
    assert_eq!(
        (
            &ledger["accounts"]["one"]["charged_micros"],
            &ledger["tasks"][0]["state"]
        ),
        (&json!(850), &json!("solved"))
    );
    assert!(control(&sandbox, "POST", "reset", "").await.0);
    assert_eq!(sandbox.counts().calls, 0);
    assert_eq!(sandbox.tasks(), []);
    assert_ne!(submit(&sandbox, ONE).await, id, "ids go on counting");
    assert!(!control(&sandbox, "GET", "nothing", "").await.0);
    assert!(control(&sandbox, "POST", "connections/close", "").await.0);
}

#[tokio::test]
async fn the_ledger_adds_up_under_concurrent_clients() {
    let sandbox = begin(config(Dialect::Twocaptcha)).await;
    sandbox
        .set_fault(FaultRule {
            probability: 0.2,
            seed: 5,
            ..FaultRule::new(Fault::Reset).endpoint("in.php")
        })
        .unwrap();
    sandbox
        .set_fault(FaultRule {
            probability: 0.2,
            seed: 6,
            ..FaultRule::new(Fault::Close).endpoint("in.php").done()
        })
        .unwrap();
    let background = Background::new();
    let clients: Vec<_> = (0..20)
        .map(|n| {
            let sandbox = sandbox.clone();
            background.spawn(async move {
                let mut told = 0;
                for _ in 0..20 {
                    let key = if n % 2 == 0 { ONE } else { TWO };
                    let (text, _) = exchange(&sandbox, &get_request(&submit_target(key))).await;
                    told += usize::from(text.contains("\r\n\r\nOK|"));
                }
                told
            })
        })
        .collect();
    let mut told = 0;
    for client in clients {
        told += client.await.unwrap();
    }
    let tasks = sandbox.tasks();
    assert_eq!(tasks.iter().filter(|task| task.told).count(), told);
    let ledger = sandbox.ledger();
    let sum =
        |of: fn(&crate::sandbox::Totals) -> u64| ledger.accounts.values().map(of).sum::<u64>();
    assert_eq!(sum(|totals| totals.made) as usize, tasks.len());
    assert_eq!(
        sum(|totals| totals.made + totals.struck + totals.refused),
        400
    );
    assert!(told < tasks.len() && sum(|totals| totals.struck) > 0);
    let charged: i64 = ledger
        .accounts
        .values()
        .map(|totals| totals.charged_micros)
        .sum();
    assert_eq!(charged, 850 * i64::try_from(tasks.len()).unwrap());
    let left: i64 = sandbox
        .accounts()
        .iter()
        .map(|account| account.balance_micros)
        .sum();
    assert_eq!(left, 20_000_000 - charged);
}
