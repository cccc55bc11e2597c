//! The admin port: probes, metrics, what the keys are doing, and the few things that can be changed by hand. Nothing
//! secret is in any answer.

pub(crate) mod access;
mod api;
mod changes;
mod config_series;
mod exposition;
mod history;
pub mod metrics;
mod pool_series;
mod series;
mod tenant_series;
mod tenants;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, VARY};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::keys::secret::Secret;
use crate::listen::{Peer, Reply};
use crate::live::reload::Asks;
use crate::request::Server;
use access::Who;
use exposition::Format;

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
    Parked,
    Usage,
    Audit,
    Enable(String),
    Disable(String),
    Probe(String),
    Cancel(String),
    Tenants,
    Activate(String),
    Deactivate(String),
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
    let server = &admin.server;
    let query = head.uri.query().unwrap_or_default();
    let who = match admin.who(&head, peer, &route) {
        Ok(who) => who,
        Err((status, sentence)) => return plain(status, &format!("{sentence}\n")),
    };
    let noted = |what: &str, subject: &str, done: changes::Told| {
        history::note(server, who.name(), what, subject, &done);
        told(done)
    };
    match route {
        // Listeners are bound and the state is open before the first request can come in.
        Route::Live | Route::Started => plain(StatusCode::OK, "ok\n"),
        Route::Ready if admin.is_ready() => plain(StatusCode::OK, "ok\n"),
        Route::Ready => plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        Route::Metrics => metrics(server, Format::wanted(&head.headers)).await,
        Route::Status => said(StatusCode::OK, &api::status(server, admin.is_ready()).await),
        Route::Keys => said(StatusCode::OK, &api::keys(server)),
        Route::Parked => said(StatusCode::OK, &api::parked(server)),
        Route::Types => said(StatusCode::OK, &api::types(server)),
        Route::Uncertain => match api::uncertain(server).await {
            Ok(rows) => said(StatusCode::OK, &rows),
            Err(error) => {
                let error = json!({ "error": format!("the store cannot be read: {error}") });
                said(StatusCode::SERVICE_UNAVAILABLE, &error)
            }
        },
        Route::Usage => told(history::usage(server, &who, query).await),
        Route::Audit => told(history::audit(server, query).await),
        Route::Enable(name) => noted("enable", &name, changes::enable(server, &name)),
        Route::Disable(name) => noted("disable", &name, changes::disable(server, &name)),
        Route::Probe(name) => noted("probe", &name, changes::probe(server, &name).await),
        Route::Cancel(id) => noted("cancel", &id, changes::cancel(server, &id)),
        Route::Tenants => said(StatusCode::OK, &tenants::list(server, &who)),
        Route::Activate(name) => noted("activate", &name, tenants::activate(server, &name)),
        Route::Deactivate(name) => noted("deactivate", &name, tenants::deactivate(server, &name)),
        // The reload itself knows what it changed, and notes it.
        Route::Reload => told(changes::reload(server, &admin.reload, who.name()).await),
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
            ["api", "parked"] => (Method::GET, Self::Parked),
            ["api", "usage"] => (Method::GET, Self::Usage),
            ["api", "audit"] => (Method::GET, Self::Audit),
            ["api", "keys", key, "enable"] => (Method::POST, Self::Enable(name(key)?)),
            ["api", "keys", key, "disable"] => (Method::POST, Self::Disable(name(key)?)),
            ["api", "keys", key, "probe"] => (Method::POST, Self::Probe(name(key)?)),
            ["api", "parked", id] => (Method::DELETE, Self::Cancel(name(id)?)),
            ["api", "tenants"] => (Method::GET, Self::Tenants),
            ["api", "tenants", tenant, "activate"] => (Method::POST, Self::Activate(name(tenant)?)),
            ["api", "tenants", tenant, "deactivate"] => {
                (Method::POST, Self::Deactivate(name(tenant)?))
            }
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

    /// Shows each tenant its own part.
    fn is_for_tenants(&self) -> bool {
        matches!(self, Self::Tenants | Self::Usage)
    }
}

const PATHS: &str = "here are /livez, /readyz, /startupz, /metrics, /api/status, /api/keys, /api/types, /api/uncertain, /api/parked, \
    /api/tenants, /api/usage, /api/audit, and by POST /api/keys/NAME/enable, /api/keys/NAME/disable, /api/keys/NAME/probe, \
    /api/tenants/NAME/activate, /api/tenants/NAME/deactivate and /api/reload, by DELETE /api/parked/ID\n";

impl Admin {
    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Probes and metrics answer everybody, and tell nothing that is anybody's own.
    fn who(&self, head: &Parts, peer: Peer, route: &Route) -> Result<Who, access::Refused> {
        if !route.is_api() {
            return Ok(Who::Admin("anybody".into()));
        }
        let snapshot = self.server.live.load();
        match access::who(head, peer, self.token.as_ref(), &snapshot.tenants)? {
            Who::Tenant(_) if !route.is_for_tenants() => Err(access::ADMINS_ONLY),
            who => Ok(who),
        }
    }
}

async fn metrics(server: &Arc<Server>, format: Format) -> Response<Reply> {
    let server = Arc::clone(server);
    // Away from the threads that serve, because ten thousand keys are a hundred thousand series.
    let written = tokio::task::spawn_blocking(move || {
        let text = server
            .metrics
            .text(|registry| series::register(&server, registry));
        format.write(text)
    });
    let text = match written.await {
        Ok(text) => text,
        Err(error) => {
            tracing::error!(%error, "writing the metrics panicked");
            let sentence = "the metrics could not be written, the log says why\n";
            return plain(StatusCode::INTERNAL_SERVER_ERROR, sentence);
        }
    };
    let mut response = respond(StatusCode::OK, format.content_type(), text.into());
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept"));
    response
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
