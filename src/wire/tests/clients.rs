//! Requests of real clients, as they were measured, and what goes to the vendor in their place.

use super::*;

/// Client, endpoint, request, expected query, expected body. `{K}` is the placeholder, `{R}` the real key.
type Case = (
    &'static str,
    Endpoint,
    bool,
    &'static str,
    Option<&'static str>,
    &'static str,
    &'static str,
    &'static str,
);

use Endpoint::{Load, Result as Res, Solve, Submit};

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("puppeteer-extra submit", Submit, true, "", None,
        "method=userrecaptcha&key={K}&soft_id=2589&pageurl=https%3A%2F%2Fe.com&googlekey=6L",
        "", "key={R}&method=userrecaptcha&soft_id=2589&pageurl=https%3A%2F%2Fe.com&googlekey=6L"),
    ("puppeteer-extra poll", Res, false, "action=get&soft_id=2589&key={K}&id=74327409378", None, "",
        "key={R}&action=get&soft_id=2589&id=74327409378", ""),
    ("2captcha-node", Submit, true, "key={K}&json=1&method=base64", Some("multipart/form-data"), r#"{"body":"iVBORw0KGgo="}"#,
        "key={R}&json=1&method=base64", r#"{"body":"iVBORw0KGgo="}"#),
    ("api_2captcha submit", Submit, true, "", Some("application/json"),
        r#"{"googlekey":"6L","pageurl":"https://e.com","method":"userrecaptcha","key":"{K}","soft_id":4584,"json":1}"#,
        "", r#"{"key":"{R}","googlekey":"6L","pageurl":"https://e.com","method":"userrecaptcha","soft_id":4584,"json":1}"#),
    ("api_2captcha balance", Res, true, "key={K}&action=getbalance&json=1", Some("application/json"), r#"{"action":"getbalance"}"#,
        "key={R}&action=getbalance&json=1", r#"{"action":"getbalance"}"#),
    ("api_2captcha report", Res, false, "key={K}&action=reportgood&id=74327409378", None, "",
        "key={R}&action=reportgood&id=74327409378", ""),
    ("captchaai threadsinfo", Res, true, "", Some("application/x-www-form-urlencoded"), "key={K}&action=threadsinfo&json=1",
        "", "key={R}&action=threadsinfo&json=1"),
    ("captchaai submit", Submit, false, "googlekey=6Le&pageurl=https%3A%2F%2Fe.com&key={K}&method=userrecaptcha&json=1", None, "",
        "key={R}&googlekey=6Le&pageurl=https%3A%2F%2Fe.com&method=userrecaptcha&json=1", ""),
    ("captchaai poll", Res, false, "key={K}&action=get&id=74327409378&json=1", None, "",
        "key={R}&action=get&id=74327409378&json=1", ""),
    ("@2captcha submit", Submit, false, "key={K}&json=1&header_acao=1&soft_id=4587&googlekey=6L&pageurl=https%3A%2F%2Fe.com&method=userrecaptcha", None, "",
        "key={R}&json=1&header_acao=1&soft_id=4587&googlekey=6L&pageurl=https%3A%2F%2Fe.com&method=userrecaptcha", ""),
    ("@2captcha image", Submit, true, "", Some("application/json"), r#"{"key":"{K}","json":1,"header_acao":1,"soft_id":4587,"body":"aGk=","method":"base64"}"#,
        "", r#"{"key":"{R}","json":1,"header_acao":1,"soft_id":4587,"body":"aGk=","method":"base64"}"#),
    ("@2captcha report", Res, false, "id=74327409378&action=reportbad&key={K}&json=1&header_acao=1&soft_id=4587", None, "",
        "key={R}&id=74327409378&action=reportbad&json=1&header_acao=1&soft_id=4587", ""),
    ("2captcha 3.0.7 image", Submit, true, "key={K}&json=1&header_acao=1&soft_id=3316&method=base64", Some("text/plain;charset=UTF-8"), r#"{"body":"aGk="}"#,
        "key={R}&json=1&header_acao=1&soft_id=3316&method=base64", r#"{"body":"aGk="}"#),
    ("rucaptcha-2captcha", Submit, true, "", Some("application/json"),
        r#"{"method":"userrecaptcha","googlekey":"6L","pageurl":"https://e.com","key":"{K}","json":1,"soft_id":2721}"#,
        "", r#"{"key":"{R}","method":"userrecaptcha","googlekey":"6L","pageurl":"https://e.com","json":1,"soft_id":2721}"#),
    ("captcha-solver", Submit, true, "", Some("application/x-www-form-urlencoded"), "key={K}&method=base64&body=aGk%3D&soft_id=2373",
        "", "key={R}&method=base64&body=aGk%3D&soft_id=2373"),
    ("2captcha-python", Submit, true, "", Some("application/x-www-form-urlencoded"), "soft_id=4580&method=base64&body=aGk%3D&key={K}",
        "", "key={R}&soft_id=4580&method=base64&body=aGk%3D"),
    ("@infosimples submit", Submit, true, "", Some("application/x-www-form-urlencoded"), "body=aGk%3D&method=base64&key={K}&soft_id=2386",
        "", "key={R}&body=aGk%3D&method=base64&soft_id=2386"),
    ("@infosimples stats", Res, false, "action=getstats&date=2026-11-21&key={K}&soft_id=2386", None, "",
        "key={R}&action=getstats&date=2026-11-21&soft_id=2386", ""),
    ("2captcha-go", Submit, true, "", Some("application/x-www-form-urlencoded"), "googlekey=6L&key={K}&method=userrecaptcha&pageurl=https%3A%2F%2Fe.com&soft_id=4583",
        "", "key={R}&googlekey=6L&method=userrecaptcha&pageurl=https%3A%2F%2Fe.com&soft_id=4583"),
    ("2captcha-php poll", Res, false, "action=get&id=74327409378&json=0&key={K}", None, "",
        "key={R}&action=get&id=74327409378&json=0", ""),
    ("2captcha-cpp poll", Res, false, "&action=get&id=74327409378&key={K}", None, "",
        "key={R}&&action=get&id=74327409378", ""),
    ("everything in the query of a POST", Solve, true, "key={K}&method=base64&body=iVBO+Rw0/KGgo==", None, "",
        "key={R}&method=base64&body=iVBO+Rw0/KGgo==", ""),
    ("multibot poll", Res, false, "key={K}&id=46289", None, "", "key={R}&id=46289", ""),
    ("a documented id that is a number", Res, true, "", Some("application/json"), r#"{"key":"{K}","action":"get","id":2122988149,"json":1}"#,
        "", r#"{"key":"{R}","action":"get","id":2122988149,"json":1}"#),
];

#[test]
fn every_measured_request_goes_out_with_the_real_key_first_and_nothing_else_changed() {
    for (client, endpoint, is_post, query, content_type, body, want_query, want_body) in CASES {
        let put = |text: &str| text.replace("{K}", K).replace("{R}", REAL);
        let parts = parts(
            *is_post,
            put(query).as_bytes(),
            *content_type,
            put(body).as_bytes(),
        );
        let message = read(*endpoint, parts).unwrap_or_else(|why| panic!("{client}: {why}"));
        assert_eq!(
            message.fields().token.as_deref(),
            Some(K.as_bytes()),
            "{client}"
        );
        let out = message.with_key(REAL.as_bytes());
        assert_eq!(text(&out.query), put(want_query), "{client}");
        assert_eq!(text(&out.body.concat()), put(want_body), "{client}");
    }
}

#[test]
fn polls_are_understood_wherever_their_fields_are() {
    let expected = Fields {
        token: Some(K.into()),
        action: Some("get".into()),
        id: Some("2122988149".into()),
        json: true,
        ..Fields::default()
    };
    let multipart = format!(
        "--b\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n{K}\r\n\
         --b\r\nContent-Disposition: form-data; name=action\r\n\r\nget\r\n\
         --b\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n2122988149\r\n\
         --b\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n1\r\n--b--\r\n"
    );
    for parts in [
        get(&format!("key={K}&action=get&id=2122988149&json=1")),
        post(FORM, format!("key={K}&action=get&id=2122988149&json=1")),
        post("", format!("key={K}&action=get&id=2122988149&json=1")),
        post(
            JSON,
            format!(r#"{{"key":"{K}","action":"get","id":2122988149,"json":1}}"#),
        ),
        post(
            "text/plain",
            format!(r#"{{"key":"{K}","action":"get","id":"2122988149","json":true}}"#),
        ),
        post("multipart/form-data; boundary=b", multipart),
        post(JSON, r#"{"action":"get"}"#).with_query(&format!("key={K}&id=2122988149&json=1")),
    ] {
        assert!(fields(Res, parts) == expected);
    }
}

#[test]
fn a_body_without_a_content_type_goes_out_as_a_form() {
    let out = read(Submit, post("", "method=userrecaptcha&key=K"))
        .expect("readable")
        .with_key(b"R");
    assert_eq!(out.content_type.as_deref(), Some(FORM.as_bytes()));
    let out = read(Submit, post("text/plain", "{}").with_query("key=K"))
        .expect("readable")
        .with_key(b"R");
    assert_eq!(out.content_type.as_deref(), Some(&b"text/plain"[..]));
}

#[test]
fn on_submits_action_and_id_are_task_data() {
    let found = fields(
        Submit,
        get("key=K&action=verify&id[]=7&method=userrecaptcha&version=v3"),
    );
    assert_eq!((found.action, found.id), (None, None));
    assert_eq!(
        (found.method.as_deref(), found.version.as_deref()),
        (Some("userrecaptcha"), Some("v3"))
    );
}

#[test]
fn what_is_meant_for_sidekey_alone_does_not_go_out() {
    let query = "x_project=shop&key=K&x.idempotency_key=a%2Fb&method=post&debug_dump=1";
    let message = read(Submit, get(query)).expect("readable");
    assert_eq!(message.fields().project.as_deref(), Some("shop"));
    assert_eq!(message.fields().idempotency_key.as_deref(), Some("a/b"));
    assert_eq!(text(&message.with_key(b"R").query), "key=R&method=post");
}

#[test]
fn without_key_leaves_none() {
    for parts in [
        get("a=1&key=K"),
        post(FORM, "key=K&a=1"),
        post(JSON, r#"{"key":"K"}"#),
        get(""),
    ] {
        let out = read(Load, parts).expect("readable").without_key();
        assert!(!text(&out.query).contains("key") && !text(&out.body.concat()).contains("key"));
    }
}

#[test]
fn hints_come_from_the_query_alone() {
    assert_eq!(
        hints(b"json=1&header_acao=1&a"),
        Hints {
            json: true,
            header_acao: true
        }
    );
    assert_eq!(hints(b"json=1&json=0"), Hints::default());
}

#[test]
fn nothing_of_a_request_is_printed() {
    let message = read(
        Submit,
        post(FORM, "key=TOKEN&id=1&x_project=p").with_query("key=TOKEN"),
    )
    .expect("readable");
    let printed = format!(
        "{message:?} {:?} {:?}",
        message.fields(),
        message.with_key(b"REAL")
    );
    assert!(
        !printed.contains("TOKEN") && !printed.contains("REAL"),
        "{printed}"
    );
}
