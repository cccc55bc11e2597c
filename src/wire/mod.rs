//! The request side of the wire formats: pure functions over bytes.
//!
//! Parameters are read as a PHP server reads them, because the vendors' servers do. Every spelling that such a server would take for
//! `key` is cut, exactly one is put in, first in its container, and all other bytes go out as they came. What cannot be read with
//! certainty is refused: a request that two servers understand differently could ask for a foreign task or lose the key.

mod fields;
mod json;
mod meaning;
mod multipart;
mod names;
mod query;
mod renamed;
mod sniff;
mod splice;
mod values;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

pub use fields::{Fields, Hints};
pub use renamed::renamed;
pub use splice::{Message, Rewritten, own_query};

use sniff::Kind;
use splice::Place;
use values::Found;

/// PHP drops what comes after field 1000 (`max_input_vars`); ours must be among those it keeps, and so must all the client's.
pub const MAX_FIELDS: usize = 900;
pub const MAX_PARTS: usize = 64;
/// PHP reads part headers in lines of at most 5 KiB.
pub const MAX_PART_HEADER: usize = 4096;
/// SECURITY: nesting costs the vendor's parser stack; ours has a counter and a bit a level.
pub const MAX_JSON_DEPTH: u32 = 64;

/// Which of the four paths was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `in.php`
    Submit,
    /// `solve.php`
    Solve,
    /// `res.php`
    Result,
    /// `load.php`
    Load,
}

/// The parts of a request that hold parameters.
#[derive(Clone, Default)]
pub struct Parts {
    /// A PHP server fills its parameters from the body of a POST only.
    pub post: bool,
    /// The raw bytes after `?`; empty if there are none.
    pub query: Bytes,
    pub content_type: Option<Bytes>,
    /// The whole body; empty if there is none.
    pub body: Bytes,
}

/// Says how much there is and not what: all of it may be secret.
impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("post", &self.post)
            .field("query_len", &self.query.len())
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why a request is refused before anything of it goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadParameters {
    #[error("more than {MAX_FIELDS} fields: a vendor's server would not read the last ones")]
    TooManyFields,
    #[error("more than {MAX_PARTS} multipart parts")]
    TooManyParts,
    #[error("a multipart part has a header of more than {MAX_PART_HEADER} bytes")]
    PartHeaderTooLong,
    #[error(
        "the multipart boundary in content-type cannot be read with certainty: send one of 1 to 70 plain characters"
    )]
    Boundary,
    #[error("the multipart body cannot be read with certainty: {0}")]
    Multipart(&'static str),
    #[error("the body is not one valid JSON object in UTF-8")]
    Json,
    #[error("the JSON body is nested deeper than {MAX_JSON_DEPTH} levels")]
    JsonTooDeep,
    #[error("the body is declared as a form and looks like JSON: send one of the two")]
    TwoForms,
    #[error(
        "the body is of no known form and the query has no key: send a form, multipart or JSON"
    )]
    UnknownBody,
    #[error("query and body disagree on `{0}`")]
    Disagree(&'static str),
    #[error("both `{0}` and `{1}` are given: send one of them")]
    Both(&'static str, &'static str),
    #[error("`{0}` is given as an array")]
    Array(&'static str),
    #[error("`{0}` is too long, not a whole number, or not UTF-8")]
    Value(&'static str),
}

/// Understands one request, without deciding anything about it.
pub fn read(endpoint: Endpoint, parts: Parts) -> Result<Message, BadParameters> {
    let query = query::scan(&parts.query)?;
    let (kind, body) = sniff::read_body(&parts)?;
    if matches!(kind, Kind::Foreign) && !query.splice.has_key {
        return Err(BadParameters::UnknownBody);
    }
    let fields = fields::merge(endpoint, &parts, &kind, &query, &body)?;
    let place = place(parts.post, &kind, &query, &body);
    Ok(Message::new(
        parts,
        kind,
        fields,
        query.splice,
        body.splice,
        place,
    ))
}

/// What the answer to a request should look like, from its query alone: for requests whose body was never read.
pub fn hints(query: &[u8]) -> Hints {
    let found = query::scan(query).unwrap_or_default();
    fields::hints(query, &found)
}

/// The key goes where the client had its own. In both places: the body, if the server is known to read it. In none: as the body is.
fn place(post: bool, kind: &Kind, query: &Found, body: &Found) -> Place {
    let (in_query, in_body) = (query.splice.has_key, body.splice.has_key);
    let to_body = match kind {
        Kind::Empty | Kind::Foreign => false,
        Kind::Form { .. } | Kind::Multipart(_) => post && (in_body || !in_query),
        Kind::Json { declared } if in_body => *declared || !in_query,
        Kind::Json { declared } => *declared && !in_query,
    };
    if to_body { Place::Body } else { Place::Query }
}
