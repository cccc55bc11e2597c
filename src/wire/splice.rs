//! What is cut out of a request and what is put in. No other byte changes, and the body is never copied.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::names::Name;
use super::sniff::Kind;
use super::{Fields, Parts};

/// One request, understood, and ready to be written with any key.
#[derive(Debug)]
pub struct Message {
    parts: Parts,
    kind: Kind,
    fields: Fields,
    query: Splice,
    body: Splice,
    place: Place,
}

/// What goes to the vendor.
#[derive(Clone)]
pub struct Rewritten {
    pub query: Bytes,
    pub content_type: Option<Bytes>,
    /// Slices of the client's body, and what was put in.
    pub body: Vec<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Query,
    Body,
}

impl Message {
    pub(super) fn new(
        parts: Parts,
        kind: Kind,
        fields: Fields,
        query: Splice,
        body: Splice,
        place: Place,
    ) -> Self {
        Self {
            parts,
            kind,
            fields,
            query,
            body,
            place,
        }
    }

    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(super) fn query_splice(&self) -> &Splice {
        &self.query
    }

    pub(super) fn body_splice(&self) -> &Splice {
        &self.body
    }

    /// Exactly one `key`, first in its container. The key must hold no control bytes.
    pub fn with_key(&self, key: &[u8]) -> Rewritten {
        match self.place {
            Place::Query => {
                self.rewrite(Some(pair(key, &self.query, self.parts.query.len())), None)
            }
            Place::Body => self.rewrite(None, Some(self.in_body(key))),
        }
    }

    /// No `key` at all.
    pub fn without_key(&self) -> Rewritten {
        self.rewrite(None, None)
    }

    fn rewrite(&self, in_query: Option<BytesMut>, in_body: Option<BytesMut>) -> Rewritten {
        let content_type = match self.kind {
            // A PHP server reads the body that came without a type only if it now has one.
            Kind::Form { declared: false } => Some(Bytes::from_static(FORM.as_bytes())),
            _ => self.parts.content_type.clone(),
        };
        Rewritten {
            query: self.query.one(&self.parts.query, in_query),
            content_type,
            body: self
                .body
                .many(&self.parts.body, in_body.map(BytesMut::freeze)),
        }
    }

    fn in_body(&self, key: &[u8]) -> BytesMut {
        let mut text = BytesMut::new();
        match &self.kind {
            Kind::Multipart(boundary) => {
                text.extend_from_slice(b"--");
                text.extend_from_slice(boundary);
                text.extend_from_slice(b"\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n");
                text.extend_from_slice(key);
                text.extend_from_slice(b"\r\n");
            }
            Kind::Json { .. } => {
                text.extend_from_slice(b"\"key\":");
                let value = serde_json::Value::from(String::from_utf8_lossy(key));
                text.extend_from_slice(value.to_string().as_bytes());
                if self.body.kept {
                    text.extend_from_slice(b",");
                }
            }
            Kind::Form { .. } | Kind::Empty | Kind::Foreign => return pair(key, &self.body, 0),
        }
        text
    }
}

/// A query that Sidekey makes up itself: the key first, then `fields`.
pub fn own_query(key: &[u8], fields: &[(&str, &[u8])]) -> Rewritten {
    let room = fields
        .iter()
        .map(|(name, value)| name.len() + 3 * value.len() + 2)
        .sum();
    let mut query = pair(key, &Splice::default(), room);
    for (name, value) in fields {
        query.extend_from_slice(b"&");
        query.extend_from_slice(name.as_bytes());
        query.extend_from_slice(b"=");
        for piece in percent_encode(value, &RESERVED) {
            query.extend_from_slice(piece.as_bytes());
        }
    }
    Rewritten {
        query: query.freeze(),
        content_type: None,
        body: Vec::new(),
    }
}

/// `key=…` for a query or a form, with room for what follows.
fn pair(key: &[u8], splice: &Splice, room: usize) -> BytesMut {
    let mut text = BytesMut::with_capacity(3 * key.len() + room + 8);
    text.extend_from_slice(b"key=");
    for piece in percent_encode(key, &RESERVED) {
        text.extend_from_slice(piece.as_bytes());
    }
    if splice.kept {
        text.extend_from_slice(b"&");
    }
    text
}

/// The real key is in it.
impl fmt::Debug for Rewritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rewritten(…)")
    }
}

/// What changes in one container.
#[derive(Debug, Default)]
pub(super) struct Splice {
    /// In order, disjoint, none before `insert_at`.
    cuts: Vec<Range<usize>>,
    /// What stays and says only how the answer is to look. In order.
    about_the_answer: Vec<Range<usize>>,
    /// Where a key is put in.
    pub(super) insert_at: usize,
    /// Whether any field stays, so that a separator is needed.
    pub(super) kept: bool,
    /// Whether the client's key was here, in whatever spelling.
    pub(super) has_key: bool,
}

impl Splice {
    pub(super) fn is_untouched(&self) -> bool {
        self.cuts.is_empty()
    }

    pub(super) fn cut(&mut self, name: Name, range: Range<usize>) {
        self.has_key |= name == Name::Key;
        match self.cuts.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.cuts.push(range),
        }
    }

    /// Cuts a pair together with one of its separators: the one before it, or the one behind it while nothing is kept.
    pub(super) fn cut_pair(&mut self, name: Name, pair: Range<usize>, len: usize) {
        if self.kept {
            self.cut(name, pair.start - 1..pair.end);
        } else {
            self.cut(name, pair.start..len.min(pair.end + 1));
        }
    }

    /// A field that stays as it is.
    pub(super) fn keep(&mut self, name: Name, range: Range<usize>) {
        self.kept = true;
        if name.is_about_the_answer() {
            self.about_the_answer.push(range);
        }
    }

    /// The pieces that say what is asked for, from `insert_at` on.
    pub(super) fn meant_ranges(&self, len: usize) -> impl Iterator<Item = Range<usize>> {
        let mut left_out = [&self.cuts[..], &self.about_the_answer].concat();
        left_out.sort_unstable_by_key(|range| range.start);
        left_out.push(len..len);
        let mut at = self.insert_at;
        left_out.into_iter().filter_map(move |out| {
            let meant = at..out.start.min(len);
            at = at.max(out.end);
            (!meant.is_empty()).then_some(meant)
        })
    }

    /// The pieces of `original` that stay, from `insert_at` on.
    pub(super) fn kept_ranges(&self, len: usize) -> impl Iterator<Item = Range<usize>> {
        let starts = [self.insert_at]
            .into_iter()
            .chain(self.cuts.iter().map(|cut| cut.end));
        let ends = self.cuts.iter().map(|cut| cut.start).chain([len]);
        starts
            .zip(ends)
            .map(|(start, end)| start..end)
            .filter(|range| !range.is_empty())
    }

    fn one(&self, original: &Bytes, insert: Option<BytesMut>) -> Bytes {
        if insert.is_none() && self.cuts.is_empty() {
            return original.clone();
        }
        let mut text = insert.unwrap_or_default();
        for range in self.kept_ranges(original.len()) {
            text.extend_from_slice(&original[range]);
        }
        text.freeze()
    }

    fn many(&self, original: &Bytes, insert: Option<Bytes>) -> Vec<Bytes> {
        if original.is_empty() && insert.is_none() {
            return Vec::new();
        }
        let mut pieces = Vec::with_capacity(self.cuts.len() + 3);
        pieces.push(original.slice(..self.insert_at));
        pieces.extend(insert);
        pieces.extend(
            self.kept_ranges(original.len())
                .map(|range| original.slice(range)),
        );
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// RFC 3986: all but the unreserved characters.
pub(super) const RESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
