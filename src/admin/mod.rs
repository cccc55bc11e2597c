//! The admin port: probes, metrics, what the keys are doing, and the few things that can be changed by hand. Nothing
//! secret is in any answer.

pub(crate) mod access;
mod api;
mod changes;
mod history;
pub mod metrics;
mod series;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::keys::secret::Secret;
use crate::listen::{Peer, Reply};
use crate::live::reload::Asks;
use crate::request::Server;

pub struct Admin {
    pub server: Arc<Server>,
    pub token: Option<Secret>,
    /// Set while the listeners are bound and nothing is being drained.
    pub ready: AtomicBool,
    pub reload: Asks,
}

/// What a path stands for. The table is `Route::of`.
#[derive(Debug, PartialEq)]
enum Route {
    Live,
    Ready,
    Started,
    Metrics,
    Status,
    Keys,
    Types,
    Uncertain,
    Usage,
    Audit,
    Enable(String),
    Disable(String),
    Probe(String),
    Reload,
}

/// One request to the admin port.
pub async fn serve(admin: Arc<Admin>, request: Request<Incoming>, peer: Peer) -> Response<Reply> {
    let (head, _) = request.into_parts();
    let Some((method, route)) = Route::of(head.uri.path()) else {
        return plain(StatusCode::NOT_FOUND, PATHS);
    };
    if head.method != method {
        let sentence = format!("only {method} is taken here\n");
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, &sentence);
        if let Ok(method) = HeaderValue::from_str(method.as_str()) {
            response.headers_mut().insert(ALLOW, method);
        }
        return response;
    }
    if route.is_api()
        && let Err((status, sentence)) = access::check(&head, peer, admin.token.as_ref())
    {
        return plain(status, &format!("{sentence}\n"));
    }
    let server = &admin.server;
    let query = head.uri.query().unwrap_or_default();
    let who = match admin.token {
        Some(_) => "admin token",
        None => "loopback",
    };
    match route {
        // Listeners are bound and the state is open before the first request can come in.
        Route::Live | Route::Started => plain(StatusCode::OK, "ok\n"),
        Route::Ready if admin.is_ready() => plain(StatusCode::OK, "ok\n"),
        Route::Ready => plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        Route::Metrics => metrics(server),
        Route::Status => said(StatusCode::OK, &api::status(server, admin.is_ready())),
        Route::Keys => said(StatusCode::OK, &api::keys(server)),
        Route::Types => said(StatusCode::OK, &api::types(server)),
        Route::Uncertain => match api::uncertain(server).await {
            Ok(rows) => said(StatusCode::OK, &rows),
            Err(error) => {
                let error = json!({ "error": format!("the store cannot be read: {error}") });
                said(StatusCode::SERVICE_UNAVAILABLE, &error)
            }
        },
        Route::Usage => told(history::usage(server, query).await),
        Route::Audit => told(history::audit(server, query).await),
        Route::Enable(name) => {
            let done = changes::enable(server, &name);
            history::note(server, who, "enable", &name, &done);
            told(done)
        }
        Route::Disable(name) => {
            let done = changes::disable(server, &name);
            history::note(server, who, "disable", &name, &done);
            told(done)
        }
        Route::Probe(name) => {
            let done = changes::probe(server, &name).await;
            history::note(server, who, "probe", &name, &done);
            told(done)
        }
        // The reload itself knows what it changed, and notes it.
        Route::Reload => told(changes::reload(server, &admin.reload, who).await),
    }
}

impl Route {
    /// Each path takes one method.
    fn of(path: &str) -> Option<(Method, Self)> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let name = |name: &str| Some(percent_decode_str(name).decode_utf8().ok()?.into_owned());
        Some(match *parts.as_slice() {
            ["livez"] => (Method::GET, Self::Live),
            ["readyz"] => (Method::GET, Self::Ready),
            ["startupz"] => (Method::GET, Self::Started),
            ["metrics"] => (Method::GET, Self::Metrics),
            ["api", "status"] => (Method::GET, Self::Status),
            ["api", "keys"] => (Method::GET, Self::Keys),
            ["api", "types"] => (Method::GET, Self::Types),
            ["api", "uncertain"] => (Method::GET, Self::Uncertain),
            ["api", "usage"] => (Method::GET, Self::Usage),
            ["api", "audit"] => (Method::GET, Self::Audit),
            ["api", "keys", key, "enable"] => (Method::POST, Self::Enable(name(key)?)),
            ["api", "keys", key, "disable"] => (Method::POST, Self::Disable(name(key)?)),
            ["api", "keys", key, "probe"] => (Method::POST, Self::Probe(name(key)?)),
            ["api", "reload"] => (Method::POST, Self::Reload),
            _ => return None,
        })
    }

    fn is_api(&self) -> bool {
        !matches!(
            self,
            Self::Live | Self::Ready | Self::Started | Self::Metrics
        )
    }
}

const PATHS: &str = "here are /livez, /readyz, /startupz, /metrics, /api/status, /api/keys, /api/types, /api/uncertain, \
    /api/usage, /api/audit, and by POST /api/keys/NAME/enable, /api/keys/NAME/disable, /api/keys/NAME/probe and /api/reload\n";

impl Admin {
    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
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

/// How a change or a question ended.
fn told((status, value): (StatusCode, Value)) -> Response<Reply> {
    said(status, &value)
}

fn said(status: StatusCode, value: &Value) -> Response<Reply> {
    respond(status, "application/json", value.to_string().into())
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
