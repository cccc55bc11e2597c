//! How many bytes the other side may send us, whatever they are.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP stream that ends in an error when more comes than was granted.
///
/// SECURITY: it lies beneath the proxy's tunnel, TLS and HTTP, so nothing in them can go on for ever: no interim answers
/// (hyper skips any number of `100 Continue`), no records without content, no chunks of one byte. A deadline alone would let
/// such a flood take a processor from all others until then.
pub(super) struct Bounded {
    tcp: TcpStream,
    allowance: Allowance,
}

/// What may still come. A read takes all that is there, so it may overdraw this by its buffer.
#[derive(Clone)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Bounded {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            allowance: Allowance(Arc::new(AtomicUsize::new(FOR_CONNECTING))),
        }
    }

    pub(super) fn allowance(&self) -> Allowance {
        self.allowance.clone()
    }
}

impl Allowance {
    /// Relaxed is enough: the connection is driven by the same task that grants.
    pub(super) fn grant(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.allowance.left();
        if left == 0 {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
        self.allowance
            .grant(left.saturating_sub(buf.filled().len() - before));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("more bytes came than a good answer can have")]
struct TooMuch;

/// A long chain of certificates is 20 kB; rustls takes handshake messages of up to 64 KiB.
const FOR_CONNECTING: usize = 128 * 1024;
