//! Multipart and JSON bodies: what is read, and what is refused rather than guessed.

use super::*;

const TYPE: &str = "multipart/form-data; boundary=b";

fn part(header: &str, data: &str) -> String {
    format!("--b\r\n{header}\r\n\r\n{data}\r\n")
}

fn field(name: &str, data: &str) -> String {
    part(
        &format!("Content-Disposition: form-data; name=\"{name}\""),
        data,
    )
}

const FILE: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"c.png\"\r\n\r\n\u{1}\0\r\n-\r\n--\r\n--c\r\n\r\n\r\n";
const END: &str = "--b--\r\n";

#[test]
fn the_key_part_is_replaced_wherever_it_stands() {
    let (key, real, method) = (field("key", K), field("key", REAL), field("method", "post"));
    let want = format!("{real}{method}{FILE}{END}");
    for body in [
        format!("{key}{method}{FILE}{END}"),
        format!("{method}{key}{FILE}{END}"),
        format!("{method}{FILE}{key}{END}"),
        format!("{key}{method}{key}{FILE}{key}{END}"),
        format!("{method}{FILE}{END}"),
    ] {
        assert_eq!(send(TYPE, &body).expect("readable"), want);
    }
    assert_eq!(
        send(TYPE, &format!("{key}{END}")).expect("readable"),
        format!("{real}{END}")
    );
    assert_eq!(send(TYPE, END).expect("readable"), format!("{real}{END}"));
    let preamble = format!("This is MIME.\r\n{method}{key}{END}");
    assert_eq!(
        send(TYPE, &preamble).expect("readable"),
        format!("This is MIME.\r\n{real}{method}{END}")
    );
}

#[test]
fn part_headers_of_real_clients_are_read() {
    for header in [
        "Content-Disposition: form-data; name=key",
        "content-disposition:form-data;name=\"key\"",
        "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=key",
        "Content-Disposition: form-data; name=\"key\"\r\nContent-Type: text/plain\r\nContent-Length: 32",
        "Content-Disposition: form-data; name=\"key\"; filename=\"x\"",
        "Content-Disposition: form-data; filename=\"a\\\"; name=\\\"b\"; name=\"key\"",
        "Content-Disposition: form-data; name=\"key\"; filename*=UTF-8''%e2%82%ac",
        "Content-Disposition: form-data; name=\" key\";",
        "Content-Disposition: form-data; name=\"key[]\"",
        "Content-Disposition: form-data; filename=\"\"; name=\"key\"",
        "Content-Disposition: form-data; name=\"debug.dump\"",
        "Content-Disposition: FORM-DATA; NAME=\"debug[dump\"",
    ] {
        let out = send(
            TYPE,
            &format!("{}{}{END}", field("a", "1"), part(header, K)),
        )
        .expect(header);
        assert_eq!(
            out,
            format!("{}{}{END}", field("key", REAL), field("a", "1")),
            "{header}"
        );
    }
    for name in [
        "name=\"Key\"",
        "name=\"k\\ey\"",
        "name=\"api_key\"",
        "name=\"k%65y\"",
        "name=\"a\"; name*=UTF-8''key",
    ] {
        let kept = part(&format!("Content-Disposition: form-data; {name}"), "1");
        assert_eq!(
            send(TYPE, &format!("{kept}{END}")).expect(name),
            format!("{}{kept}{END}", field("key", REAL))
        );
    }
}

#[test]
fn boundaries_of_real_clients_are_read() {
    for boundary in [
        "----WebKitFormBoundary7MA4YWxkTrZu0gW",
        "\"Upload----11/21/2026 08:53:28\"",
        "------------------------0013508d22243d44",
        "\"b\"; charset=utf-8",
        "x",
        "a.b(c)?'+_-/:=",
    ] {
        let plain = boundary.split(';').next().expect("first").trim_matches('"');
        let body = format!(
            "--{plain}\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n{K}\r\n--{plain}--\r\n"
        );
        for head in [
            "multipart/form-data; boundary=",
            "Multipart/Form-Data;charset=utf-8;boundary=",
        ] {
            assert_eq!(
                send(&format!("{head}{boundary}"), &body).expect("readable"),
                body.replace(K, REAL)
            );
        }
    }
    let long = "x".repeat(71);
    for boundary in [
        "",
        "\"\"",
        &long,
        "a,b",
        "a b",
        "\"a",
        "\"a\"b",
        "\"a \"",
        "a; boundary=b",
        "a; BOUNDARY=b",
        "a\\b",
        "a\t",
        "'a\"",
    ] {
        let body = format!("--a\r\n\r\n{long}");
        let content_type = format!("multipart/form-data; boundary={boundary}");
        assert_eq!(
            send(&content_type, &body),
            Err(BadParameters::Boundary),
            "{boundary}"
        );
    }
    for content_type in [
        "multipart/form-data; BOUNDARY=b",
        "multipart/form-data; xboundary=b",
        "multipart/form-data; boundary =b",
        "multipart/form-data boundary=b",
        "multipart/form-data, boundary=b",
        "multipart/form-data; x=\"boundary=a\"; boundary=b",
    ] {
        assert_eq!(
            send(content_type, &field("key", K)),
            Err(BadParameters::Boundary),
            "{content_type}"
        );
    }
}

#[test]
fn odd_multipart_bodies_are_refused_and_never_passed_on() {
    let key = field("key", K);
    for (why, body) in [
        (
            "folded header",
            part("Content-Disposition: form-data;\r\n name=\"key\"", K) + END,
        ),
        (
            "folded name",
            part("Content-Disposition: form-data; name=\"a\"\r\n\tX: y", K) + END,
        ),
        ("LF only", format!("{key}{END}").replace("\r\n", "\n")),
        (
            "one LF before a boundary",
            format!("{key}{END}").replace("\r\n--b--", "\n--b--"),
        ),
        (
            "one LF in a header",
            part("X: y\nContent-Disposition: form-data; name=\"key\"", K) + END,
        ),
        (
            "a CR in a header",
            part("X: y\rContent-Disposition: form-data; name=\"key\"", K) + END,
        ),
        (
            "two names",
            part(
                "Content-Disposition: form-data; name=\"a\"; name=\"key\"",
                K,
            ) + END,
        ),
        (
            "two file names",
            part(
                "Content-Disposition: form-data; filename=a; name=\"key\"; filename=b",
                K,
            ) + END,
        ),
        (
            "two dispositions",
            part(
                "Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=key",
                K,
            ) + END,
        ),
        (
            "single quotes",
            part("Content-Disposition: form-data; name='key'", K) + END,
        ),
        (
            "escaped backslash before a quote",
            part("Content-Disposition: form-data; name=\"a\\\\\"", K) + END,
        ),
        (
            "escaped quote in a name",
            part("Content-Disposition: form-data; name=\"a\\\"b\"", K) + END,
        ),
        (
            "open quote",
            part("Content-Disposition: form-data; name=\"key", K) + END,
        ),
        (
            "text behind a quote",
            part("Content-Disposition: form-data; name=\"a\"key", K) + END,
        ),
        (
            "blank before the equals sign",
            part("Content-Disposition: form-data; name =key", K) + END,
        ),
        (
            "blank before the colon",
            part("Content-Disposition : form-data; name=key", K) + END,
        ),
        (
            "not form-data",
            part("Content-Disposition: attachment; name=key", K) + END,
        ),
        ("no disposition", part("Content-Type: text/plain", K) + END),
        ("no header", "--b\r\n\r\nX\r\n--b--".into()),
        ("no name", part("Content-Disposition: form-data", K) + END),
        (
            "only an extended name",
            part("Content-Disposition: form-data; name*=UTF-8''key", K) + END,
        ),
        ("no end", key.clone()),
        ("cut in a header", format!("{key}--b\r\nContent-Dis")),
        (
            "a boundary that goes on",
            format!("{key}--bc\r\n{key}{END}"),
        ),
        (
            "blanks behind a boundary",
            format!("{key}--b \r\n{key}{END}"),
        ),
        ("a part behind the end", format!("{key}{END}{key}")),
        ("text behind the end", format!("{key}--b--x")),
        (
            "a boundary in the header",
            part("--b: x\r\nContent-Disposition: form-data; name=\"a\"", K) + END,
        ),
        (
            "no line end before a boundary",
            "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n--b--\r\n\r\n--b--".into(),
        ),
        (
            "a boundary inside the preamble",
            format!("x--b\r\n\r\n{key}{END}"),
        ),
        ("no boundary", "nothing".into()),
    ] {
        let refusal = send(TYPE, &body)
            .err()
            .unwrap_or_else(|| panic!("{why} was accepted"));
        assert!(
            matches!(refusal, BadParameters::Multipart(_)),
            "{why}: {refusal:?}"
        );
    }
    let many = field("a", "1").repeat(65) + END;
    assert_eq!(send(TYPE, &many), Err(BadParameters::TooManyParts));
    let long = part(
        &format!(
            "Content-Disposition: form-data; name=a\r\nX: {}",
            "y".repeat(5000)
        ),
        K,
    ) + END;
    assert_eq!(send(TYPE, &long), Err(BadParameters::PartHeaderTooLong));
}

#[test]
fn a_large_body_is_shared_and_not_copied() {
    let file = "x".repeat(100_000);
    let body = Bytes::from(format!("{}{}{END}", field("file", &file), field("key", K)));
    let range = body.as_ptr_range();
    let out = read(
        Endpoint::Submit,
        Parts {
            body: body.clone(),
            ..post(TYPE, "")
        },
    )
    .expect("readable")
    .with_key(b"R");
    let shared: usize = out
        .body
        .iter()
        .filter(|piece| range.contains(&piece.as_ptr()))
        .map(Bytes::len)
        .sum();
    assert_eq!(shared, body.len() - field("key", K).len());
}

#[test]
fn a_body_that_no_server_reads_passes_only_beside_a_key() {
    for (content_type, body) in [
        ("text/plain", "key=P&a=1"),
        ("image/png", "\u{1}\u{2}"),
        ("multipart/form-data", "--b\r\n"),
        ("multipart/mixed; boundary=b", "--b\r\n"),
        ("", "\u{1}=2"),
        ("", "--b\r\n"),
    ] {
        let beside = rewritten(
            Endpoint::Submit,
            post(content_type, body).with_query("key=Q"),
        )
        .expect(body);
        assert_eq!(beside, (format!("key={REAL}"), body.to_owned()));
        assert_eq!(send(content_type, body), Err(BadParameters::UnknownBody));
    }
    assert_eq!(
        read(
            Endpoint::Submit,
            post("text/plain", "{\"key\":").with_query("key=Q")
        )
        .err(),
        Some(BadParameters::Json)
    );
}

#[test]
fn the_media_type_is_matched_as_php_matches_it() {
    for content_type in [
        FORM,
        "Application/X-WWW-Form-Urlencoded; charset=UTF-8",
        "application/x-www-form-urlencoded, text/plain",
    ] {
        assert_eq!(
            send(content_type, "a=1&key=K").expect("readable"),
            format!("key={REAL}&a=1")
        );
    }
    // What is JSON and a form at once must not hide a key from one of the two.
    assert_eq!(
        send(FORM, r#"{"key":"K","a":1}"#).expect("readable"),
        format!(r#"{{"key":"{REAL}","a":1}}"#)
    );
    assert_eq!(
        send(FORM, r#"{"a":"&key=K&"}"#),
        Err(BadParameters::TwoForms)
    );
    // What is left of a form must not turn into JSON either.
    for body in [r#"debug_dump=1&{"key":"K"}"#, r#"{"key":"K"}&debug_dump=1"#] {
        let parts = post(FORM, body).with_query("key=Q");
        assert_eq!(
            read(Endpoint::Submit, parts).err(),
            Some(BadParameters::TwoForms)
        );
    }
}
