//! What a request asks for, whichever way it is wrapped: two requests with the same meaning are one and the same to whoever repeats
//! it. Left out is what only says who asks and how the answer is to look, and what a client's library chooses anew each time.

use memchr::memmem;
use sha2::{Digest, Sha256};

use super::sniff::Kind;
use super::splice::{Message, Splice};

impl Message {
    /// Of all parameters but those that are cut, `json` and `header_acao`. The boundary of a multipart body does not count.
    pub fn meaning(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let parts = self.parts();
        let query = joined(&parts.query, self.query_splice(), parts.query.len(), b'&');
        add(&mut digest, b"query", &query);
        let body = &parts.body;
        match self.kind() {
            Kind::Empty => {}
            Kind::Form { .. } => {
                let form = joined(body, self.body_splice(), body.len(), b'&');
                add(&mut digest, b"form", &form);
            }
            Kind::Json { .. } => {
                // Up to the brace that closes the object: what stands between the members is left out at their ends.
                let end = memchr::memrchr(b'}', body).unwrap_or(body.len());
                let members = joined(body, self.body_splice(), end, b',');
                add(&mut digest, b"json", &members);
            }
            Kind::Multipart(boundary) => {
                let delimiter = [b"\r\n--", &boundary[..]].concat();
                let finder = memmem::Finder::new(&delimiter);
                for range in self.body_splice().meant_ranges(body.len()) {
                    // Begins with a delimiter; only the first of a body has no line before it.
                    let mut at = range.start + delimiter.len() - 2;
                    for next in finder.find_iter(&body[range.start..range.end]) {
                        let next = range.start + next;
                        add(&mut digest, b"part", &body[at..next]);
                        at = next + delimiter.len();
                    }
                    // The last part before a cut, or what closes the body.
                    let rest = &body[at.min(range.end)..range.end];
                    if !rest.is_empty() && !rest.starts_with(b"--") {
                        add(
                            &mut digest,
                            b"part",
                            rest.strip_suffix(b"\r\n").unwrap_or(rest),
                        );
                    }
                }
            }
            Kind::Foreign => {
                let content_type = parts.content_type.as_deref().unwrap_or_default();
                add(&mut digest, b"type", content_type);
                add(&mut digest, b"body", body);
            }
        }
        digest.finalize().into()
    }
}

/// What is meant, without the separators at the ends of what was left out.
fn joined(container: &[u8], splice: &Splice, len: usize, separator: u8) -> Vec<u8> {
    let is_between = |b: &u8| *b == separator || separator == b',' && b.is_ascii_whitespace();
    let mut text = Vec::with_capacity(len);
    for range in splice.meant_ranges(len) {
        let piece = &container[range];
        let Some(first) = piece.iter().position(|b| !is_between(b)) else {
            continue;
        };
        let last = piece.iter().rposition(|b| !is_between(b)).unwrap_or(first);
        if !text.is_empty() {
            text.push(separator);
        }
        text.extend_from_slice(&piece[first..=last]);
    }
    text
}

fn add(digest: &mut Sha256, what: &[u8], text: &[u8]) {
    digest.update(what);
    digest.update((text.len() as u64).to_le_bytes());
    digest.update(text);
}
