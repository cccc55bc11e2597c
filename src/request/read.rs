//! From bytes to a call: the bounded body, the parameters, what is asked.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, ORIGIN, USER_AGENT};
use hyper::http::request;
use hyper::{Method, Request};

use super::Server;
use super::call::Call;
use super::idempotency;
use super::refuse::Refusal;
use crate::listen::body::{BodyError, HeldBody, read_body};
use crate::listen::gate::Gated;
use crate::live::Snapshot;
use crate::wire::{self, Endpoint, Hints, Message, Parts};

/// A request that was understood, and not admitted yet.
pub struct Received {
    pub request: Understood,
    pub origin: Option<String>,
    /// A browser says that a page of another site made it.
    pub cross_site: bool,
    /// From the path; a field of the body comes second.
    pub project: Option<String>,
}

/// What is asked.
pub struct Understood {
    pub call: Call,
    pub endpoint: Endpoint,
    /// Boxed, because it is large, and moves from stage to stage.
    pub message: Box<Message>,
    pub user_agent: Option<Bytes>,
    /// The client's own, of a submit.
    pub idempotency_key: Option<String>,
    /// The body's share of the budget, held as long as the request.
    pub held: HeldBody,
}

impl Understood {
    /// In which format its client wants the answer.
    pub fn hints(&self) -> Hints {
        self.message.fields().hints()
    }
}

/// Why a request went no further, and in which format its client hears so.
pub enum Unread {
    Refused(Refusal, Hints),
    /// The body broke HTTP itself.
    Broken,
}

pub(super) async fn read(
    server: &Server,
    snapshot: &Snapshot,
    gated: Gated,
    request: Request<Incoming>,
) -> Result<Received, Unread> {
    let (head, body) = request.into_parts();
    let query = query_of(&head);
    let listen = &snapshot.settings.listen;
    let held = match read_body(body, listen.max_body, &server.bodies, &server.limits).await {
        Ok(held) => held,
        Err(BodyError::Broken) => return Err(Unread::Broken),
        Err(error) => return Err(Unread::Refused(of_body(error), wire::hints(&query))),
    };
    let parts = Parts {
        post: head.method == Method::POST,
        query: query.clone(),
        content_type: header(&head.headers, CONTENT_TYPE),
        body: held.bytes.clone(),
    };
    let message = wire::read(gated.endpoint, parts)
        .map_err(|why| Unread::Refused(Refusal::BadParameters(why), wire::hints(&query)))?;
    let message = Box::new(message);
    let fields = message.fields();
    let hints = fields.hints();
    let call = Call::understand(gated.endpoint, fields)
        .map_err(|refusal| Unread::Refused(refusal, hints))?;
    let idempotency_key = match call {
        Call::Submit | Call::Solve => idempotency::key(fields, &head.headers)
            .map_err(|refusal| Unread::Refused(refusal, hints))?,
        _ => None,
    };
    Ok(Received {
        request: Understood {
            call,
            endpoint: gated.endpoint,
            message,
            user_agent: header(&head.headers, USER_AGENT),
            idempotency_key,
            held,
        },
        origin: head
            .headers
            .get(ORIGIN)
            .map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned()),
        cross_site: head
            .headers
            .get(SEC_FETCH_SITE)
            .is_some_and(|site| site == "cross-site" || site == "same-site"),
        project: gated.project,
    })
}

fn query_of(head: &request::Parts) -> Bytes {
    head.uri
        .query()
        .map(|query| Bytes::copy_from_slice(query.as_bytes()))
        .unwrap_or_default()
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<Bytes> {
    headers
        .get(name)
        .map(|value| Bytes::copy_from_slice(value.as_bytes()))
}

fn of_body(error: BodyError) -> Refusal {
    match error {
        BodyError::TooBig => Refusal::BodyTooBig,
        BodyError::NoBudget => Refusal::NoBodyBudget,
        BodyError::TooSlow | BodyError::Broken => Refusal::BodyBroken,
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
