//! The admin port: probes, metrics, and what the keys are doing. Nothing secret is in any answer.

mod api;
pub mod metrics;
mod series;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};
use subtle::ConstantTimeEq;

use crate::keys::secret::Secret;
use crate::listen::gate;
use crate::listen::{Peer, Reply};
use crate::request::Server;

pub struct Admin {
    pub server: Arc<Server>,
    pub token: Option<Secret>,
    /// Set while the listeners are bound and nothing is being drained.
    pub ready: AtomicBool,
}

/// One request to the admin port.
pub async fn serve(admin: Arc<Admin>, request: Request<Incoming>, peer: Peer) -> Response<Reply> {
    let path = request.uri().path();
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is taken here\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match path {
        "/livez" => plain(StatusCode::OK, "ok\n"),
        // Listeners are bound and the state is open before the first request can come in.
        "/startupz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" if admin.ready.load(Ordering::Relaxed) => plain(StatusCode::OK, "ok\n"),
        "/readyz" => plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/metrics" => metrics(&admin.server),
        "/api/keys" | "/api/uncertain" | "/api/parked" => match allowed(&admin, request, peer) {
            Ok(request) => api(&admin.server, request.uri().path()).await,
            Err(refused) => *refused,
        },
        _ => plain(
            StatusCode::NOT_FOUND,
            "here are /livez, /readyz, /startupz, /metrics, /api/keys, /api/uncertain and /api/parked\n",
        ),
    }
}

/// SECURITY: a page in the operator's browser can reach a loopback port, by its own name (rebinding) or across sites. So
/// the Host must be an address or `localhost`, and an Origin refuses. Off loopback only the token opens the API.
fn allowed(
    admin: &Admin,
    request: Request<Incoming>,
    peer: Peer,
) -> Result<Request<Incoming>, Box<Response<Reply>>> {
    let refuse = |status, sentence| Err(Box::new(plain(status, sentence)));
    let (head, body) = request.into_parts();
    if let Some(token) = &admin.token {
        let sent = head
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if !sent.is_some_and(|sent| bool::from(sent.ct_eq(token.expose()))) {
            return refuse(
                StatusCode::UNAUTHORIZED,
                "send the admin token: `Authorization: Bearer …`\n",
            );
        }
        return Ok(Request::from_parts(head, body));
    }
    if !peer.address.ip().to_canonical().is_loopback() {
        return refuse(
            StatusCode::FORBIDDEN,
            "off loopback the API needs admin.token_file\n",
        );
    }
    let host = gate::host(&head).ok().flatten().unwrap_or_default();
    let is_address = host
        .trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .is_ok();
    if !(is_address || host.eq_ignore_ascii_case("localhost")) || head.headers.contains_key(ORIGIN)
    {
        return refuse(
            StatusCode::FORBIDDEN,
            "name this port by its address or as localhost, and not from a web page\n",
        );
    }
    Ok(Request::from_parts(head, body))
}

async fn api(server: &Server, path: &str) -> Response<Reply> {
    let found = match path {
        "/api/keys" => Ok(api::keys(server)),
        "/api/parked" => Ok(api::parked(server)),
        _ => api::uncertain(server).await,
    };
    match found {
        Ok(json) => respond(StatusCode::OK, "application/json", json.to_string().into()),
        Err(error) => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("the store cannot be read: {error}\n"),
        ),
    }
}

fn metrics(server: &Server) -> Response<Reply> {
    let text = server
        .metrics
        .text(|registry| series::register(server, registry));
    respond(
        StatusCode::OK,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        text.into(),
    )
}

fn plain(status: StatusCode, text: &str) -> Response<Reply> {
    respond(
        status,
        "text/plain; charset=utf-8",
        Bytes::copy_from_slice(text.as_bytes()),
    )
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Reply> {
    let mut response = Response::new(Reply::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
