//! What holds for every request that is not refused. The fuzz targets check the same, with this file.

use super::{Bytes, Endpoint, Message, Parts, Rewritten, read};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Reads a request for every endpoint and checks what goes out.
pub(super) fn check(parts: &Parts) {
    for endpoint in [
        Endpoint::Submit,
        Endpoint::Solve,
        Endpoint::Result,
        Endpoint::Load,
    ] {
        if let Ok(message) = read(endpoint, parts.clone()) {
            // Only that it comes to an end.
            message.meaning();
            check_key(endpoint, &message);
            check_without_key(endpoint, &message);
            check_emptied_key(endpoint, &message);
        }
    }
}

fn check_key(endpoint: Endpoint, message: &Message) {
    let out = message.with_key(KEY.as_bytes());
    check_bytes(message.parts(), &out, true);
    let again = read(endpoint, sent(message, &out)).expect("what goes out is readable");
    let (before, after) = (message.fields(), again.fields());
    assert_eq!(
        after.token.as_deref(),
        Some(KEY.as_bytes()),
        "the vendor sees our key"
    );
    assert!(after.project.is_none() && after.idempotency_key.is_none());
    let same = before.action == after.action
        && before.id == after.id
        && before.ids == after.ids
        && before.json == after.json
        && before.header_acao == after.header_acao
        && before.method == after.method
        && before.version == after.version
        && before.module == after.module
        && before.pingback == after.pingback;
    assert!(same, "the vendor sees the client's fields");
    let twice = again.with_key(KEY.as_bytes());
    assert_eq!(out.query, twice.query);
    assert_eq!(out.body.concat(), twice.body.concat());
    assert_eq!(out.content_type, twice.content_type);
}

fn check_without_key(endpoint: Endpoint, message: &Message) {
    let out = message.without_key();
    check_bytes(message.parts(), &out, false);
    // With its key gone from the query, a body of unknown form may be refused.
    if let Ok(again) = read(endpoint, sent(message, &out)) {
        assert!(again.fields().token.is_none(), "no key is left");
    }
}

/// What is parked with an empty key goes out later as it would have gone out at once.
fn check_emptied_key(endpoint: Endpoint, message: &Message) {
    let emptied = sent(message, &message.with_key(b""));
    let again = read(endpoint, emptied).expect("an emptied request is readable");
    let (at_once, later) = (
        message.with_key(KEY.as_bytes()),
        again.with_key(KEY.as_bytes()),
    );
    assert_eq!(at_once.query, later.query);
    assert_eq!(at_once.body.concat(), later.body.concat());
    assert_eq!(at_once.content_type, later.content_type);
    assert_eq!(message.fields().pingback, again.fields().pingback);
}

fn sent(message: &Message, out: &Rewritten) -> Parts {
    Parts {
        query: out.query.clone(),
        content_type: out.content_type.clone(),
        body: Bytes::from(out.body.concat()),
        ..message.parts().clone()
    }
}

/// One piece may be new; all others are the client's, in their order.
fn check_bytes(parts: &Parts, out: &Rewritten, with_key: bool) {
    let query_grew = out.query.starts_with(b"key=");
    let rest = if with_key && query_grew {
        after_pair(&out.query)
    } else {
        &out.query
    };
    assert!(
        is_subsequence(rest, &parts.query),
        "the query is the client's"
    );
    let mut next = parts.body.as_ptr() as usize;
    let mut new = 0;
    for piece in &out.body {
        let start = piece.as_ptr() as usize;
        if parts.body.as_ptr_range().contains(&piece.as_ptr()) {
            assert!(start >= next, "pieces are in order");
            next = start + piece.len();
        } else {
            new += 1;
        }
    }
    assert_eq!(
        new,
        usize::from(with_key && !query_grew),
        "one key goes into one container"
    );
}

fn after_pair(query: &[u8]) -> &[u8] {
    let end = query
        .iter()
        .position(|b| *b == b'&')
        .map_or(query.len(), |at| at + 1);
    &query[end..]
}

fn is_subsequence(short: &[u8], long: &[u8]) -> bool {
    let mut long = long.iter();
    short.iter().all(|b| long.any(|other| other == b))
}
