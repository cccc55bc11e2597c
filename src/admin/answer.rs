//! How the admin port answers: JSON below `/api/`, text elsewhere, and what every answer tells browsers.

use bytes::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::changes::Told;
use crate::listen::Reply;

/// How a change or a question ended.
pub(super) fn told((status, value): Told) -> Response<Reply> {
    said(status, &value)
}

pub(super) fn said(status: StatusCode, value: &Value) -> Response<Reply> {
    respond(status, "application/json", value.to_string().into())
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
        true => said(status, &json!({ "error": sentence })),
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
    response
}

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
