//! One connection, from accept to close.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::io::{ClientIo, Turn};
use super::line::{Line, Socket};
use super::{Certificates, Drain, Limits, Peer, Receipt, Reply};
use crate::loops::Loops;

pub(super) struct Connection<H> {
    pub(super) peer: Peer,
    pub(super) tls: Option<Certificates>,
    pub(super) limits: Arc<Limits>,
    pub(super) loops: Loops,
    pub(super) drain: Drain,
    pub(super) handler: H,
}

impl<H, F> Connection<H>
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Reply>> + Send + 'static,
{
    pub(super) async fn run(mut self, stream: TcpStream) {
        let deadline = Instant::now() + self.limits.header;
        // Answers are small and written whole; waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        if !self.speaks(&stream, deadline).await {
            return;
        }
        // After the first byte: before it our own end may not be noted yet.
        if self.loops.are_closed_by(self.peer.address) {
            tracing::error!(
                peer = %self.peer.address,
                help = "a rule of this host redirects the vendor's port: exempt sidekey's user from it",
                "a loop: sidekey's own call to the vendor came back to it and was dropped"
            );
            return;
        }
        let socket = Socket::new(stream);
        let line = socket.line();
        // Boxed, so that a client which never speaks is not given the room for it.
        match self.tls.take() {
            None => Box::pin(self.converse(socket, line, deadline)).await,
            Some(certificates) => {
                match timeout_at(deadline, Box::pin(certificates.handshake(socket))).await {
                    Ok(Ok(stream)) => Box::pin(self.converse(stream, line, deadline)).await,
                    Ok(Err(error)) => {
                        tracing::debug!(peer = %self.peer.address, %error, "TLS handshake failed")
                    }
                    Err(_) => tracing::debug!(peer = %self.peer.address, "TLS handshake too slow"),
                }
            }
        }
    }

    /// Waits for the first byte, so that a client which sends none costs neither hyper's 8 KiB buffer nor the state of
    /// a conversation. To peek, because a fresh socket is called readable before anything was tried.
    async fn speaks(&self, stream: &TcpStream, deadline: Instant) -> bool {
        let mut byte = [0];
        let mut first = pin!(stream.peek(&mut byte));
        let first = tokio::select! {
            first = &mut first => first,
            () = sleep_until(deadline) => return false,
            () = self.limits.must_leave(|| false) => return false,
            () = self.drain.finishing() => match timeout(LAST_CALL, first).await {
                Ok(first) => first,
                Err(_) => return false,
            },
        };
        matches!(first, Ok(1..))
    }

    pub(super) async fn converse<S>(self, stream: S, line: Line, deadline: Instant)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let Self {
            peer,
            limits,
            drain,
            handler,
            ..
        } = self;
        let turn = Arc::new(Turn::new());
        let io = ClientIo::new(
            stream,
            line.clone(),
            Arc::clone(&limits),
            Arc::clone(&turn),
            deadline,
        );
        let service = service_fn(|request| {
            turn.begin();
            let (turn, line, drain) = (Arc::clone(&turn), line.clone(), drain.clone());
            let handler = handler.clone();
            // Boxed, because hyper keeps room for this future in every connection, idle ones too. The handler is called
            // inside, because its future is large and would be moved otherwise.
            Box::pin(async move {
                let mut response = tokio::select! {
                    // First, so that what is ready at once is said also to a client that closed its half at once.
                    biased;
                    response = handler(request, peer) => response,
                    () = hung_up(&line, &turn) => return Err(HungUp),
                };
                // hyper closes after a request that was not read to its end, but does not say so.
                if drain.is_leaving() || !turn.is_request_complete() {
                    let headers = response.headers_mut();
                    headers.insert(CONNECTION, HeaderValue::from_static("close"));
                }
                turn.end(response.extensions_mut().remove::<Receipt>());
                Ok(response)
            })
        });
        let mut connection = pin!(
            http1::Builder::new()
                // `ClientIo` keeps the deadlines: hyper has one for both the head and the idle time before it.
                .header_read_timeout(None)
                // The buffer alone is no bound: its last growth may double it.
                .max_buf_size(MAX_HEAD)
                .max_header_size(MAX_HEAD)
                .serve_connection(TokioIo::new(io), service)
        );
        let closing = async {
            drain.finishing().await;
            if !turn.has_begun() {
                sleep(LAST_CALL).await;
            }
        };
        let ended = tokio::select! {
            // First, so that bytes that are here already are seen as the request that they are.
            biased;
            ended = connection.as_mut() => ended,
            () = closing => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = limits.must_leave(|| turn.is_answering()) => return,
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %peer.address, %error, "connection ended early");
        }
    }
}

/// A client whose request has come whole and who is not there any more: nothing is said to it.
#[derive(Debug, thiserror::Error)]
#[error("the client hung up before it was answered")]
struct HungUp;

async fn hung_up(line: &Line, turn: &Turn) {
    line.hung_up().await;
    // It closed behind a body that is still being read, and the answer may need no more of it.
    while !turn.is_request_complete() {
        sleep(LOOK).await;
    }
}

/// Between two looks whether a body has come to its end, which its deadlines bound.
const LOOK: Duration = Duration::from_millis(50);

/// Room for 60 KiB of target (base64 in a GET) and some headers. SECURITY: hyper's default of 400 KiB would let 10,000
/// unfinished heads take 4 GB. Also the size of a read of a body and of a write of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// A client that connected just before the listener closed gets this long to send its request.
const LAST_CALL: Duration = Duration::from_secs(1);
