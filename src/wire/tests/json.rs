//! JSON bodies.

use super::*;

#[test]
fn only_the_top_level_of_json_changes() {
    for (body, want) in [
        (r#"{"key":"K"}"#, r#"{"key":"R"}"#),
        ("{}", r#"{"key":"R"}"#),
        (" { } \n", " {\"key\":\"R\" } \n"),
        (r#"{ "key" : "K" , "a" : 1 }"#, r#"{"key":"R",   "a" : 1 }"#),
        (
            r#"{"a":1,"key":"K","b":[{"key":"x"}],"key":{"a":[1]}}"#,
            r#"{"key":"R","a":1,"b":[{"key":"x"}]}"#,
        ),
        (
            r#"{"\u006bey":"K","a":"\"key\":1"}"#,
            r#"{"key":"R","a":"\"key\":1"}"#,
        ),
        (
            r#"{"key":1,"k\u0065y":null,"debug_dump":1,"x_project":"p","a":1e999}"#,
            r#"{"key":"R","a":1e999}"#,
        ),
        (
            r#"{"Key":1,"clientKey":2,"task":{"key":3},"key[]":4}"#,
            r#"{"key":"R","Key":1,"clientKey":2,"task":{"key":3},"key[]":4}"#,
        ),
    ] {
        assert_eq!(send(JSON, body).expect(body), want.replace('R', REAL));
        assert_eq!(
            send("text/plain", body).ok().filter(|out| out == want),
            None
        );
        let escaped = rewritten(
            Endpoint::Submit,
            post("application/json; charset=utf-8", body),
        )
        .expect(body);
        assert_eq!(escaped.1, want.replace('R', REAL));
    }
}

#[test]
fn json_that_two_parsers_could_read_differently_is_refused() {
    let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    assert!(send(JSON, &deep(63)).is_ok());
    assert_eq!(send(JSON, &deep(64)), Err(BadParameters::JsonTooDeep));
    assert_eq!(send(JSON, &deep(100_000)), Err(BadParameters::JsonTooDeep));
    for body in [
        "[]",
        "{}]",
        "[{\"key\":1}]",
        "1",
        "\"key\"",
        "null",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1}}",
        "{\"a\":1}{}",
        "{\"a\":1},{\"key\":\"K\"}",
        "{\"a\":1},",
        "{\"a\":[1,]}",
        "{\"a\":[}",
        "{\"a\":{]}",
        "{\"a\" 1}",
        "{'key':1}",
        "{key:1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":1e}",
        "{\"a\":NaN}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\ud800\\u0041\"}",
        "{\"a\":\"\\ud800\\ue000\"}",
        "{\"a\":\"\\udc00\\ud800\"}",
        "{\"a\":\"",
        "{\"a\":\"\\",
        "\u{feff}{\"key\":1}",
        "{\"a\":1}//",
        "{\u{a0}}",
        "key=K&a=1",
        "{\"a\":]}",
        "{\"a\":[1 2]}",
        "{\"a\":}",
        "{\"a\":[,]}",
        "{\"a\":-}",
    ] {
        assert_eq!(send(JSON, body), Err(BadParameters::Json), "{body}");
    }
    for bytes in [&b"{\"a\":\"\xff\"}"[..], b"{\0\"\0a\0", b"\xff\xfe{\0}\0"] {
        assert_eq!(
            read(Endpoint::Submit, post(JSON, bytes)).err(),
            Some(BadParameters::Json)
        );
    }
}
