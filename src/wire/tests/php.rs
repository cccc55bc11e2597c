//! Every spelling that PHP 8.2 was seen to take, or not to take, for a name that matters here.

use super::*;
use crate::wire::names::{fold_part, fold_urlencoded};

#[test]
fn spellings_of_key_are_cut_and_look_alikes_stay() {
    let cut = [
        "key=A",
        "key",
        "key=",
        "k%65y=A",
        "%6Bey=A",
        "+key=A",
        "%20key=A",
        "%20+%20key=A",
        "key%00x=A",
        "key[]=E",
        "key[x]=E",
        "key%5b%5d=A",
        "key%5Bx%5D=A",
        "key[]x=1",
        "key[ ]=1",
        "key[a][b=1",
        "+key%00[=3",
        "+key[.]=1",
    ];
    for pair in cut {
        let (query, _) = rewritten(Endpoint::Submit, get(&format!("a=1&{pair}&b=2"))).expect(pair);
        assert_eq!(query, format!("key={REAL}&a=1&b=2"), "{pair}");
        let (_, body) = rewritten(
            Endpoint::Submit,
            post(FORM, format!("{pair}&a=1&{pair}&b=2&{pair}")),
        )
        .expect(pair);
        assert_eq!(body, format!("key={REAL}&a=1&b=2"), "{pair}");
    }
    let kept = [
        "key[=E",
        "key%5B=E",
        "key%20=E",
        "key+=E",
        "k.ey=E",
        "%09key=E",
        "%0akey=E",
        "KEY=E",
        "Key=E",
        "a=1;key=E",
        "key]=1",
        "[key=1",
        "+[key]=1",
        ".key=1",
        "+_key=1",
        "%00key=1",
        "%2Bkey=1",
        "key%2=1",
        "key%zz=1",
        "key%25=1",
        "api_key=1",
        "captchakey=1",
        "misery_key=1",
        "googlekey=1",
        "keys=1",
        "ke%00y=1",
        "=key",
        "",
        "key[[=1",
        "k[]ey=1",
    ];
    for pair in kept {
        let (query, _) = rewritten(Endpoint::Submit, get(&format!("{pair}&key=A"))).expect(pair);
        assert_eq!(query, format!("key={REAL}&{pair}"), "{pair}");
    }
}

#[test]
fn spellings_of_debug_dump_are_cut() {
    for pair in [
        "debug_dump=1",
        "debug.dump=1",
        "debug+dump=1",
        "debug%20dump=1",
        "debug[dump=1",
        "debug%5bdump",
        "debug_dump[]=1",
        "+debug_dump=1",
        "debug%2Edump=1",
    ] {
        let (query, _) = rewritten(
            Endpoint::Result,
            get(&format!("{pair}&key=A&action=get&{pair}")),
        )
        .expect(pair);
        assert_eq!(query, format!("key={REAL}&action=get"), "{pair}");
    }
    for pair in [
        "Debug_dump=1",
        "debug[dump]=1",
        "debug[]dump=1",
        "debug[dump[x]=1",
        "debug_dump]=1",
        "debug.dump.x=1",
        "debug.[dump=1",
    ] {
        let (query, _) = rewritten(Endpoint::Result, get(&format!("{pair}&key=A"))).expect(pair);
        assert_eq!(query, format!("key={REAL}&{pair}"), "{pair}");
    }
}

#[test]
fn names_of_parts_are_not_percent_decoded() {
    assert!(fold_part(b"k%65y").is_none() && fold_part(b"+key").is_none());
    for name in [
        &b"key"[..],
        b" key",
        b"key[]",
        b"debug.dump",
        b"debug dump",
        b"debug[dump",
    ] {
        assert!(fold_part(name).is_some(), "{}", text(name));
    }
    assert!(fold_urlencoded(&[b'['; 100_000]).is_none());
}

#[test]
fn the_last_of_equal_names_counts_and_the_body_before_the_query() {
    let token = |parts| {
        fields(Endpoint::Result, parts)
            .token
            .map(|token| text(&token))
    };
    assert_eq!(token(get("key=A&key=B")).as_deref(), Some("B"));
    assert_eq!(token(get("key=A&k%65y=%42+")).as_deref(), Some("B "));
    assert_eq!(token(get("key=A&key")).as_deref(), Some(""));
    assert_eq!(token(get("key=A&key[]=B")), None);
    assert_eq!(
        token(post(FORM, "key=P").with_query("key=Q")).as_deref(),
        Some("P")
    );
    assert_eq!(
        token(post(
            JSON,
            r#"{"key":"a","k\u0065y":"\u0062\/\ud83d\ude00"}"#
        ))
        .as_deref(),
        Some("b/😀")
    );
    let found = fields(
        Endpoint::Result,
        post(FORM, "id=2").with_query("key=K&id=1&action=get"),
    );
    assert_eq!(
        (found.id.as_deref(), found.action.as_deref()),
        (Some("2"), Some("get"))
    );
}

#[test]
fn what_may_be_read_on_either_side_must_agree() {
    for (name, body) in [
        ("id", r#"{"id":2}"#),
        ("action", r#"{"action":"reportbad"}"#),
        ("ids", r#"{"ids":"2"}"#),
        ("json", r#"{"json":0}"#),
    ] {
        let parts = post(JSON, body).with_query("key=K&id=1&action=get&ids=1&json=1");
        assert_eq!(
            read(Endpoint::Result, parts).err(),
            Some(BadParameters::Disagree(name))
        );
    }
    // A PHP server does not read the form of a GET.
    let parts = parts(false, b"key=K&id=1", Some(FORM), b"id=2");
    assert_eq!(
        read(Endpoint::Result, parts).err(),
        Some(BadParameters::Disagree("id"))
    );
    assert!(
        read(
            Endpoint::Submit,
            post(JSON, r#"{"action":"b"}"#).with_query("key=K&action=a")
        )
        .is_ok()
    );
    assert!(
        read(
            Endpoint::Result,
            post(JSON, r#"{"id":1,"json":"1"}"#).with_query("key=K&id=1&json=1")
        )
        .is_ok()
    );
}

#[test]
fn arrays_and_odd_numbers_are_no_ids() {
    for query in [
        "id[]=1",
        "action[x]=get",
        "ids[]=1",
        "json[]=1",
        "id%5B%5D=1",
    ] {
        let result = read(Endpoint::Result, get(&format!("key=K&{query}")));
        assert!(matches!(result, Err(BadParameters::Array(_))), "{query}");
    }
    for id in ["1e3", "1.0", "1E400", "true"] {
        let result = read(
            Endpoint::Result,
            post(JSON, format!(r#"{{"key":"K","id":{id}}}"#)),
        );
        assert_eq!(result.err(), Some(BadParameters::Value("id")), "{id}");
    }
    for id in ["[1]", r#"{"a":1}"#] {
        let result = read(
            Endpoint::Result,
            post(JSON, format!(r#"{{"key":"K","id":{id}}}"#)),
        );
        assert_eq!(result.err(), Some(BadParameters::Array("id")), "{id}");
    }
    for id in ["2122988149", "-1", "18446744073709551616"] {
        let found = fields(
            Endpoint::Result,
            post(JSON, format!(r#"{{"key":"K","id":{id}}}"#)),
        );
        assert_eq!(found.id.as_deref(), Some(id));
    }
    assert_eq!(
        fields(
            Endpoint::Result,
            post(JSON, r#"{"id":null}"#).with_query("key=K&id=0123")
        )
        .id
        .as_deref(),
        Some("0123")
    );
}

#[test]
fn the_key_stays_in_the_container_where_the_client_had_it() {
    let place = |parts| rewritten(Endpoint::Submit, parts).expect("readable");
    let real = |text: &str| text.replace('R', REAL);
    // In both: the body, if a server reads it.
    assert_eq!(
        place(post(FORM, "key=P&a=1").with_query("key=Q&b=2")),
        ("b=2".into(), real("key=R&a=1"))
    );
    assert_eq!(
        place(post("text/plain", r#"{"key":"P"}"#).with_query("key=Q")),
        (real("key=R"), "{}".into())
    );
    assert_eq!(
        place(parts(false, b"", Some(FORM), b"key=P&a=1")),
        (real("key=R"), "a=1".into())
    );
    // In none: forms in the body, all else in the query.
    assert_eq!(
        place(post(FORM, "a=1").with_query("b=2")),
        ("b=2".into(), real("key=R&a=1"))
    );
    assert_eq!(
        place(post(FORM, "").with_query("b=2")),
        (real("key=R&b=2"), String::new())
    );
    assert_eq!(place(get("")), (real("key=R"), String::new()));
    assert_eq!(place(get("&&")), (real("key=R&&&"), String::new()));
    assert_eq!(
        place(post(JSON, " {\"a\":1}")),
        (String::new(), real(" {\"key\":\"R\",\"a\":1}"))
    );
}

#[test]
fn fields_that_php_would_drop_are_refused() {
    let many = |n: usize| "&a=1".repeat(n);
    assert!(read(Endpoint::Submit, get(&many(900))).is_ok());
    assert_eq!(
        read(Endpoint::Submit, get(&many(901))).err(),
        Some(BadParameters::TooManyFields)
    );
    assert_eq!(
        read(Endpoint::Submit, post(FORM, many(901))).err(),
        Some(BadParameters::TooManyFields)
    );
    let members = vec![r#""a":1"#; 901].join(",");
    assert_eq!(
        read(Endpoint::Submit, post(JSON, format!("{{{members}}}"))).err(),
        Some(BadParameters::TooManyFields)
    );
}

#[test]
fn values_are_written_as_their_container_needs() {
    let key = b"a b/\"\\+&=%\xc3\xa9";
    let out = |parts| {
        read(Endpoint::Submit, parts)
            .expect("readable")
            .with_key(key)
    };
    assert_eq!(
        text(&out(get("key=K")).query),
        "key=a%20b%2F%22%5C%2B%26%3D%25%C3%A9"
    );
    assert_eq!(
        text(&out(post(FORM, "key=K")).body.concat()),
        "key=a%20b%2F%22%5C%2B%26%3D%25%C3%A9"
    );
    assert_eq!(
        text(&out(post(JSON, r#"{"key":1}"#)).body.concat()),
        r#"{"key":"a b/\"\\+&=%é"}"#
    );
}
