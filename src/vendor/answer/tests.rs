use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn profile(name: &str) -> Profile {
    Profile::builtin(name).unwrap()
}

fn reading(asked: Asked, body: &str) -> Reading {
    read(&profile("captchaai"), asked, 200, body.as_bytes())
}

fn accepted_id(body: &str) -> Option<String> {
    match reading(Asked::Submit, body) {
        Reading::Accepted { id } => Some(id),
        Reading::Trouble { .. } => None,
        other => panic!("{body}: {other:?}"),
    }
}

fn code(asked: Asked, body: &str) -> (String, Class) {
    match reading(asked, body) {
        Reading::Code { code, rule } => (code, rule.class),
        other => panic!("{body}: {other:?}"),
    }
}

fn is_trouble(reading: &Reading) -> bool {
    matches!(reading, Reading::Trouble { .. })
}

#[test]
fn no_answer_to_in_php_ends_a_task() {
    for body in [
        "OK|solved-7",
        r#"{"status":1,"request":"solved-7"}"#,
        r#"{"challenge":"c","validate":"v","seccode":"s"}"#,
        "CAPCHA_NOT_READY",
        "OK_REPORT_RECORDED",
    ] {
        assert_ne!(reading(Asked::Submit, body), Reading::Final, "{body}");
    }
}

#[test]
fn an_id_is_the_vendors_text() {
    for (body, expected) in [
        ("OK|2122988149", "2122988149"),
        ("OK|0123456789", "0123456789"),
        ("OK|abc", "abc"),
        (
            "OK|550e8400-e29b-41d4-a716-446655440000",
            "550e8400-e29b-41d4-a716-446655440000",
        ),
        ("OK|ERROR", "ERROR"),
        ("\u{feff}OK|1\r\n", "1"),
        (" OK|1\n", "1"),
        (r#"{"status":1,"request":"0123456789"}"#, "0123456789"),
        (r#"{"status":1,"request":2122988149}"#, "2122988149"),
        (r#"{"status":"1","request":"7"}"#, "7"),
        (
            r#"{"request":123456789012345678901234567890,"status":1}"#,
            "123456789012345678901234567890",
        ),
        (r#"{"status":1,"request":"\u0037","error_text":""}"#, "7"),
    ] {
        assert_eq!(accepted_id(body).as_deref(), Some(expected), "{body}");
    }
}

#[test]
fn a_submit_without_a_usable_id_is_trouble() {
    for body in [
        "",
        " \r\n",
        "OK|",
        "OK",
        "ok|1",
        "OK|1\0",
        "OK|1\nOK|2",
        "OK|1\x7f",
        "2122988149",
        "<html>OK|1</html>",
        "CAPCHA_NOT_READY",
        r#"{"status":1}"#,
        r#"{"status":1,"request":""}"#,
        r#"{"status":0,"request":"what"}"#,
        r#"{"status":1,"request":"1"}{"status":1,"request":"2"}"#,
        r#"{"status":1,"request":"1""#,
        r#"{"challenge":"a","validate":"b","seccode":"c"}"#,
        r#"["OK|1"]"#,
        "{}",
    ] {
        assert_eq!(accepted_id(body), None, "{body:?}");
    }
    assert_eq!(
        accepted_id(&format!("OK|{}", "1".repeat(128))).map(|id| id.len()),
        Some(128)
    );
    assert_eq!(accepted_id(&format!("OK|{}", "1".repeat(129))), None);
    assert_eq!(accepted_id(&format!("OK|{}", "1".repeat(1 << 20))), None);
    assert!(is_trouble(&read(
        &profile("captchaai"),
        Asked::Submit,
        200,
        b"OK|\xff"
    )));
}

#[test]
fn success_is_looked_for_before_errors() {
    for body in [
        "OK|ERROR",
        "OK|CAPCHA_NOT_READY",
        "OK|a|b|c",
        r#"{"status":1,"request":"ERROR_ZERO_BALANCE"}"#,
        r#"{"status":1,"result":"TOKEN","user_agent":"x"}"#,
        r#"{"status":1,"request":{"geetest_challenge":"x"}}"#,
        r#"{"status":1,"request":[{"x":"49","y":"235"}]}"#,
        r#"{"challenge":"a","validate":"b","seccode":"c|jordan"}"#,
    ] {
        assert_eq!(reading(Asked::Poll, body), Reading::Final, "{body}");
        assert_eq!(reading(Asked::Solve, body), Reading::Final, "{body}");
    }
}

#[test]
fn not_ready_is_known_in_both_spellings_and_both_formats() {
    for body in [
        "CAPCHA_NOT_READY",
        "CAPTCHA_NOT_READY\n",
        r#"{"status":0,"request":"CAPCHA_NOT_READY"}"#,
        r#"{"request":"CAPCHA_NOT_READY"}"#,
    ] {
        assert_eq!(reading(Asked::Poll, body), Reading::NotReady, "{body}");
    }
}

#[test]
fn codes_are_found_in_text_and_json() {
    for (body, expected, class) in [
        ("ERROR_ZERO_BALANCE", "ERROR_ZERO_BALANCE", Class::KeyBusy),
        (
            r#"{"status":0,"request":"IP_BANNED"}"#,
            "IP_BANNED",
            Class::EgressIp,
        ),
        (
            r#"{"status":0,"error":"ERROR_WRONG_USER_KEY"}"#,
            "ERROR_WRONG_USER_KEY",
            Class::KeyBad,
        ),
        (
            r#"{"status":0,"request":"ERROR_UPLOAD","error_text":"text"}"#,
            "ERROR_UPLOAD",
            Class::Request,
        ),
        (
            r#"{"status":"0","request":" MAX_USER_TURN "}"#,
            "MAX_USER_TURN",
            Class::KeyBusy,
        ),
        ("ERROR: 1004", "ERROR: 1004", Class::EgressIp),
        ("ERROR:1004", "ERROR:1004", Class::EgressIp),
        ("ERROR", "ERROR", Class::Request),
        ("ERROR_NEW_2027", "ERROR_NEW_2027", Class::Request),
        ("ERROR_SERVER_ERROR", "ERROR_SERVER_ERROR", Class::Server),
    ] {
        for asked in [Asked::Submit, Asked::Poll, Asked::Balance, Asked::Report] {
            assert_eq!(code(asked, body), (expected.to_owned(), class), "{body}");
        }
    }
}

#[test]
fn near_codes_are_no_codes() {
    let long = format!("ERROR_{}", "A".repeat(100));
    for body in [
        "ERROR_",
        "ERROR_x",
        "ERROR: 10041",
        "ERROR:  1004",
        "ERROR: x",
        "error_upload",
        "HTTP 429",
        long.as_str(),
        "notpic",
    ] {
        assert!(is_trouble(&reading(Asked::Submit, body)), "{body}");
    }
}

#[test]
fn a_code_that_only_the_profile_knows_needs_the_profile() {
    let custom = read(&profile("custom"), Asked::Submit, 200, b"notpic");
    assert!(
        matches!(custom, Reading::Code { rule, .. } if rule.class == Class::Request),
        "{custom:?}"
    );
}

#[test]
fn a_tasks_end_is_the_requests_fault_where_there_is_no_task() {
    let body = "ERROR_PROXY_CONNECTION_FAILED";
    assert_eq!(code(Asked::Poll, body).1, Class::Task);
    assert_eq!(code(Asked::Submit, body).1, Class::Request);
}

#[test]
fn a_refusal_counts_whatever_the_status_and_a_success_does_not() {
    let profile = profile("captchaai");
    for status in [200, 302, 403, 429, 500, 503] {
        let refused = read(&profile, Asked::Submit, status, b"ERROR_NO_SLOT_AVAILABLE");
        assert!(
            matches!(refused, Reading::Code { rule, .. } if rule.class == Class::KeyBusy),
            "{status}"
        );
    }
    for status in [101, 301, 302, 307, 404, 500, 502, 503] {
        assert!(
            is_trouble(&read(&profile, Asked::Submit, status, b"OK|1")),
            "{status}"
        );
        assert!(
            is_trouble(&read(&profile, Asked::Poll, status, b"OK|1")),
            "{status}"
        );
    }
}

#[test]
fn too_many_requests_is_a_refusal_even_without_words() {
    for body in ["", "<html>slow down</html>", "OK|1"] {
        let Reading::Code { code, rule } =
            read(&profile("2captcha"), Asked::Submit, 429, body.as_bytes())
        else {
            panic!("{body}");
        };
        assert_eq!(code, "HTTP 429");
        assert_eq!(
            (rule.class, rule.cooldown),
            (Class::KeyBusy, Duration::from_secs(5))
        );
    }
}

#[test]
fn other_calls_have_their_own_good_answers() {
    for (asked, body) in [
        (Asked::Report, "OK_REPORT_RECORDED"),
        (
            Asked::Report,
            r#"{"status":1,"request":"OK_REPORT_RECORDED"}"#,
        ),
        (Asked::Balance, "12.345"),
        (Asked::Balance, r#"{"status":1,"request":"12.345"}"#),
        (Asked::Balance, r#"{"balance":1}"#),
        (Asked::Threads, r#"{"threads":"5","working_threads":"0"}"#),
        (
            Asked::Threads,
            r#"{"status":1,"threads":5,"working_threads":0}"#,
        ),
        (Asked::Other, "<?xml version=\"1.0\"?><stats/>"),
        (Asked::Other, "OK|127.0.0.1"),
        (Asked::Other, r#"{"balance":1}"#),
    ] {
        assert_eq!(reading(asked, body), Reading::Said, "{body}");
    }
    for (asked, body) in [
        (Asked::Report, "what"),
        (Asked::Balance, "lots"),
        (Asked::Threads, "5|0"),
        (Asked::Threads, r#"{"threads":"5"}"#),
        (Asked::Other, "<!DOCTYPE html><h1>502</h1>"),
        (Asked::Other, ""),
    ] {
        assert!(is_trouble(&reading(asked, body)), "{body}");
    }
}

#[test]
fn trimming_shares_the_buffer() {
    let body = Bytes::from_static(b"\xef\xbb\xbf \r\nOK|\xd0\xb9 x\n\r\n");
    let clean = trim(&body);
    assert_eq!(clean, "OK|й x".as_bytes());
    assert_eq!(clean.as_ptr(), body[6..].as_ptr());
    assert!(trim(&Bytes::from_static(b" \n")).is_empty());
}

#[test]
fn json_without_end_or_bottom_is_trouble() {
    for body in [
        "[".repeat(100_000),
        format!("{{\"a\":{}", "[".repeat(100_000)),
        "{\"a\":{".repeat(50_000),
    ] {
        assert!(is_trouble(&reading(Asked::Submit, &body)));
    }
}

const ALL: [Asked; 7] = [
    Asked::Submit,
    Asked::Solve,
    Asked::Poll,
    Asked::Report,
    Asked::Balance,
    Asked::Threads,
    Asked::Other,
];

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body: Vec<u8>, status: u16) {
        let profile = profile("2captcha");
        for asked in ALL {
            if let Reading::Accepted { id } = read(&profile, asked, status, &body) {
                prop_assert!(asked == Asked::Submit && !id.is_empty() && id.len() <= 128);
            }
        }
        super::super::account::threads(&body);
    }

    #[test]
    fn any_printable_id_comes_back_as_text_and_as_json(id in "[^\\p{C}\\p{Z}]{1,32}") {
        let quoted = serde_json::json!({"status": 1, "request": id}).to_string();
        for body in [format!("OK|{id}"), quoted] {
            prop_assert_eq!(accepted_id(&body), Some(id.clone()));
        }
    }

    #[test]
    fn blanks_around_an_answer_change_nothing(body in "OK\\|[0-9]{1,12}|ERROR_[A-Z]{1,8}", before in "[ \r\n\t]{0,3}", after in "[ \r\n\t]{0,3}") {
        prop_assert_eq!(reading(Asked::Submit, &format!("{before}{body}{after}")), reading(Asked::Submit, &body));
    }
}
