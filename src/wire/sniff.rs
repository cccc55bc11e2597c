//! What a body is. Clients leave the content type out, or name another one.

use bytes::Bytes;

use super::splice::FORM;
use super::values::Found;
use super::{BadParameters, Parts, json, multipart, query};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Empty,
    /// Urlencoded. Undeclared: without any content type.
    Form {
        declared: bool,
    },
    /// With its boundary.
    Multipart(Bytes),
    /// A JSON object. Undeclared: under a content type that says something else.
    Json {
        declared: bool,
    },
    /// Nothing that a server would read parameters from.
    Foreign,
}

pub(super) fn read_body(parts: &Parts) -> Result<(Kind, Found), BadParameters> {
    let body = &parts.body;
    if body.is_empty() {
        return Ok((Kind::Empty, Found::default()));
    }
    let content_type = parts.content_type.clone().unwrap_or_default();
    let token = token(&content_type);
    let looks_like_json = body.trim_ascii_start().starts_with(b"{");

    if is_json(&token) {
        return Ok((Kind::Json { declared: true }, json::scan(body)?));
    }
    if token == FORM.as_bytes() {
        let form = query::scan(body)?;
        // SECURITY: `{"a":"&key=x&"}` is both. A server that reads the other one of the two would see the client's key.
        if looks_like_json
            && form.is_empty()
            && let Ok(found) = json::scan(body)
        {
            return Ok((Kind::Json { declared: false }, found));
        }
        return Ok((Kind::Form { declared: true }, no_json_left(body, form)?));
    }
    if token == b"multipart/form-data"
        && let Some(boundary) = multipart::boundary(&content_type)?
    {
        let found = multipart::scan(body, &boundary)?;
        return Ok((Kind::Multipart(boundary), found));
    }
    if looks_like_json {
        return Ok((Kind::Json { declared: false }, json::scan(body)?));
    }
    if content_type.is_empty() && looks_like_form(body) {
        let form = no_json_left(body, query::scan(body)?)?;
        return Ok((Kind::Form { declared: false }, form));
    }
    Ok((Kind::Foreign, Found::default()))
}

/// SECURITY: `debug_dump=1&{"key":"x"}` is a form until its first pair is cut; then it is JSON with the client's key. No client
/// has a form whose first name starts with a brace.
fn no_json_left(body: &[u8], form: Found) -> Result<Found, BadParameters> {
    let left = form
        .splice
        .kept_ranges(body.len())
        .next()
        .map_or(&[][..], |range| &body[range]);
    if left.trim_ascii_start().starts_with(b"{") {
        return Err(BadParameters::TwoForms);
    }
    Ok(form)
}

/// The media type as PHP compares it: up to the first `;`, `,` or blank, in any case.
fn token(content_type: &[u8]) -> Vec<u8> {
    let end = content_type
        .iter()
        .position(|b| b";, ".contains(b))
        .unwrap_or(content_type.len());
    content_type[..end].to_ascii_lowercase()
}

fn is_json(token: &[u8]) -> bool {
    token == b"application/json" || token == b"text/json" || token.ends_with(b"+json")
}

/// `method=…`: a name of plain characters, then `=`, and no control bytes anywhere.
fn looks_like_form(body: &[u8]) -> bool {
    let name_len = body
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || b"_-.%+[]".contains(b))
        .count();
    name_len > 0 && body.get(name_len) == Some(&b'=') && !body.iter().any(u8::is_ascii_control)
}
