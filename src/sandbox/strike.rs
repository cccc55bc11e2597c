//! What a fault makes of an answer.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::http::{HeaderValue, StatusCode, header};

use super::answer::Answer;
use super::faults::{Fault, Place};
use super::wire_io::{End, TakeOver};

/// An HTTP answer that can still be changed.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

pub(super) enum Struck {
    Http(Reply),
    Raw(TakeOver),
}

const PAGE: &str = "<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Something went wrong</h1></body></html>";

impl Reply {
    /// Vendors call everything HTML, JSON too.
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type", "text/html; charset=UTF-8".to_owned())],
            body: body.into(),
        }
    }

    pub(super) fn page(status: u16) -> Self {
        Self::new(status, PAGE)
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body.into()));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            // A value that came from a client's parameter may be no header value; then it is left out.
            if let Ok(value) = HeaderValue::from_str(&value) {
                response
                    .headers_mut()
                    .append(header::HeaderName::from_static(name), value);
            }
        }
        response
    }

    /// Head and body as they would go out, for faults that stop or go on where HTTP would not.
    fn into_bytes(self) -> (Vec<u8>, Vec<u8>) {
        let reason = StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        (head.into_bytes(), self.body)
    }
}

/// `answer` is what the call meant, and none if it did not take effect; `reply` is that answer as it would go out.
pub(super) fn strike(
    fault: &Fault,
    answer: Option<&Answer>,
    mut reply: Reply,
    json: bool,
    key: &str,
) -> Struck {
    Struck::Http(match fault {
        Fault::ResetConnect | Fault::Reset => return raw(Vec::new(), End::Reset),
        Fault::CloseConnect | Fault::Close => return raw(Vec::new(), End::Close),
        Fault::NotHttp { text } => return raw(text.clone().into_bytes(), End::Close),
        Fault::TruncateHead { bytes, reset } => {
            let mut head = reply.into_bytes().0;
            head.truncate(*bytes);
            return raw(head, end(*reset));
        }
        Fault::TruncateBody { bytes, reset } => {
            let (mut all, mut body) = reply.into_bytes();
            body.truncate(*bytes);
            all.extend(body);
            return raw(all, end(*reset));
        }
        Fault::Extra { text } => {
            let (head, body) = reply.into_bytes();
            return raw([&head[..], &body, text.as_bytes()].concat(), End::Stay);
        }
        Fault::Slow => reply,
        Fault::Status {
            status,
            retry_after,
        } => {
            let page = Reply::page(*status);
            match retry_after {
                Some(seconds) => page.with("retry-after", seconds.to_string()),
                None => page,
            }
        }
        Fault::Html { status } => Reply::page(*status),
        Fault::Empty => Reply::new(200, ""),
        Fault::Code { code } => Reply::new(200, Answer::code(code).render(json, false)),
        Fault::Body { text } => Reply::new(200, text.as_str()),
        Fault::Redirect { location, status } => {
            Reply::new(*status, "").with("location", location.replace("{key}", key))
        }
        Fault::EchoKey {
            place: Place::Header,
        } => reply
            .with("x-key", key.to_owned())
            .with("set-cookie", format!("key={key}")),
        Fault::EchoKey { place: Place::Body } => {
            match reply.body.strip_suffix(b"}") {
                Some(object) => {
                    reply.body = [object, format!(",\"key\":\"{key}\"}}").as_bytes()].concat()
                }
                None => reply.body.extend(format!("|{key}").bytes()),
            }
            reply
        }
        Fault::Decorate { before, after } => {
            reply.body = [before.as_bytes(), &reply.body, after.as_bytes()].concat();
            reply
        }
        Fault::Id { template } => {
            if let Some(Answer::Task { id, .. }) = answer {
                let id = template.replace("{id}", id);
                reply.body = if json {
                    format!("{{\"status\":1,\"request\":{id}}}")
                } else {
                    format!("OK|{id}")
                }
                .into_bytes();
            }
            reply
        }
    })
}

fn raw(bytes: Vec<u8>, end: End) -> Struck {
    Struck::Raw(TakeOver {
        bytes: bytes.into(),
        end,
    })
}

fn end(reset: bool) -> End {
    if reset { End::Reset } else { End::Close }
}
