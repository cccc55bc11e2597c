//! The socket under hyper, which a fault can take over: send bytes that no HTTP server would, close, reset.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What goes out in place of hyper's answer.
#[derive(Debug)]
pub(super) struct TakeOver {
    pub(super) bytes: Bytes,
    pub(super) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Close,
    Reset,
    /// The connection goes on.
    Stay,
}

/// Shared by the socket and by the service that answers on it.
#[derive(Debug, Default)]
pub(super) struct Script {
    next: Mutex<Option<TakeOver>>,
    /// From the first byte of a request until its answer is out.
    busy: AtomicBool,
    answered: AtomicBool,
}

impl Script {
    /// The service calls this and then answers anything: that answer is not sent.
    pub(super) fn take_over(&self, what: TakeOver) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    pub(super) fn set_answered(&self) {
        self.answered.store(true, Ordering::Release);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
pub(super) struct ScriptedStream {
    stream: TcpStream,
    script: Arc<Script>,
}

impl ScriptedStream {
    pub(super) fn new(stream: TcpStream, script: Arc<Script>) -> Self {
        Self { stream, script }
    }
}

impl AsyncRead for ScriptedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.script.busy.store(true, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ScriptedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut next = this
            .script
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(take_over) = next.as_mut() else {
            return Pin::new(&mut this.stream).poll_write(cx, buf);
        };
        while take_over.bytes.has_remaining() {
            let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &take_over.bytes))?;
            take_over.bytes.advance(written);
        }
        match take_over.end {
            // Swallowed: the bytes before it were the answer.
            End::Stay => Poll::Ready(Ok(buf.len())),
            End::Close => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            End::Reset => {
                // Closing with no linger is what sends RST in place of FIN.
                this.stream.set_zero_linger()?;
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        if this.script.answered.swap(false, Ordering::AcqRel) {
            *this
                .script
                .next
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = None;
            this.script.busy.store(false, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
