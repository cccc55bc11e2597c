use std::io::ErrorKind;

use super::*;
use crate::sandbox::Place;

/// What a submit gets while `fault` is set, and how many tasks it made.
async fn submit_under(rule: FaultRule) -> (String, Option<ErrorKind>, Sandbox) {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    sandbox.set_fault(rule.times(1)).unwrap();
    let (text, end) = exchange(&sandbox, &get_request(&submit_target(ONE))).await;
    // The fault is spent.
    assert_eq!(sandbox.faults().len(), 0);
    assert_eq!(
        body(&sandbox, &format!("/res.php?key={TWO}&action=getbalance")).await,
        "10"
    );
    (text, end, sandbox)
}

fn made(sandbox: &Sandbox) -> (u64, u64) {
    let totals = &sandbox.ledger().accounts["one"];
    (totals.made, totals.struck)
}

#[tokio::test]
async fn a_connection_is_reset_or_closed_before_a_byte_is_read() {
    for (fault, reset) in [(Fault::ResetConnect, true), (Fault::CloseConnect, false)] {
        let sandbox = begin(config(Dialect::Captchaai)).await;
        sandbox.set_fault(FaultRule::new(fault).times(1)).unwrap();
        let mut stream = TcpStream::connect(sandbox.address()).await.unwrap();
        let end = stream.read(&mut [0]).await;
        match reset {
            true => assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset),
            false => assert_eq!(end.unwrap(), 0),
        }
        submit(&sandbox, ONE).await;
        assert_eq!(sandbox.counts().calls, 1);
    }
}

#[tokio::test]
async fn after_reading_a_task_is_made_or_not_made_and_the_ledger_knows_which() {
    for (fault, end) in [
        (Fault::Reset, Some(ErrorKind::ConnectionReset)),
        (Fault::Close, None),
    ] {
        let (text, ended, sandbox) = submit_under(FaultRule::new(fault.clone())).await;
        assert_eq!(
            (text.as_str(), ended, made(&sandbox)),
            ("", end, (0, 1)),
            "{fault:?}"
        );
        let record = sandbox.record();
        assert_eq!(
            (record.calls[0].done, record.calls[0].fault),
            (false, Some(fault.kind()))
        );

        let (text, ended, sandbox) = submit_under(FaultRule::new(fault.clone()).done()).await;
        assert_eq!(
            (text.as_str(), ended, made(&sandbox)),
            ("", end, (1, 0)),
            "{fault:?}"
        );
        assert!(!sandbox.tasks()[0].told);
        assert_eq!(sandbox.record().calls[0].task.as_deref(), Some("73548291"));
    }
}

#[tokio::test]
async fn answers_in_place_of_the_real_one() {
    let status = Fault::Status {
        status: 429,
        retry_after: Some(7),
    };
    let redirect = Fault::Redirect {
        location: "http://elsewhere/?k={key}".to_owned(),
        status: 302,
    };
    let moved = format!("location: http://elsewhere/?k={ONE}\r\n");
    for (fault, expected) in [
        (status, vec!["HTTP/1.1 429 ", "retry-after: 7\r\n", "<h1>"]),
        (
            Fault::Status {
                status: 500,
                retry_after: None,
            },
            vec!["HTTP/1.1 500 ", "<html>"],
        ),
        (
            Fault::Html { status: 200 },
            vec!["HTTP/1.1 200 OK\r\n", "<html>"],
        ),
        (
            Fault::Empty,
            vec!["HTTP/1.1 200 OK\r\n", "content-length: 0\r\n"],
        ),
        (
            Fault::Code {
                code: "ERROR_ANY".to_owned(),
            },
            vec!["\r\n\r\nERROR_ANY"],
        ),
        (
            Fault::Body {
                text: "\u{feff} what\n".to_owned(),
            },
            vec!["\r\n\r\n\u{feff} what\n"],
        ),
        (redirect, vec!["HTTP/1.1 302 Found\r\n", &moved]),
        (
            Fault::NotHttp {
                text: "220 mail ready\r\n".to_owned(),
            },
            vec!["220 mail ready\r\n"],
        ),
    ] {
        for done in [false, true] {
            let rule = FaultRule {
                done: Some(done),
                ..FaultRule::new(fault.clone())
            };
            let (text, end, sandbox) = submit_under(rule).await;
            assert_eq!(end, None);
            for part in &expected {
                assert!(text.contains(part), "{fault:?}: {text}");
            }
            assert_eq!(made(&sandbox), (u64::from(done), u64::from(!done)));
        }
    }
    let sandbox = begin(config(Dialect::Captchaai)).await;
    sandbox
        .set_fault(FaultRule::new(Fault::Code {
            code: "ERROR_ANY".to_owned(),
        }))
        .unwrap();
    assert_eq!(
        body(&sandbox, &(submit_target(ONE) + "&json=1")).await,
        r#"{"status":0,"request":"ERROR_ANY"}"#
    );
}

#[tokio::test]
async fn the_real_answer_is_cut_short_or_changed() {
    let reset = Some(ErrorKind::ConnectionReset);
    let echo = format!("\r\n\r\nOK|73548291|{ONE}");
    let header = format!("x-key: {ONE}\r\n");
    for (fault, end, expected, told) in [
        (
            Fault::TruncateHead {
                bytes: 12,
                reset: false,
            },
            None,
            "HTTP/1.1 200",
            false,
        ),
        (
            Fault::TruncateHead {
                bytes: 12,
                reset: true,
            },
            reset,
            "HTTP/1.1 200",
            false,
        ),
        (
            Fault::TruncateBody {
                bytes: 4,
                reset: false,
            },
            None,
            "content-length: 11\r\n\r\nOK|7",
            false,
        ),
        (
            Fault::TruncateBody {
                bytes: 4,
                reset: true,
            },
            reset,
            "content-length: 11\r\n\r\nOK|7",
            false,
        ),
        (Fault::EchoKey { place: Place::Body }, None, &echo, true),
        (
            Fault::EchoKey {
                place: Place::Header,
            },
            None,
            &header,
            true,
        ),
        (
            Fault::Decorate {
                before: "\u{feff} ".into(),
                after: "\r\n".into(),
            },
            None,
            "\r\n\r\n\u{feff} OK|73548291\r\n",
            true,
        ),
        (
            Fault::Id {
                template: " {id}.0".into(),
            },
            None,
            "\r\n\r\nOK| 73548291.0",
            false,
        ),
    ] {
        let (text, ended, sandbox) = submit_under(FaultRule::new(fault.clone())).await;
        assert!(text.contains(expected), "{fault:?}: {text:?}");
        assert_eq!((ended, made(&sandbox)), (end, (1, 0)), "{fault:?}");
        assert_eq!(sandbox.tasks()[0].told, told, "{fault:?}");
        if !text.contains("\r\n\r\n") {
            assert_eq!(text, expected);
        }
    }
}

#[tokio::test]
async fn extra_bytes_follow_the_answer_and_the_connection_goes_on() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    let extra = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nOK|9";
    sandbox
        .set_fault(
            FaultRule::new(Fault::Extra {
                text: extra.to_owned(),
            })
            .times(1),
        )
        .unwrap();
    let mut stream = TcpStream::connect(sandbox.address()).await.unwrap();
    let keep = format!(
        "GET {} HTTP/1.1\r\nHost: sandbox\r\n\r\n",
        submit_target(ONE)
    );
    stream.write_all(keep.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"OK|9") {
        assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("\r\n\r\nOK|73548291HTTP/1.1 200 OK"),
        "{text}"
    );
    stream
        .write_all(get_request(&submit_target(ONE)).as_bytes())
        .await
        .unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("OK|73548292"), "{rest}");
    assert_eq!(
        sandbox.record().calls[0].connection,
        sandbox.record().calls[1].connection
    );
}

#[tokio::test]
async fn a_slow_answer_is_recorded_before_it_goes_out() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    sandbox
        .set_fault(FaultRule {
            delay_ms: 600_000,
            ..FaultRule::new(Fault::Slow)
        })
        .unwrap();
    let mut stream = TcpStream::connect(sandbox.address()).await.unwrap();
    stream
        .write_all(get_request(&submit_target(ONE)).as_bytes())
        .await
        .unwrap();
    let seen = sandbox.wait_for(|record| record.counts.endpoints.get("in.php") == Some(&1));
    tokio::time::timeout(Duration::from_secs(20), seen)
        .await
        .unwrap();
    drop(stream);
    assert_eq!(made(&sandbox), (1, 0));
    assert!(!sandbox.tasks()[0].told);
}

#[tokio::test]
async fn a_rule_strikes_the_calls_that_it_names_and_no_others() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    let id = submit(&sandbox, ONE).await;
    let rule = FaultRule::new(Fault::Empty)
        .endpoint("res.php")
        .action("get")
        .account("one");
    let number = sandbox.set_fault(rule).unwrap();
    assert_eq!(body(&sandbox, &poll_target(ONE, &id)).await, "");
    assert_eq!(
        body(&sandbox, &poll_target(TWO, &id)).await,
        "ERROR_WRONG_CAPTCHA_ID"
    );
    assert_eq!(
        body(&sandbox, &format!("/res.php?key={TWO}&action=getbalance")).await,
        "10"
    );
    assert_eq!(sandbox.faults()[0].struck, 1);
    assert!(sandbox.remove_fault(number) && !sandbox.remove_fault(number));
    assert_eq!(
        body(&sandbox, &poll_target(ONE, &id)).await,
        format!("OK|solved-{id}")
    );
}

#[tokio::test]
async fn the_same_seed_strikes_the_same_calls() {
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        let sandbox = begin(config(Dialect::Captchaai)).await;
        sandbox
            .set_fault(FaultRule {
                probability: 0.5,
                seed,
                ..FaultRule::new(Fault::Empty)
            })
            .unwrap();
        let mut struck = Vec::new();
        for _ in 0..64 {
            struck.push(body(&sandbox, &submit_target(ONE)).await.is_empty());
        }
        let share = struck.iter().filter(|struck| **struck).count();
        assert!((16..48).contains(&share), "{share} of 64");
        runs.push(struck);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn waiting_connections_can_be_closed_and_busy_ones_stay() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    let mut idle = TcpStream::connect(sandbox.address()).await.unwrap();
    let keep = format!(
        "GET {} HTTP/1.1\r\nHost: sandbox\r\n\r\n",
        submit_target(ONE)
    );
    idle.write_all(keep.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"OK|73548291") {
        assert_ne!(idle.read_buf(&mut text).await.unwrap(), 0);
    }
    sandbox
        .set_fault(FaultRule {
            delay_ms: 100,
            ..FaultRule::new(Fault::Slow)
        })
        .unwrap();
    let mut busy = TcpStream::connect(sandbox.address()).await.unwrap();
    busy.write_all(get_request(&submit_target(ONE)).as_bytes())
        .await
        .unwrap();
    sandbox.wait_for(|record| record.counts.calls == 2).await;
    sandbox.close_idle();
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("OK|73548292"), "{answer}");
}

#[tokio::test]
async fn a_rule_that_cannot_mean_anything_is_refused() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    for rule in [
        FaultRule::new(Fault::ResetConnect),
        FaultRule::new(Fault::CloseConnect).times(1).account("one"),
        FaultRule {
            done: Some(false),
            ..FaultRule::new(Fault::Slow)
        },
        FaultRule {
            probability: 1.5,
            ..FaultRule::new(Fault::Empty)
        },
        FaultRule::new(Fault::Status {
            status: 99,
            retry_after: None,
        }),
        FaultRule::new(Fault::Redirect {
            location: "a\nb".to_owned(),
            status: 302,
        }),
    ] {
        assert!(sandbox.set_fault(rule.clone()).is_err(), "{rule:?}");
    }
}

#[tokio::test]
async fn clearing_the_faults_lets_delayed_answers_go() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    let rule = FaultRule::new(Fault::Slow).delay_ms(600_000).times(1);
    sandbox.set_fault(rule).unwrap();
    let request = get_request(&submit_target(ONE));
    let clear = async {
        sandbox.wait_for(|record| record.counts.calls == 1).await;
        sandbox.clear_faults();
    };
    let ((text, _), ()) = tokio::join!(exchange(&sandbox, &request), clear);
    assert!(text.ends_with("OK|73548291"), "{text}");
}
