//! The accept loop: it never parks for ever, never spins, and never waits for a client.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;

use super::connection::Connection;
use super::{Certificates, Drain, Limits, Peer, Reply};
use crate::background::Background;
use crate::loops::Loops;

/// Serves a bound listener until `drain` finishes or `background` stops. Returns at once; the work is in `background`.
pub fn serve<H, F>(
    listener: TcpListener,
    tls: Option<Certificates>,
    limits: &Arc<Limits>,
    loops: &Loops,
    drain: &Drain,
    background: &Background,
    handler: H,
) where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Reply>> + Send + 'static,
{
    let acceptor = Acceptor {
        tls,
        limits: Arc::clone(limits),
        loops: loops.clone(),
        drain: drain.clone(),
        background: background.clone(),
        handler,
    };
    background.spawn(acceptor.run(listener));
}

struct Acceptor<H> {
    tls: Option<Certificates>,
    limits: Arc<Limits>,
    loops: Loops,
    drain: Drain,
    background: Background,
    handler: H,
}

impl<H, F> Acceptor<H>
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Reply>> + Send + 'static,
{
    async fn run(self, listener: TcpListener) {
        tokio::select! {
            () = self.accept_for_ever(&listener) => {}
            () = self.drain.finishing() => {}
            // Connections watch the drain alone: two watches for each of them would only cost memory.
            () = self.background.stopping() => self.drain.finish(),
        }
        // Clients in the backlog believe that they are connected: closing the listener now would reset them.
        while let Ok(permit) = Arc::clone(&self.limits.connections).try_acquire_owned() {
            let accepted = poll_fn(|context| match listener.poll_accept(context) {
                Poll::Ready(Ok(accepted)) => Poll::Ready(Some(accepted)),
                Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
            });
            let Some((stream, address)) = accepted.await else {
                break;
            };
            self.start(stream, address, permit);
        }
    }

    async fn accept_for_ever(&self, listener: &TcpListener) {
        let mut trouble = Trouble::default();
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    trouble.is_over();
                    // SECURITY: each permit bounds the memory and the descriptor of one connection; once all are taken, a
                    // flood is left in the kernel's backlog. The cost: honest clients queue behind it until its
                    // connections meet their deadlines. Taken after the accept, because a listener that waits for
                    // its first client must not keep the last permit from the others.
                    if let Some(crowded) = &self.limits.crowded
                        && self.limits.connections.available_permits() == 0
                    {
                        crowded.notify_one();
                    }
                    let Ok(permit) = Arc::clone(&self.limits.connections).acquire_owned().await
                    else {
                        return;
                    };
                    self.start(stream, address, permit);
                }
                Err(error) if is_of_that_connection(&error) => {}
                Err(error) => tokio::time::sleep(trouble.pause(&error)).await,
            }
        }
    }

    fn start(&self, stream: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        let connection = Connection {
            peer: Peer {
                address,
                tls: self.tls.is_some(),
            },
            tls: self.tls.clone(),
            limits: Arc::clone(&self.limits),
            loops: self.loops.clone(),
            drain: self.drain.clone(),
            handler: self.handler.clone(),
        };
        self.background.spawn(async move {
            connection.run(stream).await;
            drop(permit);
        });
    }
}

/// Errors that accept(2) reports for the connection it would have returned: the next one may be fine.
fn is_of_that_connection(error: &io::Error) -> bool {
    let of_one = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::PERM,
        Errno::PROTO,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NONET,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::TIMEDOUT,
        Errno::INTR,
        Errno::AGAIN,
    ];
    Errno::from_io_error(error).is_some_and(|errno| of_one.contains(&errno))
}

/// One run of accept errors that are not a single connection's: no descriptors, no memory, or something unknown.
/// None of them ends the loop, because a listener that gave up looks alive and serves nobody.
#[derive(Debug, Default)]
struct Trouble {
    errors: u32,
}

impl Trouble {
    /// How long to wait before the next try. The listener stays readable all the while, so without it the loop spins.
    fn pause(&mut self, error: &io::Error) -> Duration {
        if self.errors == 0 {
            tracing::warn!(%error, "cannot accept connections; trying on. Is the limit of open files too low?");
        }
        let longest = LONGEST_PAUSE.min(FIRST_PAUSE.saturating_mul(1 << self.errors.min(10)));
        self.errors = self.errors.saturating_add(1);
        // Jitter: listeners that starve together should not return together.
        let half = longest / 2;
        half + half.mul_f64(f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX))
    }

    fn is_over(&mut self) {
        if self.errors > 0 {
            tracing::info!(errors = self.errors, "accepting connections again");
            self.errors = 0;
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Descriptors that come free must serve clients within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_second_and_start_again() {
        let error = io::Error::from(Errno::MFILE);
        let mut trouble = Trouble::default();
        assert!(trouble.pause(&error) <= FIRST_PAUSE);
        let pauses: Vec<_> = (0..100).map(|_| trouble.pause(&error)).collect();
        assert!(
            pauses[20..]
                .iter()
                .all(|pause| (LONGEST_PAUSE / 2..=LONGEST_PAUSE).contains(pause))
        );
        trouble.is_over();
        assert!(trouble.pause(&error) <= FIRST_PAUSE);
    }

    #[test]
    fn a_connection_that_is_gone_is_no_trouble_of_the_listener() {
        for (errno, of_one) in [
            (Errno::CONNABORTED, true),
            (Errno::PERM, true),
            (Errno::MFILE, false),
            (Errno::NFILE, false),
            (Errno::NOBUFS, false),
            (Errno::NOMEM, false),
            (Errno::BADF, false),
        ] {
            assert_eq!(is_of_that_connection(&errno.into()), of_one, "{errno}");
        }
    }
}
