//! A client's socket, and the look at it that tells whether the client is still there.
//!
//! hyper looks for the end of the stream only while it has nothing left to parse: a line break behind the request, or the
//! start of the next one, hides from it that the client closed. So the socket is watched beside hyper.
//!
//! A client that only closes its sending half (`nc -N`) is taken for one that hung up: the kernel shows the same FIN for
//! both until an answer is written, and an answer written to a client that is gone is a paid task that nobody knows of.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// In halves, because only the half that is owned alone saves the system call that finds nothing left to read.
pub(super) struct Socket {
    read: OwnedReadHalf,
    line: Line,
}

/// The socket, to be looked at.
#[derive(Clone)]
pub(super) struct Line(Arc<OwnedWriteHalf>);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        let line = Line(Arc::new(write));
        Self { read, line }
    }

    pub(super) fn line(&self) -> Line {
        self.line.clone()
    }

    fn poll_written(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let stream = self.line.stream();
        loop {
            ready!(stream.poll_write_ready(context))?;
            match write(stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                wrote => return Poll::Ready(wrote),
            }
        }
    }
}

impl Line {
    /// Waits until the client has closed, whatever lies unread before that.
    pub(super) async fn hung_up(&self) {
        // The socket is not registered for urgent data, so all that can end this wait is the end of the stream. To wait
        // until it is readable would spin on what hyper leaves unread.
        let _ = self.0.ready(Interest::PRIORITY).await;
    }

    /// Asks the kernel now: the runtime hears of a FIN only when it next looks at all its sockets.
    pub(super) fn has_hung_up(&self) -> bool {
        let mut look = [PollFd::new(self.stream(), PollFlags::RDHUP)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut look, Some(&now)).is_ok_and(|found| found > 0)
    }

    fn stream(&self) -> &TcpStream {
        (*self.0).as_ref()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().read).poll_read(context, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(context, |stream| stream.try_write(data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(context, |stream| stream.try_write_vectored(data))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is held back here.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(self.line.stream(), Shutdown::Write).map_err(Into::into))
    }
}
