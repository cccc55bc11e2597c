//! A client's byte stream with the deadlines that hyper does not keep.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::framing::{Framing, Violation};
use super::line::Line;
use super::{Limits, Receipt};

/// What the stream and the service of one connection know of each other.
pub(super) struct Turn {
    /// Turns to speak, ours and the client's: odd while a request is being answered.
    turns: AtomicUsize,
    /// Requests of which the last byte was read.
    complete: AtomicUsize,
    start: Instant,
    /// When the last answer was ready, in milliseconds from `start`.
    answered: AtomicU64,
    /// For answers of which nothing is written yet.
    receipts: Mutex<Vec<Receipt>>,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self {
            turns: AtomicUsize::new(0),
            complete: AtomicUsize::new(0),
            start: Instant::now(),
            answered: AtomicU64::new(0),
            receipts: Mutex::default(),
        }
    }

    pub(super) fn begin(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self, receipt: Option<Receipt>) {
        if let Some(receipt) = receipt {
            self.receipts().push(receipt);
        }
        let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answered.store(passed, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has come, once.
    pub(super) fn has_begun(&self) -> bool {
        self.turns() > 0
    }

    pub(super) fn is_answering(&self) -> bool {
        self.turns() % 2 == 1
    }

    /// Nothing of the request that is being answered is left to read.
    pub(super) fn is_request_complete(&self) -> bool {
        let requests = self.turns().div_ceil(2);
        self.complete.load(Ordering::Relaxed) >= requests
    }

    fn receipts(&self) -> MutexGuard<'_, Vec<Receipt>> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> usize {
        self.turns.load(Ordering::Relaxed)
    }

    fn answered(&self) -> Instant {
        self.start + Duration::from_millis(self.answered.load(Ordering::Relaxed))
    }
}

pub(super) struct ClientIo<S> {
    stream: S,
    line: Line,
    limits: Arc<Limits>,
    framing: Framing,
    hearing: Hearing,
    read_alarm: Alarm,
    write_alarm: Alarm,
    /// Set while the client takes nothing.
    write_deadline: Option<Instant>,
    closing: Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    /// Our half is being closed.
    Half,
    /// The client is heard out until then.
    Lingering(Instant),
    /// Nothing more is wanted from the client.
    Done,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientIo<S> {
    /// `deadline` is that of the first head.
    pub(super) fn new(
        stream: S,
        line: Line,
        limits: Arc<Limits>,
        turn: Arc<Turn>,
        deadline: Instant,
    ) -> Self {
        Self {
            stream,
            line,
            limits,
            framing: Framing::default(),
            hearing: Hearing {
                turn,
                seen: 0,
                heard: true,
                head: Some(deadline),
            },
            read_alarm: Alarm::default(),
            write_alarm: Alarm::default(),
            write_deadline: None,
            closing: Closing::No,
        }
    }

    /// Judges what was read after `before`. What must not reach hyper is taken back.
    fn judge(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let judged = self.framing.check(&buf.filled()[before..]);
        self.hearing
            .turn
            .complete
            .store(self.framing.complete(), Ordering::Relaxed);
        let Err(Violation { at }) = judged else {
            return Ok(());
        };
        buf.set_filled(before + at);
        // Nothing read would mean that the client closed.
        if at == 0 {
            self.read_refused(buf)
        } else {
            Ok(())
        }
    }

    fn read_refused(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        buf.put_slice(self.framing.instead(buf.remaining())?);
        Ok(())
    }

    fn poll_written(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let wants_receipt = !self.hearing.turn.receipts().is_empty();
        // As late as can be: what is written to a client that is gone is lost, and the kernel says so only afterwards.
        // A reset afterwards proves nothing: clients that have read all they want may close with one.
        if wants_receipt && self.line.has_hung_up() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match write(Pin::new(&mut self.stream), context) {
            Poll::Ready(wrote) => {
                self.write_deadline = None;
                if wants_receipt && matches!(wrote, Ok(1..)) {
                    let receipts = std::mem::take(&mut *self.hearing.turn.receipts());
                    receipts.into_iter().for_each(Receipt::sign);
                }
                Poll::Ready(wrote)
            }
            Poll::Pending => self.poll_write_deadline(context),
        }
    }

    fn poll_write_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let deadline = *self
            .write_deadline
            .get_or_insert_with(|| Instant::now() + self.limits.write_idle);
        ready!(self.write_alarm.poll(context, deadline));
        self.closing = Closing::Done;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.framing.is_refused() {
            return Poll::Ready(me.read_refused(buf));
        }
        let before = buf.filled().len();
        match Pin::new(&mut me.stream).poll_read(context, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == before => {
                me.closing = Closing::Done;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => {
                me.hearing.hears();
                Poll::Ready(me.judge(buf, before))
            }
            Poll::Ready(Err(error)) => {
                me.closing = Closing::Done;
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                let deadline = me.hearing.deadline(&me.limits);
                ready!(me.read_alarm.poll(context, deadline));
                me.closing = Closing::Done;
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_written(context, |stream, context| stream.poll_write(context, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_written(context, |stream, context| {
            stream.poll_write_vectored(context, data)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        match Pin::new(&mut me.stream).poll_flush(context) {
            Poll::Ready(flushed) => {
                me.write_deadline = None;
                Poll::Ready(flushed)
            }
            // TLS writes what is left of its records here.
            Poll::Pending => me.poll_write_deadline(context).map_ok(|_| ()),
        }
    }

    /// Closes our half, then hears the client out if it is in the middle of a message: to close a socket with unread
    /// bytes is a reset, and a reset takes the answer away from a client that is still sending.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        loop {
            match me.closing {
                Closing::Done => return Pin::new(&mut me.stream).poll_shutdown(context),
                Closing::No => me.closing = Closing::Half,
                Closing::Half => {
                    match Pin::new(&mut me.stream).poll_shutdown(context) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => return me.poll_write_deadline(context).map_ok(|_| ()),
                    }
                    me.closing = Closing::Lingering(Instant::now() + LINGER);
                }
                Closing::Lingering(until) => {
                    let mut scrap = [0; 8 * 1024];
                    let mut scrap = ReadBuf::new(&mut scrap);
                    match Pin::new(&mut me.stream).poll_read(context, &mut scrap) {
                        Poll::Ready(Ok(()))
                            if !scrap.filled().is_empty() && Instant::now() < until =>
                        {
                            me.framing.refuse();
                        }
                        Poll::Ready(_) => return Poll::Ready(Ok(())),
                        // An idle client has nothing to lose, and may not notice our close before its next request.
                        Poll::Pending if me.framing.is_between_messages() => {
                            return Poll::Ready(Ok(()));
                        }
                        Poll::Pending => return me.read_alarm.poll(context, until).map(Ok),
                    }
                }
            }
        }
    }
}

/// What is awaited from the client, and since when.
struct Hearing {
    turn: Arc<Turn>,
    /// The turn as last seen.
    seen: usize,
    /// Bytes came since then.
    heard: bool,
    head: Option<Instant>,
}

impl Hearing {
    fn hears(&mut self) {
        self.catch_up();
        self.heard = true;
    }

    /// What was heard in an earlier turn says nothing of this one.
    fn catch_up(&mut self) -> usize {
        let turn = self.turn.turns();
        if turn != self.seen {
            self.seen = turn;
            self.heard = false;
            self.head = None;
        }
        turn
    }

    /// When to give up on a client that sends nothing now.
    fn deadline(&mut self, limits: &Limits) -> Instant {
        let turn = self.catch_up();
        if turn % 2 == 1 {
            // Never: a body has its own deadlines, and an answer may take minutes. But the alarm must ring once in a
            // while, because hyper does not ask for bytes again when the answer is out.
            Instant::now() + limits.idle
        } else if self.heard {
            *self
                .head
                .get_or_insert_with(|| Instant::now() + limits.header)
        } else {
            self.turn.answered() + limits.idle
        }
    }
}

/// A timer for deadlines that mostly move later: it is left to ring early once rather than moved each time, because a
/// move takes the runtime's timer lock and there is one with each request.
#[derive(Debug, Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    fn poll(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// Long enough for a client on a slow line to finish sending 1 MB and to read the answer.
const LINGER: Duration = Duration::from_secs(5);
