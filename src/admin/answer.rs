//! How the admin port answers: JSON below `/api/`, text elsewhere, and what every answer tells browsers.

use bytes::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::changes::Told;
use super::places::Place;
use crate::listen::Reply;

/// How a change or a question ended.
pub(super) fn told((status, value): Told, place: Option<Place>) -> Response<Reply> {
    // A shell's prompt stands on a line of its own.
    let text = format!("{value}\n");
    let body = match place {
        Some(place) => place.hold(text),
        None => text.into(),
    };
    respond(status, "application/json", body)
}

pub(super) fn plain(status: StatusCode, text: &str) -> Response<Reply> {
    respond(
        status,
        "text/plain; charset=utf-8",
        Bytes::copy_from_slice(text.as_bytes()),
    )
}

/// In the form in which the path's other answers are.
pub(super) fn refused(path: &str, status: StatusCode, sentence: &str) -> Response<Reply> {
    let mut response = match path.starts_with("/api/") {
        true => told((status, json!({ "error": sentence })), None),
        false => plain(status, &format!("{sentence}\n")),
    };
    if status == StatusCode::UNAUTHORIZED {
        let headers = response.headers_mut();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

pub(super) fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
) -> Response<Reply> {
    let mut response = Response::new(Reply::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(SOON));
    }
    response
}

/// In seconds. What is in the way is over within one, or nobody can say when.
const SOON: &str = "1";

/// SECURITY: no browser may guess a type, keep an answer, show it in another page's frame, load anything for it, or tell
/// others where it was. What an answer says itself stands.
pub(super) fn guarded(mut response: Response<Reply>) -> Response<Reply> {
    let headers = response.headers_mut();
    for (name, value) in GUARDS {
        let value = HeaderValue::from_static(value);
        headers.entry(name).or_insert(value);
    }
    response
}

const GUARDS: [(HeaderName, &str); 6] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CACHE_CONTROL, "no-store"),
    (REFERRER_POLICY, "no-referrer"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];
