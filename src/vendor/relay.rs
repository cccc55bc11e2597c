//! An answer of the vendor's as clients are given it.

use bytes::Bytes;
use hyper::header::HeaderValue;

/// Trimmed and scrubbed.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    pub body: Bytes,
    pub content_type: Option<HeaderValue>,
    pub allow_origin: Option<HeaderValue>,
}

impl Relay {
    /// For keeping: shares no buffer, so that a small answer does not hold all that was read from the connection with it.
    pub fn detached(&self) -> Self {
        let copy = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
        Self {
            body: Bytes::copy_from_slice(&self.body),
            content_type: self.content_type.as_ref().and_then(copy),
            allow_origin: self.allow_origin.as_ref().and_then(copy),
        }
    }
}
