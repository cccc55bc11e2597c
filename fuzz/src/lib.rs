//! What the targets share: the same invariants that the property tests of `wire` check.

//!
//! The parsers are compiled from their sources instead of linking the whole program: TLS and SQLite under a sanitizer
//! would take ten times as long to build as they are fuzzed in CI.

#![expect(dead_code, reason = "not every public function of the program has a target")]

#[path = "../../src/wire/mod.rs"]
pub mod wire;

#[path = "../../src/money.rs"]
pub mod money;

#[path = "../../src/vendor"]
pub mod vendor {
    pub mod account;
    pub mod answer;
    pub mod profile;
    pub mod scrub;
}

pub use bytes::Bytes;
pub use wire::Parts;
use wire::{Endpoint, Message, Rewritten, read};

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
