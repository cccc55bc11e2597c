//! The admin port: the dashboard, probes, metrics, what the keys are doing, and the few things that can be changed by hand. Nothing
//! secret is in any answer.

pub(crate) mod access;
mod answer;
mod api;
pub mod calls;
mod changes;
pub(crate) mod config;
mod config_series;
pub mod events;
mod exposition;
mod history;
pub mod metrics;
mod page;
mod places;
mod pool_series;
mod pools;
mod recent;
mod ring;
mod scrape;
mod series;
mod tenant_series;
mod tenants;
pub(crate) mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::keys::secret::Secret;
use crate::listen::{Peer, Reply};
use crate::live::reload::Asks;
use crate::request::Server;
use access::Who;
use answer::{guarded, plain, refused, told};
use places::{Place, Places};

pub struct Admin {
    pub server: Arc<Server>,
    token: Option<Secret>,
    /// Set while the listeners are bound and nothing is being drained.
    pub ready: AtomicBool,
    reload: Asks,
    scrapes: Places,
    answers: Places,
    lists: Arc<Semaphore>,
}

/// What a path stands for. The table is `Route::of`.
#[derive(Debug, PartialEq)]
enum Route {
    Index,
    File(String),
    Live,
    Ready,
    Started,
    Metrics,
    Status,
    Config,
    Keys,
    Pools,
    Types,
    Uncertain,
    Parked,
    Usage,
    Audit,
    Events,
    Calls,
    Balances,
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
    // No path takes a body: what comes is not read, and ends the connection.
    let (head, _) = request.into_parts();
    guarded(answer(&admin, head, peer).await)
}

async fn answer(admin: &Admin, head: Parts, peer: Peer) -> Response<Reply> {
    let path = head.uri.path();
    let Some((method, route)) = Route::of(path) else {
        let sentence = format!("there is no such path: here are {}", paths());
        return refused(path, StatusCode::NOT_FOUND, &sentence);
    };
    if head.method != method {
        let sentence = format!("only {method} is taken here");
        let mut response = refused(path, StatusCode::METHOD_NOT_ALLOWED, &sentence);
        if let Ok(method) = HeaderValue::from_str(method.as_str()) {
            response.headers_mut().insert(ALLOW, method);
        }
        return response;
    }
    let server = &admin.server;
    let query = head.uri.query().unwrap_or_default();
    let who = match admin.who(&head, peer, &route) {
        Ok(who) => who,
        Err((status, sentence)) => return refused(path, status, sentence),
    };
    if route.is_api() && !route.takes_query() && !query.is_empty() {
        return refused(path, StatusCode::BAD_REQUEST, "this takes no parameters");
    }
    let noted = |what: &str, subject: &str, done: changes::Told| {
        history::note(server, who.name(), what, subject, &done);
        done
    };
    let place = match route.is_api() && method == Method::GET {
        false => None,
        true => match admin.answers.take() {
            None => return refused(path, StatusCode::SERVICE_UNAVAILABLE, TOO_MANY),
            place => place,
        },
    };
    let ok = |value| (StatusCode::OK, value);
    let answer = match route {
        Route::Index => return page::index(),
        Route::File(name) => {
            return page::file(&name).unwrap_or_else(|| {
                refused(
                    path,
                    StatusCode::NOT_FOUND,
                    "the dashboard has no such file",
                )
            });
        }
        // Listeners are bound and the state is open before the first request can come in.
        Route::Live | Route::Started => return plain(StatusCode::OK, "ok\n"),
        Route::Ready if admin.is_ready() => return plain(StatusCode::OK, "ok\n"),
        Route::Ready => return plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        Route::Metrics => return scrape::metrics(&admin.scrapes, server, &head.headers).await,
        Route::Status => ok(api::status(server, admin.is_ready()).await),
        Route::Config => ok(config::config(&server.live.load().settings)),
        Route::Keys => return aside(admin, place, api::keys).await,
        Route::Pools => ok(pools::pools(server)),
        Route::Parked => ok(api::parked(server)),
        Route::Types => ok(api::types(server)),
        Route::Uncertain => match api::uncertain(server).await {
            Ok(rows) => ok(rows),
            Err(error) => {
                let error = json!({ "error": format!("the store cannot be read: {error}") });
                (StatusCode::SERVICE_UNAVAILABLE, error)
            }
        },
        Route::Usage => history::usage(server, &who, query).await,
        Route::Audit => history::audit(server, query).await,
        Route::Events => recent::events(server, query),
        Route::Calls => recent::calls(server, query),
        Route::Balances => recent::balances(server, query),
        Route::Enable(name) => noted("enable", &name, changes::enable(server, &name)),
        Route::Disable(name) => noted("disable", &name, changes::disable(server, &name)),
        Route::Probe(name) => noted("probe", &name, changes::probe(server, &name).await),
        Route::Cancel(id) => noted("cancel", &id, changes::cancel(server, &id)),
        Route::Tenants => return aside(admin, place, move |all| tenants::list(all, &who)).await,
        Route::Activate(name) => noted("activate", &name, tenants::activate(server, &name)),
        Route::Deactivate(name) => noted("deactivate", &name, tenants::deactivate(server, &name)),
        // The reload itself knows what it changed, and notes it.
        Route::Reload => changes::reload(server, &admin.reload, who.name()).await,
    };
    told(answer, place)
}

/// A list of thousands is made away from the threads that serve clients, which a few at once would hold up for seconds. One at a
/// time: as a tree it is many times its text.
async fn aside(
    admin: &Admin,
    place: Option<Place>,
    list: impl FnOnce(&Server) -> Value + Send + 'static,
) -> Response<Reply> {
    let server = Arc::clone(&admin.server);
    // Kept until it is written, also when its client has gone.
    let turn = Arc::clone(&admin.lists).acquire_owned().await;
    let written = spawn_blocking(move || {
        let answer = told((StatusCode::OK, list(&server)), place);
        drop(turn);
        answer
    });
    written.await.unwrap_or_else(|error| {
        tracing::error!(%error, "writing a list panicked");
        told(
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                json!({ "error": PANICKED }),
            ),
            None,
        )
    })
}

const PANICKED: &str = "the list could not be written, the log says why";

/// A browser asks for six at once, and each is gone within milliseconds where it is read.
const MOST_ANSWERS: usize = 16;
const TOO_MANY: &str = "too many answers of the API are being read, ask again later";

type Row = (Method, &'static str, fn(String) -> Route);

/// Each path takes one method. `{name}` and `{id}` stand for one part of it.
const TABLE: &[Row] = &[
    (Method::GET, "/", |_| Route::Index),
    (Method::GET, "/dashboard/{name}", Route::File),
    (Method::GET, "/livez", |_| Route::Live),
    (Method::GET, "/readyz", |_| Route::Ready),
    (Method::GET, "/startupz", |_| Route::Started),
    (Method::GET, "/metrics", |_| Route::Metrics),
    (Method::GET, "/api/status", |_| Route::Status),
    (Method::GET, "/api/config", |_| Route::Config),
    (Method::GET, "/api/keys", |_| Route::Keys),
    (Method::GET, "/api/pools", |_| Route::Pools),
    (Method::GET, "/api/types", |_| Route::Types),
    (Method::GET, "/api/uncertain", |_| Route::Uncertain),
    (Method::GET, "/api/parked", |_| Route::Parked),
    (Method::GET, "/api/tenants", |_| Route::Tenants),
    (Method::GET, "/api/usage", |_| Route::Usage),
    (Method::GET, "/api/audit", |_| Route::Audit),
    (Method::GET, "/api/events", |_| Route::Events),
    (Method::GET, "/api/calls", |_| Route::Calls),
    (Method::GET, "/api/balances", |_| Route::Balances),
    (Method::POST, "/api/keys/{name}/enable", Route::Enable),
    (Method::POST, "/api/keys/{name}/disable", Route::Disable),
    (Method::POST, "/api/keys/{name}/probe", Route::Probe),
    (Method::DELETE, "/api/parked/{id}", Route::Cancel),
    (
        Method::POST,
        "/api/tenants/{name}/activate",
        Route::Activate,
    ),
    (
        Method::POST,
        "/api/tenants/{name}/deactivate",
        Route::Deactivate,
    ),
    (Method::POST, "/api/reload", |_| Route::Reload),
];

/// What there is, for whoever missed it.
fn paths() -> String {
    let path = |(method, path, _): &Row| format!("{method} {path}");
    let paths: Vec<_> = TABLE.iter().map(path).collect();
    paths.join(", ")
}

/// The part of the path that the table does not say; empty where it says all.
fn matched(template: &str, path: &str) -> Option<String> {
    let (mut ours, mut theirs) = (template.split('/'), path.split('/'));
    let mut named = String::new();
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return Some(named),
            (Some(part), Some(given)) if part.starts_with('{') => {
                named = percent_decode_str(given).decode_utf8().ok()?.into_owned();
            }
            (Some(part), Some(given)) if part == given => {}
            _ => return None,
        }
    }
}

impl Route {
    fn of(path: &str) -> Option<(Method, Self)> {
        let route = |(method, template, route): &Row| {
            Some((method.clone(), route(matched(template, path)?)))
        };
        TABLE.iter().find_map(route)
    }

    fn is_api(&self) -> bool {
        !matches!(
            self,
            Self::Index | Self::File(_) | Self::Live | Self::Ready | Self::Started | Self::Metrics
        )
    }

    fn takes_query(&self) -> bool {
        matches!(
            self,
            Self::Usage | Self::Audit | Self::Events | Self::Calls | Self::Balances
        )
    }

    /// Shows each tenant its own part.
    fn is_for_tenants(&self) -> bool {
        matches!(self, Self::Tenants | Self::Usage)
    }
}

impl Admin {
    pub fn new(server: Arc<Server>, token: Option<Secret>, reload: Asks) -> Self {
        Self {
            server,
            token,
            ready: AtomicBool::new(true),
            reload,
            scrapes: Places::new(scrape::MOST),
            answers: Places::new(MOST_ANSWERS),
            lists: Arc::new(Semaphore::new(1)),
        }
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Probes and the page answer everybody, and tell nothing that is anybody's own.
    fn who(&self, head: &Parts, peer: Peer, route: &Route) -> Result<Who, access::Refused> {
        let snapshot = self.server.live.load();
        if *route == Route::Metrics {
            access::may_scrape(head, peer, self.token.as_ref(), &snapshot.tenants)?;
        }
        if !route.is_api() {
            return Ok(Who::Admin("anybody".into()));
        }
        match access::who(head, peer, self.token.as_ref(), &snapshot.tenants)? {
            Who::Tenant(_) if !route.is_for_tenants() => Err(access::ADMINS_ONLY),
            who => Ok(who),
        }
    }
}

#[cfg(test)]
mod tests;
