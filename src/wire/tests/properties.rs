//! Random requests: the invariants, and other people's parsers as oracles.

use std::collections::BTreeMap;

use http_body_util::{BodyDataStream, Full};
use proptest::prelude::*;

use super::invariants;
use super::*;

/// Names that are the key or look like it, and others.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => proptest::sample::select(vec!["key", "id", "action", "api_key", "Key", "key_", "keys", "json", "method"]).prop_map(str::to_owned),
        1 => "[a-z_]{1,12}",
    ]
}

/// What stays of a list of fields, in order, behind the real key.
fn expected(fields: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![("key".to_owned(), REAL.as_bytes().to_vec())];
    all.extend(fields.iter().filter(|(name, _)| name != "key").cloned());
    all
}

fn sent(parts: Parts) -> Parts {
    let out = read(Endpoint::Submit, parts.clone())
        .expect("readable")
        .with_key(REAL.as_bytes());
    Parts {
        query: out.query,
        body: out.body.concat().into(),
        ..parts
    }
}

fn multer_fields(body: Bytes) -> Vec<(String, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let mut reader = multer::Multipart::new(BodyDataStream::new(Full::new(body)), "boundary");
        let mut fields = Vec::new();
        while let Some(field) = reader.next_field().await.expect("multer reads it") {
            let name = field.name().expect("a name").to_owned();
            fields.push((name, field.bytes().await.expect("data").to_vec()));
        }
        fields
    })
}

proptest! {
    #[test]
    fn invariants_hold_for_any_bytes(
        post: bool,
        query in proptest::collection::vec(any::<u8>(), 0..60),
        content_type in proptest::option::of(prop_oneof![
            Just(FORM), Just(JSON), Just("text/plain"), Just("multipart/form-data; boundary=b"), Just("multipart/form-data"),
        ]),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        invariants::check(&parts(post, &query, content_type, &body));
    }

    #[test]
    fn invariants_hold_for_text_made_of_what_matters(
        query in "(key|k%65y|id|json|debug[._]dump|=|&|%|\\+|\\[|\\]|1){0,12}",
        body in "(key|k%65y|id|json|x_project|=|&|%5b|\\+|\\[|\\]|\\{|\\}|\"|:|,|1|\r\n|--b|--){0,20}",
        content_type in prop_oneof![
            Just(""), Just(FORM), Just(JSON), Just("text/plain"), Just("multipart/form-data; boundary=b"),
        ],
    ) {
        invariants::check(&post(content_type, body).with_query(&query));
    }

    #[test]
    fn form_urlencoded_sees_our_key_and_all_other_pairs(
        fields in proptest::collection::vec((name(), "\\PC{0,8}".prop_map(String::into_bytes)), 0..8),
    ) {
        let mut text = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &fields {
            text.append_pair(name, std::str::from_utf8(value).expect("text"));
        }
        let text = text.finish();
        prop_assume!(!text.is_empty());
        let read_back = |bytes: &[u8]| -> Vec<(String, Vec<u8>)> {
            form_urlencoded::parse(bytes).map(|(name, value)| (name.into_owned(), value.into_owned().into_bytes())).collect()
        };
        prop_assert_eq!(read_back(&sent(get(&text)).query), expected(&fields));
        prop_assert_eq!(read_back(&sent(post(FORM, &text)).body), expected(&fields));
    }

    #[test]
    fn multer_sees_our_key_and_all_other_parts(
        fields in proptest::collection::vec((name(), proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
        style in 0..4usize,
    ) {
        let mut text = Vec::new();
        for (name, data) in &fields {
            let header = [
                format!("Content-Disposition: form-data; name=\"{name}\""),
                format!("Content-Disposition: form-data; name={name}"),
                format!("Content-Type: text/plain\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"c.png\""),
                format!("content-disposition: form-data; filename=\"a;b\"; name=\"{name}\"\r\nX: y"),
            ];
            text.extend_from_slice(format!("--boundary\r\n{}\r\n\r\n", header[style]).as_bytes());
            text.extend_from_slice(data);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"--boundary--\r\n");
        let out = sent(post("multipart/form-data; boundary=boundary", text));
        prop_assert_eq!(multer_fields(out.body), expected(&fields));
    }

    #[test]
    fn serde_json_sees_our_key_and_all_other_members(
        members in proptest::collection::vec((prop_oneof![name(), "\\PC{0,3}"], json_value()), 0..6),
        pretty: bool,
    ) {
        let quoted = |text: &str| serde_json::to_string(text).expect("a string");
        let (colon, comma) = if pretty { (" : ", " ,\n ") } else { (":", ",") };
        let text: Vec<String> = members.iter().map(|(name, value)| format!("{}{colon}{value}", quoted(name))).collect();
        let text = format!("{{{}}}", text.join(comma));
        let out = sent(post(JSON, &text));
        let seen: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&out.body).expect("still JSON");
        let mut want: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).expect("JSON");
        want.insert("key".into(), REAL.into());
        want.retain(|name, _| !["debug_dump", "x_project", "x_idempotency_key"].contains(&name.as_str()));
        prop_assert_eq!(seen, want);
    }

    #[test]
    fn json_is_accepted_exactly_when_serde_json_accepts_it(
        text in "\\{(\\{|\\}|\\[|\\]|\"|\\\\|:|,|1|0|-|e|\\.|true|null|\"a\"|\"a\":|\\\\u00e9|\\\\ud800| ){0,12}\\}",
    ) {
        let theirs = serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&text);
        // 1e999 is a number to PHP, and too large for the other.
        prop_assume!(theirs.as_ref().err().is_none_or(|why| !why.to_string().contains("out of range")));
        prop_assert_eq!(read(Endpoint::Submit, post(JSON, &text)).is_ok(), theirs.is_ok(), "{}", text);
    }
}

fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        "\\PC{0,6}".prop_map(|text| serde_json::to_string(&text).expect("a string")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            inner.prop_map(|value| format!("{{\"key\": {value}}}")),
        ]
    })
}
