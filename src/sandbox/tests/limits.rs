use super::*;

const NOBODY: &str = "9999999999999999ffffffffffffffff";

fn balance_target(key: &str) -> String {
    format!("/res.php?key={key}&action=getbalance")
}

/// The first answer to `target` that is not `answer`.
async fn after(sandbox: &Sandbox, target: &str, answer: &str) -> String {
    let waiting = async {
        loop {
            let now = body(sandbox, target).await;
            if now != answer {
                return now;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap()
}

#[tokio::test]
async fn submits_beyond_60_in_3_seconds_are_refused_and_polls_go_on() {
    let sandbox = begin(SandboxConfig {
        bans: vec![Ban::MaxUserTurn],
        ..config(Dialect::Twocaptcha)
    })
    .await;
    let id = submit(&sandbox, ONE).await;
    for _ in 1..60 {
        submit(&sandbox, ONE).await;
    }
    let target = submit_target(ONE) + "&json=1";
    for _ in 0..2 {
        assert_eq!(
            body(&sandbox, &target).await,
            r#"{"status":0,"request":"MAX_USER_TURN"}"#
        );
    }
    assert_eq!(
        body(&sandbox, &poll_target(ONE, &id)).await,
        format!("OK|solved-{id}")
    );
    submit(&sandbox, TWO).await;
    assert_eq!(
        sandbox.counts().violations,
        [("MAX_USER_TURN", 1)].into(),
        "a call during the ban breaks nothing"
    );
    assert_eq!(sandbox.record().calls[60].violations, ["MAX_USER_TURN"]);
    let totals = &sandbox.ledger().accounts["one"];
    assert_eq!((totals.made, totals.refused), (60, 2));
    let state = &sandbox.accounts()[0];
    assert_eq!(state.ban, Some("MAX_USER_TURN"));
    assert!((1..=10_000).contains(&state.ban_left_ms), "{state:?}");
    sandbox.set_limits(sandbox.limits());
    submit(&sandbox, ONE).await;
    assert_eq!(sandbox.accounts()[0].ban, None);
}

#[tokio::test]
async fn refusals_and_polls_without_end_get_the_account_banned() {
    for (ban, code, submits) in [
        (Ban::E1001, "ERROR_NO_SLOT_AVAILABLE", true),
        (Ban::E1002, "ERROR_ZERO_BALANCE", true),
        (Ban::E1003, "ERROR_NO_SLOT_AVAILABLE", true),
        (Ban::E1005, "ERROR_WRONG_CAPTCHA_ID", false),
    ] {
        let sandbox = begin(SandboxConfig {
            bans: vec![ban],
            full_code: Some(code.to_owned()),
            expired_code: Some(code.to_owned()),
            ..config(Dialect::Captchaai)
        })
        .await;
        sandbox.set_threads("one", Some(0)).unwrap();
        let (target, free) = if submits {
            (submit_target(ONE), 120)
        } else {
            (poll_target(ONE, "7"), 1200)
        };
        for _ in 0..free {
            assert_eq!(body(&sandbox, &target).await, code);
        }
        for target in [&target, &submit_target(ONE), &balance_target(ONE)] {
            assert_eq!(body(&sandbox, target).await, ban.code());
        }
        assert_eq!(body(&sandbox, &balance_target(TWO)).await, "10");
        assert_eq!(sandbox.counts().violations, [(ban.code(), 1)].into());
    }
}

#[tokio::test]
async fn a_full_second_is_an_http_429_that_says_when_to_come_back() {
    let sandbox = begin(SandboxConfig {
        requests_per_second: 2,
        ..config(Dialect::Captchaai)
    })
    .await;
    for _ in 0..2 {
        body(&sandbox, &balance_target(ONE)).await;
    }
    let (head, answer) = get(&sandbox, &(submit_target(ONE) + "&json=1")).await;
    assert!(
        head.starts_with("http/1.1 429") && head.contains("retry-after: 1"),
        "{head}"
    );
    assert_eq!(
        answer,
        r#"{"status":0,"request":"ERROR_TOO_MUCH_REQUESTS"}"#
    );
    submit(&sandbox, TWO).await;
    let counts = sandbox.counts();
    assert_eq!(counts.violations, [("ERROR_TOO_MUCH_REQUESTS", 1)].into());
    assert_eq!(sandbox.ledger().accounts["one"].made, 0);
    let answer = after(&sandbox, &submit_target(ONE), "ERROR_TOO_MUCH_REQUESTS").await;
    assert!(answer.starts_with("OK|"), "{answer}");
}

#[tokio::test]
async fn documented_limits_are_switched_on_together_and_times_pass_faster() {
    for (dialect, code, bans) in [
        (Dialect::Captchaai, "IP_BANNED", 0),
        (Dialect::Twocaptcha, "ERROR: 1004", 5),
    ] {
        let sandbox = begin(SandboxConfig {
            clock_speed: 1000,
            ..config(dialect).with_documented_limits()
        })
        .await;
        assert_eq!(sandbox.limits().bans.len(), bans);
        sandbox.set_solve_time("one", 60_000).unwrap();
        let began = tokio::time::Instant::now();
        let id = submit(&sandbox, ONE).await;
        let solved = after(&sandbox, &poll_target(ONE, &id), "CAPCHA_NOT_READY").await;
        assert_eq!(solved, format!("OK|solved-{id}"));
        let solve = format!("/solve.php?key={ONE}&method=base64&body=AAAA");
        assert!(body(&sandbox, &solve).await.starts_with("OK|solved-"));
        assert!(began.elapsed() >= Duration::from_millis(120));

        sandbox.set_limits(sandbox.limits());
        for _ in 0..5 {
            assert_eq!(
                body(&sandbox, &balance_target(NOBODY)).await,
                "ERROR_KEY_DOES_NOT_EXIST"
            );
        }
        assert_eq!(after(&sandbox, &balance_target(TWO), code).await, "10");
        let record = sandbox.record();
        let times: Vec<u64> = record
            .calls
            .iter()
            .filter(|call| call.key.as_deref() != Some(ONE))
            .map(|call| call.at_ms)
            .collect();
        let lasted = times[times.len() - 1] - times[4];
        let documented = if bans == 0 { 300_000 } else { 600_000 };
        assert!(lasted >= documented, "{lasted}");
        assert_eq!(record.counts.violations, [(code, 1)].into());
    }
}

#[tokio::test]
async fn accounts_change_at_their_time() {
    let sandbox = begin(SandboxConfig {
        clock_speed: 100,
        ..config(Dialect::Captchaai)
    })
    .await;
    let refill = Later {
        after_ms: 50_000,
        balance_micros: Some(5_000_000),
        ..Later::default()
    };
    sandbox.set_balance("one", 0).unwrap();
    sandbox.change_later("one", refill).unwrap();
    let answer = after(&sandbox, &submit_target(ONE), "ERROR_ZERO_BALANCE").await;
    assert!(answer.starts_with("OK|"), "{answer}");
    assert!(sandbox.record().calls.back().unwrap().at_ms >= 50_000);

    // Another change leaves what is still to come, and what came is not repeated.
    let plan = |after_ms, threads, enabled| Later {
        after_ms,
        threads: Some(threads),
        enabled: Some(enabled),
        ..Later::default()
    };
    sandbox
        .change_account("two", |account| {
            account.threads = Some(0);
            account.later = vec![plan(100_000, 0, false), plan(50_000, 5, true)];
        })
        .unwrap();
    sandbox.set_solve_time("two", 0).unwrap();
    assert_eq!(
        body(&sandbox, &submit_target(TWO)).await,
        "ERROR_KEY_DOES_NOT_EXIST"
    );
    let threads = format!("/res.php?key={TWO}&action=threadsinfo");
    let expired = r#"{"threads":"0","working_threads":"0"}"#;
    let renewed = after(&sandbox, &threads, expired).await;
    assert_eq!(renewed, expired.replace("\"0\",", "\"5\","));
    let ended = after(&sandbox, &threads, &renewed).await;
    assert_eq!(ended, "ERROR_KEY_DOES_NOT_EXIST");
    sandbox
        .change_account("two", |account| account.enabled = true)
        .unwrap();
    assert_eq!(body(&sandbox, &threads).await, expired);
}

#[tokio::test]
async fn the_vendors_other_stories_can_be_told() {
    let sandbox = begin(SandboxConfig {
        full_code: Some("ERROR_NO_SLOT_AVAILABLE".to_owned()),
        expired_code: Some("ERROR_ZERO_BALANCE".to_owned()),
        joined_ids: Some(true),
        ..config(Dialect::Captchaai)
    })
    .await;
    let id = submit(&sandbox, ONE).await;
    sandbox
        .change_account("one", |account| {
            (account.threads, account.solve_ms) = (Some(1), 600_000);
        })
        .unwrap();
    let running = submit(&sandbox, ONE).await;
    let target = format!("/res.php?key={ONE}&action=get&ids={id},{running},7");
    let joined = format!("solved-{id}|CAPCHA_NOT_READY|ERROR_WRONG_CAPTCHA_ID");
    assert_eq!(body(&sandbox, &target).await, joined);
    assert_eq!(
        body(&sandbox, &(target + "&json=1")).await,
        format!(r#"{{"status":1,"request":"{joined}"}}"#)
    );
    assert_eq!(
        body(&sandbox, &submit_target(ONE)).await,
        "ERROR_NO_SLOT_AVAILABLE"
    );
    sandbox.set_threads("one", Some(0)).unwrap();
    assert_eq!(
        body(&sandbox, &submit_target(ONE)).await,
        "ERROR_ZERO_BALANCE"
    );
}

#[tokio::test]
async fn limits_are_switched_over_http() {
    let sandbox = begin(config(Dialect::Twocaptcha)).await;
    let change = r#"{"bans":["ERROR: 1005"],"ban_after":1}"#;
    let request = post_request("/sandbox/limits", "application/json", change);
    let (_, answer) = send(&sandbox, &request).await;
    let expected = Limits {
        bans: vec![Ban::E1005],
        ban_after: 1,
        ..Limits::default()
    };
    assert_eq!(sandbox.limits(), expected);
    assert_eq!(
        answer.trim_end(),
        serde_json::to_string(&serde_json::to_value(&expected).unwrap()).unwrap()
    );
    assert_eq!(get(&sandbox, "/sandbox/limits").await.1, answer);
    body(&sandbox, &balance_target(NOBODY)).await;
    assert_eq!(body(&sandbox, &balance_target(ONE)).await, "ERROR: 1004");
    let unknown = post_request(
        "/sandbox/limits",
        "application/json",
        r#"{"bans":["1005"]}"#,
    );
    assert!(send(&sandbox, &unknown).await.0.starts_with("http/1.1 400"));
    sandbox.reset();
    assert_eq!(sandbox.limits(), Limits::default());
    assert_eq!(body(&sandbox, &balance_target(ONE)).await, "10");
}

#[tokio::test]
async fn a_clock_that_stands_still_is_refused() {
    for clock_speed in [0, 10_001] {
        let config = SandboxConfig {
            clock_speed,
            ..SandboxConfig::default()
        };
        assert_eq!(config.check(), Err(Mistake::ClockSpeed(clock_speed)));
    }
}
