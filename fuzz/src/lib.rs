//! What the targets share: the same invariants that the property tests of `wire` check.

pub use bytes::Bytes;
pub use sidekey::wire::Parts;
use sidekey::wire::{Endpoint, Message, Rewritten, read};

#[path = "../../src/wire/tests/invariants.rs"]
mod invariants;

pub fn check(parts: &Parts) {
    invariants::check(parts);
}

/// A POST with a fixed content type; the bytes are the body.
pub fn check_body(content_type: &'static str, body: &[u8]) {
    for query in ["", "key=Q&id=1"] {
        check(&Parts {
            post: true,
            query: Bytes::from_static(query.as_bytes()),
            content_type: Some(Bytes::from_static(content_type.as_bytes())),
            body: Bytes::copy_from_slice(body),
        });
    }
}
