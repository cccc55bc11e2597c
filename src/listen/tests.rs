//! Raw sockets against a listener.

mod framing;
mod hang_up;
mod loops;
mod overload;
mod slow;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::body::{BodyBudget, BodyError, read_body};
use super::gate::{Violation, gate};
use super::*;
use crate::background::Background;
use crate::config::settings::ListenAddress;
use crate::loops::Loops;

/// A listener whose handler gates, reads the body and says what it understood.
struct Server {
    address: SocketAddr,
    drain: Drain,
    loops: Loops,
    background: Background,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Calls that passed the gate with a whole body: what would reach the vendor.
    calls: AtomicUsize,
    /// Calls to `/load.php` wait for this.
    go_on: Notify,
}

const MAX_BODY: usize = 1024 * 1024;

impl Server {
    async fn start(limits: Limits) -> Self {
        Self::start_with(limits, None).await
    }

    #[expect(clippy::unused_async, reason = "to bind needs a runtime")]
    async fn start_with(limits: Limits, tls: Option<Certificates>) -> Self {
        let listener = bind(&[here("127.0.0.1:0")])
            .expect("loopback is there")
            .remove(0);
        let server = Self {
            address: listener.local_addr().expect("it is bound"),
            drain: Drain::new(),
            loops: Loops::default(),
            background: Background::new(),
            seen: Arc::default(),
        };
        let limits = Arc::new(limits);
        let handler = handler(Arc::clone(&server.seen), Arc::clone(&limits));
        serve(
            listener,
            tls,
            &limits,
            &server.loops,
            &server.drain,
            &server.background,
            handler,
        );
        server
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("the listener is open")
    }

    /// What comes back for these bytes until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut client = self.connect().await;
        client.write_all(bytes).await.expect("the server reads");
        hear_out(&mut client).await
    }

    fn calls(&self) -> usize {
        self.seen.calls.load(Ordering::Relaxed)
    }
}

fn handler(
    seen: Arc<Seen>,
    limits: Arc<Limits>,
) -> impl Fn(Request<Incoming>, Peer) -> Pin<Box<dyn Future<Output = Response<Reply>> + Send>>
+ Clone
+ Send
+ Sync {
    let budget = Arc::new(BodyBudget::new(4 * MAX_BODY));
    move |request, _| {
        let (seen, budget, limits) = (Arc::clone(&seen), Arc::clone(&budget), Arc::clone(&limits));
        Box::pin(async move { understand(request, &seen, &budget, &limits).await })
    }
}

async fn understand(
    request: Request<Incoming>,
    seen: &Seen,
    budget: &Arc<BodyBudget>,
    limits: &Limits,
) -> Response<Reply> {
    let (head, body) = request.into_parts();
    if let Err(refusal) = gate(&head, &["vendor".to_owned()]) {
        return refusal.response();
    }
    let body = match read_body(body, MAX_BODY, budget, limits).await {
        Ok(body) => body.bytes,
        Err(BodyError::Broken) => return Violation::Body.response(),
        Err(error) => return Response::new(Reply::from(format!("{error:?}"))),
    };
    seen.calls.fetch_add(1, Ordering::Relaxed);
    if head.uri.path() == "/load.php" {
        seen.go_on.notified().await;
    }
    let start = String::from_utf8_lossy(&body[..body.len().min(100)]);
    Response::new(Reply::from(format!(
        "[{} {} {start}]",
        head.uri,
        body.len()
    )))
}

fn here(address: &str) -> ListenAddress {
    let address = address.parse().expect("an address");
    ListenAddress {
        address,
        written: true,
    }
}

/// Everything until the server closes; a reset counts as a close.
async fn hear_out(client: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let reading = client.read_to_end(&mut heard);
    let ended = tokio::time::timeout(Duration::from_secs(20), reading).await;
    assert!(
        ended.is_ok(),
        "the server does not close; it said {:?}",
        String::from_utf8_lossy(&heard)
    );
    String::from_utf8_lossy(&heard).into_owned()
}

/// One answer of a connection that stays open.
async fn hear_one(client: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut heard = String::new();
    while !heard.contains("\r\n\r\n") || !heard.ends_with(']') {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(20), client.read(&mut byte)).await;
        assert_eq!(
            read.expect("an answer comes")
                .expect("the connection lives"),
            1,
            "closed after {heard:?}"
        );
        heard.push(char::from(byte[0]));
    }
    heard
}

const POLL: &[u8] = b"GET /res.php?id=1 HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST_POLL: &[u8] = b"GET /res.php?id=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn requests_share_a_connection() {
    let server = Server::start(Limits::new(10)).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.write_all(POLL).await.expect("it is open");
        assert!(hear_one(&mut client).await.ends_with("[/res.php?id=1 0 ]"));
    }
}

#[tokio::test]
async fn both_families_and_a_skipped_default() {
    let mut addresses = vec![here("127.0.0.1:0"), here("[::1]:0")];
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        addresses[1].written = false;
        assert_eq!(bind(&addresses).expect("the default is skipped").len(), 1);
    } else {
        assert_eq!(bind(&addresses).expect("both bind").len(), 2);
        // The wildcard of IPv6 must leave room for that of IPv4.
        let port = bind(&[here("0.0.0.0:0")]).expect("it binds")[0]
            .local_addr()
            .expect("bound")
            .port();
        let both = [
            here(&format!("0.0.0.0:{port}")),
            here(&format!("[::]:{port}")),
        ];
        assert_eq!(bind(&both).expect("both bind").len(), 2);
    }
    // TEST-NET-1 belongs to no machine.
    let foreign = here("192.0.2.1:1");
    assert!(
        bind(&[foreign])
            .expect_err("it was written")
            .to_string()
            .contains("192.0.2.1:1")
    );
    assert!(
        bind(&[ListenAddress {
            written: false,
            ..foreign
        }])
        .expect("a default")
        .is_empty()
    );
}

#[tokio::test]
async fn a_taken_port_is_an_error_even_for_a_default() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("bound");
    assert!(
        bind(&[ListenAddress {
            address,
            written: false
        }])
        .is_err()
    );
}

#[tokio::test]
async fn while_leaving_every_answer_says_close_and_new_clients_are_served() {
    let server = Server::start(Limits::new(10)).await;
    let mut idle = server.connect().await;
    idle.write_all(POLL).await.expect("it is open");
    hear_one(&mut idle).await;
    server.drain.leave();
    idle.write_all(POLL).await.expect("it is open still");
    let answer = hear_out(&mut idle).await;
    assert!(
        answer.contains("connection: close") && answer.contains("[/res.php"),
        "{answer}"
    );
    let answer = server.exchange(POLL).await;
    assert!(
        answer.contains("connection: close") && answer.contains("[/res.php"),
        "{answer}"
    );
}

#[tokio::test]
async fn finishing_closes_idle_connections_and_lets_running_requests_end() {
    let server = Server::start(Limits::new(10)).await;
    let (mut idle, mut fresh, mut busy) = (
        server.connect().await,
        server.connect().await,
        server.connect().await,
    );
    idle.write_all(POLL).await.expect("it is open");
    hear_one(&mut idle).await;
    busy.write_all(b"GET /load.php HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("it is open");
    until(|| server.calls() == 2).await;
    server.background.ask_to_stop();
    assert_eq!(hear_out(&mut idle).await, "");
    fresh.write_all(POLL).await.expect("it came in time");
    assert!(hear_out(&mut fresh).await.contains("[/res.php"));
    server.seen.go_on.notify_one();
    let answer = hear_out(&mut busy).await;
    assert!(
        answer.contains("connection: close") && answer.contains("[/load.php"),
        "{answer}"
    );
    drop((idle, fresh, busy));
    assert_eq!(server.background.wait(Duration::from_secs(10)).await, 0);
    assert!(TcpStream::connect(server.address).await.is_err());
}

async fn until(condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the condition never came true");
}
