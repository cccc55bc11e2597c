//! One subject a file. What they share is here.

mod clients;
mod containers;
mod invariants;
mod json;
mod meaning;
mod php;
mod properties;

use super::*;

const K: &str = "placeholderkey000000000000000000";
const REAL: &str = "0123456789abcdef0123456789abcdef";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn parts(post: bool, query: &[u8], content_type: Option<&str>, body: &[u8]) -> Parts {
    Parts {
        post,
        query: Bytes::copy_from_slice(query),
        content_type: content_type.map(|text| Bytes::copy_from_slice(text.as_bytes())),
        body: Bytes::copy_from_slice(body),
    }
}

fn get(query: &str) -> Parts {
    parts(false, query.as_bytes(), None, b"")
}

fn post(content_type: &str, body: impl AsRef<[u8]>) -> Parts {
    let declared = Some(content_type).filter(|text| !text.is_empty());
    parts(true, b"", declared, body.as_ref())
}

impl Parts {
    fn with_query(mut self, query: &str) -> Self {
        self.query = Bytes::copy_from_slice(query.as_bytes());
        self
    }
}

/// Query and body as they go out with the real key.
fn rewritten(endpoint: Endpoint, parts: Parts) -> Result<(String, String), BadParameters> {
    let out = read(endpoint, parts)?.with_key(REAL.as_bytes());
    Ok((text(&out.query), text(&out.body.concat())))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fields(endpoint: Endpoint, parts: Parts) -> Fields {
    read(endpoint, parts).expect("readable").fields().clone()
}

fn send(content_type: &str, body: &str) -> Result<String, BadParameters> {
    rewritten(Endpoint::Submit, post(content_type, body)).map(|(_, body)| body)
}
