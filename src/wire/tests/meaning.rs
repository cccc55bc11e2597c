//! Which requests mean the same to whoever repeats one.

use super::super::*;

fn meaning(post: bool, query: &str, content_type: &str, body: &str) -> [u8; 32] {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let parts = Parts {
        post,
        query: bytes(query),
        content_type: (!content_type.is_empty()).then(|| bytes(content_type)),
        body: bytes(body),
    };
    read(Endpoint::Submit, parts).unwrap().meaning()
}

fn query(query: &str) -> [u8; 32] {
    meaning(false, query, "", "")
}

fn form(body: &str) -> [u8; 32] {
    meaning(true, "", "application/x-www-form-urlencoded", body)
}

fn json(body: &str) -> [u8; 32] {
    meaning(true, "", "application/json", body)
}

/// Parts as `name=value`.
fn multipart(boundary: &str, parts: &[&str]) -> [u8; 32] {
    let mut body = String::new();
    for part in parts {
        let (name, value) = part.split_once('=').unwrap();
        let head = format!("Content-Disposition: form-data; name=\"{name}\"");
        body += &format!("--{boundary}\r\n{head}\r\n\r\n{value}\r\n");
    }
    body += &format!("--{boundary}--\r\n");
    let content_type = format!("multipart/form-data; boundary={boundary}");
    meaning(true, "", &content_type, &body)
}

#[test]
fn who_asks_and_how_the_answer_looks_is_left_out() {
    let forms: [fn(&str) -> [u8; 32]; 2] = [query, form];
    for of in forms {
        let plain = of("key=1&method=post&a=b");
        for same in [
            "method=post&a=b",
            "key=2&method=post&json=1&a=b&x_idempotency_key=k",
            "json=0&method=post&header_acao=1&k%65y=x&a=b&debug_dump=1",
            "method=post&a=b&json=1",
        ] {
            assert_eq!(plain, of(same), "{same}");
        }
        for other in [
            "method=post&a=c",
            "method=post",
            "method=post&a=b&c=",
            "method=posta=b",
        ] {
            assert_ne!(plain, of(&format!("key=1&{other}")), "{other}");
        }
    }
    assert_ne!(query("key=1&a=b"), form("key=1&a=b"));
    let plain = json(r#"{"key":"1","method":"x","a":{"b":1}}"#);
    for same in [
        r#"{"method":"x","a":{"b":1}}"#,
        r#"{"json":1,"method":"x","key":"2","a":{"b":1}}"#,
        r#"{"method":"x","header_acao":1,"a":{"b":1},"x_idempotency_key":"k","json":true}"#,
    ] {
        assert_eq!(plain, json(same), "{same}");
    }
    for other in [
        r#"{"method":"x","a":{"b":2}}"#,
        r#"{"method":"x","a":{"b":1},"c":2}"#,
        r#"{"method":"x","a":{"b":1,"c":2}}"#,
    ] {
        assert_ne!(plain, json(other), "{other}");
    }
    let nested = json(r#"{"a":{"b":1},"json":1,"c":2}"#);
    assert_ne!(nested, json(r#"{"a":{"b":1,"c":2}}"#));
}

#[test]
fn the_boundary_of_a_multipart_body_does_not_count_and_its_parts_do() {
    let plain = multipart("one", &["key=1", "method=post", "file=abc"]);
    for (boundary, same) in [
        ("two", vec!["key=2", "method=post", "file=abc"]),
        ("one", vec!["method=post", "json=1", "file=abc"]),
        (
            "x--y",
            vec!["x_idempotency_key=k", "method=post", "file=abc", "key=1"],
        ),
        ("three", vec!["method=post", "file=abc", "header_acao=1"]),
    ] {
        assert_eq!(plain, multipart(boundary, &same), "{boundary}");
    }
    for other in [
        vec!["method=post", "file=abd"],
        vec!["method=post"],
        vec!["file=abc", "method=post"],
        vec!["method=post", "file=ab", "c=d"],
    ] {
        assert_ne!(plain, multipart("one", &other), "{other:?}");
    }
}
