//! A byte stream to the vendor that knows whether anything of ours went into it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::allowance::{Allowance, Bounded};
use crate::loops::Calling;

pub(super) struct Stream {
    under: Under,
    written: Written,
    _calling: Calling,
}

pub(super) enum Under {
    Plain(Bounded),
    Tls(Box<TlsStream<Bounded>>),
}

/// How many plaintext bytes the stream has taken. While a number does not move, no byte of a request can have reached
/// the vendor; once it moved, nobody can know. Under TLS it counts what went in, so it errs to the safe side.
#[derive(Clone, Default)]
pub(super) struct Written(Arc<AtomicU64>);

impl Written {
    /// Relaxed is enough: the connection is driven by the same task that asks.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Stream {
    pub(super) fn new(under: Under, calling: Calling) -> Self {
        Self {
            under,
            written: Written::default(),
            _calling: calling,
        }
    }

    pub(super) fn written(&self) -> Written {
        self.written.clone()
    }

    pub(super) fn allowance(&self) -> Allowance {
        match &self.under {
            Under::Plain(tcp) => tcp.allowance(),
            Under::Tls(tls) => tls.get_ref().0.allowance(),
        }
    }

    fn counted(&self, taken: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let perhaps = match (&taken, &self.under) {
            (Poll::Ready(Ok(bytes)), _) => *bytes,
            // One call may send some records and fail at the next, and then it says only that it failed.
            (Poll::Ready(Err(_)), Under::Tls(_)) => 1,
            _ => 0,
        };
        self.written.0.fetch_add(perhaps as u64, Ordering::Relaxed);
        taken
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.under {
            Under::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Under::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = match &mut self.under {
            Under::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Under::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        };
        self.counted(taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = match &mut self.under {
            Under::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bytes),
            Under::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bytes),
        };
        self.counted(taken)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.under {
            Under::Plain(tcp) => tcp.is_write_vectored(),
            Under::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.under {
            Under::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Under::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.under {
            Under::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Under::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
