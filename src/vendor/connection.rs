//! One HTTP/1.1 connection to the vendor.
//!
//! It is driven by the task whose request it carries, not by a task of its own. That saves two wake-ups a request, and
//! it is what makes "nothing was sent" provable: while we do not poll, no byte leaves.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::vec;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap};
use hyper::http::response;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::allowance::Allowance;
use super::stream::{Stream, Written};

pub(super) struct Connection {
    sender: SendRequest<Chunks>,
    /// Boxed, because it is large and moves with each call: out of the pool, through the call, and back.
    driver: Box<http1::Connection<TokioIo<Stream>, Chunks>>,
    written: Written,
    allowance: Allowance,
    pub(super) idle_since: Instant,
}

impl Connection {
    pub(super) async fn new(stream: Stream, now: Instant) -> Result<Self, hyper::Error> {
        let (written, allowance) = (stream.written(), stream.allowance());
        let (sender, driver) = http1::Builder::new()
            // SECURITY: a vendor's head of 5 MB, or one that never ends, costs this much and no more.
            .max_header_size(LONGEST_HEAD)
            .max_buf_size(LONGEST_HEAD)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self {
            sender,
            driver: Box::new(driver),
            written,
            allowance,
            idle_since: now,
        })
    }

    pub(super) fn written(&self) -> Written {
        self.written.clone()
    }

    /// May this connection, idle now, carry another request? A close that arrived meanwhile, or bytes that nobody asked
    /// for, show here, before anything is sent.
    pub(super) fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut *self.driver).poll(&mut cx).is_pending() && self.sender.is_ready()
    }

    /// Not to be polled, nor called again, after an error.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Chunks>,
    ) -> Result<(response::Parts, Bytes), String> {
        self.allowance.grant(UNTIL_THE_BODY);
        let response = self.sender.send_request(request);
        let allowance = &self.allowance;
        let answered = async {
            let (head, body) = response.await.map_err(|error| chain(&error))?.into_parts();
            allowance.grant(FOR_THE_BODY);
            if let Some(why) = unreadable(&head.headers) {
                return Err(why.to_owned());
            }
            let body = whole(body).await?;
            Ok((head, body))
        };
        let mut answered = pin!(answered);
        let mut driving = true;
        poll_fn(|cx| {
            // The driver says nothing of its own: whatever happens to it, the request hears.
            driving = driving && Pin::new(&mut *self.driver).poll(cx).is_pending();
            answered.as_mut().poll(cx)
        })
        .await
    }
}

fn unreadable(headers: &HeaderMap) -> Option<&'static str> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Some("the answer is compressed although identity was asked for");
    }
    // SECURITY: RFC 9112 section 6.3: such a message "might indicate an attempt to perform response splitting". What the
    // vendor's gateway takes for the end of this answer may not be what we take for it.
    if headers.contains_key(header::CONTENT_LENGTH)
        && headers.contains_key(header::TRANSFER_ENCODING)
    {
        return Some("the answer states its length in two ways");
    }
    None
}

/// SECURITY: an endless answer is cut here; solutions are a few kB.
async fn whole(mut body: Incoming) -> Result<Bytes, String> {
    let too_long = || format!("the answer is longer than {LONGEST_BODY} bytes");
    if body.size_hint().lower() > LONGEST_BODY as u64 {
        return Err(too_long());
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are dropped.
        let Ok(data) = frame.map_err(|error| chain(&error))?.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > LONGEST_BODY {
            return Err(too_long());
        }
        // Nearly every answer comes as one piece and is not copied.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    Ok([&first[..], &rest[..]].concat().into())
}

/// An error and its causes in one line. The texts of hyper, rustls and the system say what happened and hold nothing
/// of the request.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// A request's body in the pieces in which it was spliced.
pub(super) struct Chunks {
    pieces: vec::IntoIter<Bytes>,
    left: u64,
}

impl Chunks {
    pub(super) fn new(pieces: Vec<Bytes>) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            pieces: pieces.into_iter(),
            left,
        }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.find(|piece| !piece.is_empty());
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Also the largest read buffer, so a busy connection costs little memory.
const LONGEST_HEAD: usize = 32 * 1024;
const LONGEST_BODY: usize = 1024 * 1024;
/// Interim answers, the head, and what of the body is read with it.
const UNTIL_THE_BODY: usize = 3 * LONGEST_HEAD;
/// Chunks of a kB and TLS records frame the longest body with less than that. A million chunks of one byte would take a
/// processor for a second.
const FOR_THE_BODY: usize = LONGEST_BODY + 3 * LONGEST_HEAD;
