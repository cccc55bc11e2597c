//! The outgoing call: one request, one answer, and the truth about whether it left.

use std::fmt;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::response;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Uri};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connect::Connector;
use super::connection::{Chunks, Connection};
use super::pool::{LONGEST_IDLE, LONGEST_IDLE_FOR_SUBMITS, Pool};
use super::target::{Target, TargetError};
use super::way::Way;
use crate::background::Background;
use crate::config::settings::Vendor;
use crate::loops::Loops;

/// Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    connector: Connector,
    idle: Pool,
    calls: Semaphore,
    long_calls: Semaphore,
}

/// A request, built from scratch: what is not named here does not go out.
#[derive(Clone, Default)]
pub struct Outgoing {
    pub method: Method,
    /// Below the vendor's url, starting with a slash: `/res.php?key=…`
    pub path_and_query: Bytes,
    pub content_type: Option<Bytes>,
    pub user_agent: Option<Bytes>,
    /// In pieces, so that a rewritten body shares the buffers of the original.
    pub body: Vec<Bytes>,
    pub kind: Kind,
    /// Cancelled when the client left. Before the first byte went out that ends the call; afterwards it is ignored.
    pub abandoned: Option<CancellationToken>,
}

/// What a second copy of the request would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// It would cost money or change something: sent at most once, over a connection that is new or was just used.
    #[default]
    Once,
    /// As `Once`, and the vendor answers only when the task is solved.
    Long,
    /// Nothing: when a reused connection breaks, it is sent again, once.
    Repeatable,
}

#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<HeaderValue>,
    /// `Access-Control-Allow-Origin`
    pub acao: Option<HeaderValue>,
    pub retry_after: Option<Duration>,
    /// May share the connection's read buffer: copy what is kept for long.
    pub body: Bytes,
}

/// A solution, or an echo of the key, must not reach a log by way of `{:?}`.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {} bytes)", self.status, self.body.len())
    }
}

/// Neither text holds the url, the query, or anything else of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Provably: no byte of it reached the vendor, and none will.
    #[error("the vendor was not reached: {why}")]
    NotSent { why: String },
    /// Something may have reached the vendor. Whether it was acted upon nobody can know.
    #[error("the vendor gave no usable answer: {why}")]
    Unknown { why: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("the vendor's url {0}")]
    Target(#[from] TargetError),
    #[error("ca_file cannot be used; it must hold certificates in PEM format")]
    CaUnusable,
    #[error("ca_file holds no certificate; it must hold at least one in PEM format")]
    CaEmpty,
    #[error("TLS cannot be set up with this build's cryptography")]
    Tls,
    #[error(
        "resolver = \"dns\" needs a name server in /etc/resolv.conf, and none can be read there"
    )]
    NameServers,
}

impl Client {
    pub fn new(
        url: &str,
        ca_pem: Option<&[u8]>,
        connect_timeout: Duration,
        background: &Background,
    ) -> Result<Self, ClientError> {
        let target = Target::parse(url)?;
        let (way, loops) = (Way::default(), Loops::default());
        let connector = Connector::new(target, ca_pem, connect_timeout, way, loops)?;
        Ok(Self::over(connector, background))
    }

    pub fn of_vendor(
        vendor: &Vendor,
        loops: &Loops,
        background: &Background,
    ) -> Result<Self, ClientError> {
        let connector = Connector::new(
            Target::parse(&vendor.profile.url)?,
            vendor.ca_pem.as_deref(),
            vendor.connect_timeout,
            vendor.way.clone(),
            loops.clone(),
        )?;
        Ok(Self::over(connector, background))
    }

    fn over(connector: Connector, background: &Background) -> Self {
        let inner = Arc::new(Inner {
            connector,
            idle: Pool::default(),
            calls: Semaphore::new(MOST_CALLS),
            long_calls: Semaphore::new(MOST_LONG_CALLS),
        });
        evict_now_and_then(&inner, background);
        Self(inner)
    }

    /// Ends at `deadline` at the latest, whatever the vendor does. Redirects are answers, never followed.
    pub async fn call(&self, request: Outgoing, deadline: Instant) -> Result<Answer, CallError> {
        let limits = Limits {
            deadline,
            abandoned: request.abandoned.as_ref(),
        };
        let target = self.0.target(&request)?;
        // First, so that a long call that waits for its turn takes none of the others'.
        let _long_permit = match request.kind {
            Kind::Long => Some(limits.hold(self.0.long_calls.acquire()).await?),
            Kind::Once | Kind::Repeatable => None,
        };
        // SECURITY: a vendor that answers nothing holds this many sockets and no more; others wait for their deadline.
        let _permit = limits.hold(self.0.calls.acquire()).await?;
        let mut reuse = true;
        let mut left_before = false;
        loop {
            let idle = if reuse {
                self.0
                    .idle
                    .take(Instant::now(), request.kind.longest_idle())
            } else {
                None
            };
            let reused = idle.is_some();
            let attempt = self.0.attempt(idle, &request, &target, &limits).await;
            match attempt {
                Ok((connection, head, body)) => {
                    let now = Instant::now();
                    self.0.idle.put(connection, now);
                    return Ok(answer(&head, body));
                }
                // The next round opens a new connection, so there is one at most.
                Err(broken)
                    if reused
                        && !broken.in_vain
                        && (!broken.left || request.kind == Kind::Repeatable) =>
                {
                    tracing::debug!(
                        why = broken.why,
                        "a reused vendor connection broke, trying a new one"
                    );
                    reuse = false;
                    left_before |= broken.left;
                }
                Err(Broken { why, left, .. }) if left || left_before => {
                    return Err(CallError::Unknown { why });
                }
                Err(Broken { why, .. }) => return Err(CallError::NotSent { why }),
            }
        }
    }
}

impl Inner {
    async fn attempt(
        &self,
        idle: Option<Connection>,
        request: &Outgoing,
        target: &Uri,
        limits: &Limits<'_>,
    ) -> Result<(Connection, response::Parts, Bytes), Broken> {
        let mut connection = match idle {
            Some(connection) => connection,
            // Boxed, because each call would keep room for it, and most find a connection.
            None => match Box::pin(limits.hold(self.connector.connect())).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(why)) => {
                    return Err(Broken {
                        why,
                        left: false,
                        in_vain: false,
                    });
                }
                Err(late) => {
                    return Err(Broken {
                        why: late.to_string(),
                        left: false,
                        in_vain: true,
                    });
                }
            },
        };
        if request
            .abandoned
            .as_ref()
            .is_some_and(CancellationToken::is_cancelled)
        {
            return Err(Broken {
                why: CLIENT_LEFT.to_owned(),
                left: false,
                in_vain: true,
            });
        }
        let written = connection.written();
        let before = written.count();
        let left = || written.count() != before;
        let outcome = {
            let mut work = pin!(connection.exchange(self.http(request, target)));
            let mut late = pin!(sleep_until(limits.deadline));
            let mut may_abandon = true;
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut work => break outcome.map_err(|why| (why, false)),
                    () = limits.abandoned(), if may_abandon => {
                        if !left() {
                            break Err((CLIENT_LEFT.to_owned(), true));
                        }
                        may_abandon = false;
                    }
                    () = &mut late => break Err((DEADLINE.to_owned(), true)),
                }
            }
        };
        match outcome {
            Ok((head, body)) => Ok((connection, head, body)),
            Err((why, in_vain)) => Err(Broken {
                why,
                left: left(),
                in_vain,
            }),
        }
    }

    fn target(&self, request: &Outgoing) -> Result<Uri, CallError> {
        let prefix = &self.connector.target().prefix;
        let whole = match prefix.is_empty() {
            true => request.path_and_query.clone(),
            false => [prefix.as_bytes(), &request.path_and_query].concat().into(),
        };
        if !whole.starts_with(b"/") {
            return Err(CallError::NotSent {
                why: "the path does not start with a slash".to_owned(),
            });
        }
        PathAndQuery::from_maybe_shared(whole)
            .map(Uri::from)
            .map_err(|_| CallError::NotSent {
                why: "the path or query cannot be sent over HTTP".to_owned(),
            })
    }

    fn http(&self, request: &Outgoing, target: &Uri) -> Request<Chunks> {
        let length: usize = request.body.iter().map(Bytes::len).sum();
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::HOST, self.connector.target().host.clone());
        pass(
            &mut headers,
            header::USER_AGENT,
            request.user_agent.as_ref(),
        );
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        pass(
            &mut headers,
            header::CONTENT_TYPE,
            request.content_type.as_ref(),
        );
        if length > 0 || request.method == Method::POST {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let mut http = Request::new(Chunks::new(request.body.clone()));
        *http.method_mut() = request.method.clone();
        *http.uri_mut() = target.clone();
        *http.headers_mut() = headers;
        http
    }
}

/// A value that HTTP cannot carry is left out; from a client's own head it cannot come.
fn pass(headers: &mut HeaderMap, name: HeaderName, value: Option<&Bytes>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_maybe_shared(value.clone()).ok())
    {
        headers.insert(name, value);
    }
}

fn answer(head: &response::Parts, body: Bytes) -> Answer {
    let header = |name: HeaderName| head.headers.get(name).cloned();
    Answer {
        status: head.status.as_u16(),
        content_type: header(header::CONTENT_TYPE),
        acao: header(header::ACCESS_CONTROL_ALLOW_ORIGIN),
        retry_after: header(header::RETRY_AFTER).and_then(|value| retry_after(&value)),
        body,
    }
}

/// In seconds. A date is not read: our clock and the vendor's would have to agree.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let seconds: u64 = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

/// Why an attempt ended without an answer.
struct Broken {
    why: String,
    /// Bytes may have reached the vendor.
    left: bool,
    /// Another attempt would end in the same way.
    in_vain: bool,
}

struct Limits<'a> {
    deadline: Instant,
    abandoned: Option<&'a CancellationToken>,
}

impl Limits<'_> {
    /// For steps before the first byte.
    async fn hold<T>(&self, work: impl Future<Output = T>) -> Result<T, CallError> {
        let why = tokio::select! {
            biased;
            done = work => return Ok(done),
            () = self.abandoned() => CLIENT_LEFT,
            () = sleep_until(self.deadline) => DEADLINE,
        };
        Err(CallError::NotSent {
            why: why.to_owned(),
        })
    }

    async fn abandoned(&self) {
        match self.abandoned {
            Some(token) => token.cancelled().await,
            None => pending().await,
        }
    }
}

impl Kind {
    fn longest_idle(self) -> Duration {
        match self {
            Self::Once | Self::Long => LONGEST_IDLE_FOR_SUBMITS,
            Self::Repeatable => LONGEST_IDLE,
        }
    }
}

/// Ends with the client: a reload may replace it long before the process stops.
fn evict_now_and_then(inner: &Arc<Inner>, background: &Background) {
    let inner = Arc::downgrade(inner);
    let stop = background.clone();
    background.spawn(async move {
        loop {
            tokio::select! {
                () = stop.stopping() => return,
                () = sleep(LONGEST_IDLE / 4) => {}
            }
            let Some(inner) = inner.upgrade() else { return };
            inner.idle.evict(Instant::now());
        }
    });
}

/// Half of the common limit of 1024 open files; the other half is the clients'.
const MOST_CALLS: usize = 512;
/// Of these. One may last ten minutes, in which a submit or poll is answered a thousand times: they are never kept out.
const MOST_LONG_CALLS: usize = 128;
/// A vendor that says "tomorrow" is asked again within the hour.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
const CLIENT_LEFT: &str = "the client left before anything was sent";
const DEADLINE: &str = "the deadline passed";

#[cfg(test)]
mod tests;
