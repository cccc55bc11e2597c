//! The part of the strict gate that stands before hyper's parser: what hyper accepts and then hides.
//!
//! Measured with hyper 1.12: of `Content-Length` beside `Transfer-Encoding` it drops the first and goes on, and leaves no
//! trace of equal duplicates, bare LF, empty lines before a request, what follows a `#`, and bytes in chunk extensions.
//! Another parser on the way may have read each of these differently, so the message is refused. Nothing is changed
//! here: bytes pass as they came, or they and all that follows do not pass.

use std::io;

/// Follows the messages of one connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    state: State,
    line: Line,
    content_length: Option<u64>,
    chunked: bool,
    complete: usize,
    /// How much of `REFUSED` hyper has been given.
    refused: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    /// One empty line before a request: RFC 9112 section 2.2 asks for it, for clients that end a form with CRLF.
    BetweenAfterBlank,
    Header,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
}

/// Where in the bytes the trouble starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) at: usize,
}

impl Framing {
    pub(super) fn check(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let before = self.state;
            at += match before {
                State::Body(left) => self.skip(left, rest.len(), State::Body, State::Between),
                State::ChunkData(left) => {
                    self.skip(left, rest.len(), State::ChunkData, State::ChunkEnd)
                }
                _ => self.read_line(rest).ok_or_else(|| {
                    self.refuse();
                    Violation { at }
                })?,
            };
            if self.state == State::Between && before != State::Between {
                self.complete += 1;
            }
        }
        Ok(())
    }

    /// How many messages have come whole.
    pub(super) fn complete(&self) -> usize {
        self.complete
    }

    /// No byte of a further message has come.
    pub(super) fn is_between_messages(&self) -> bool {
        let is_between = matches!(self.state, State::Between | State::BetweenAfterBlank);
        self.refused.is_none() && is_between && self.line.length == 0
    }

    /// Lets nothing more pass.
    pub(super) fn refuse(&mut self) {
        self.refused.get_or_insert(0);
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// What hyper is to read in place of what was refused. In a head: bytes for which it answers 400, in its turn, and
    /// closes. In a body: nothing but an error ends it.
    pub(super) fn instead(&mut self, room: usize) -> io::Result<&'static [u8]> {
        if self.is_in_body() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "malformed chunked body",
            ));
        }
        let given = self.refused.unwrap_or(0);
        let next = &REFUSED[given..REFUSED.len().min(given + room)];
        self.refused = Some(given + next.len());
        Ok(next)
    }

    fn is_in_body(&self) -> bool {
        !matches!(
            self.state,
            State::Between | State::BetweenAfterBlank | State::Header
        )
    }

    fn skip(
        &mut self,
        left: u64,
        available: usize,
        inside: fn(u64) -> State,
        after: State,
    ) -> usize {
        let skipped = usize::try_from(left).map_or(available, |left| left.min(available));
        let left = left - skipped as u64;
        self.state = if left == 0 { after } else { inside(left) };
        skipped
    }

    /// Takes what there is of a line; `None` if the line is not acceptable.
    fn read_line(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = memchr::memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        self.line.extend(part);
        // Nothing else cuts the request line's fragment off or bounds a line of a body.
        match self.state {
            State::Between | State::BetweenAfterBlank if memchr::memchr(b'#', part).is_some() => {
                return None;
            }
            State::ChunkSize | State::ChunkEnd if self.line.length > KEPT => return None,
            _ => {}
        }
        let Some(end) = end else {
            return Some(bytes.len());
        };
        let line = std::mem::take(&mut self.line);
        if line.last != Some(b'\r') {
            return None;
        }
        self.state = self.after(&line)?;
        self.line = line.emptied();
        Some(end + 1)
    }

    fn after(&mut self, line: &Line) -> Option<State> {
        let is_empty = line.length == 1;
        match self.state {
            State::Between if is_empty => Some(State::BetweenAfterBlank),
            State::BetweenAfterBlank if is_empty => None,
            State::Between | State::BetweenAfterBlank => {
                self.content_length = None;
                self.chunked = false;
                Some(State::Header)
            }
            State::Header if is_empty => Some(match self.content_length {
                _ if self.chunked => State::ChunkSize,
                Some(length) if length > 0 => State::Body(length),
                _ => State::Between,
            }),
            State::Header => self.header(line).map(|()| State::Header),
            State::ChunkSize => chunk_size(line.whole()?).map(|size| match size {
                0 => State::Trailer,
                size => State::ChunkData(size),
            }),
            State::ChunkEnd => is_empty.then_some(State::ChunkSize),
            State::Trailer if is_empty => Some(State::Between),
            State::Trailer => Some(State::Trailer),
            State::Body(_) | State::ChunkData(_) => None,
        }
    }

    /// RFC 9112 section 6.1: a message with both lengths "ought to be handled as an error".
    fn header(&mut self, line: &Line) -> Option<()> {
        if line.starts_with(b"content-length:") {
            let value = line.whole()?["content-length:".len()..].trim_ascii();
            if self.content_length.is_some()
                || self.chunked
                || !value.iter().all(u8::is_ascii_digit)
            {
                return None;
            }
            self.content_length = Some(str::from_utf8(value).ok()?.parse().ok()?);
        } else if line.starts_with(b"transfer-encoding:") {
            let value = line.whole()?["transfer-encoding:".len()..].trim_ascii();
            if self.content_length.is_some()
                || self.chunked
                || !value.eq_ignore_ascii_case(b"chunked")
            {
                return None;
            }
            self.chunked = true;
        }
        Some(())
    }
}

/// The start of a line, and what must be known of the rest.
#[derive(Debug, Default)]
struct Line {
    start: Vec<u8>,
    length: usize,
    last: Option<u8>,
}

impl Line {
    fn extend(&mut self, part: &[u8]) {
        let room = KEPT.saturating_sub(self.start.len()).min(part.len());
        self.start.extend_from_slice(&part[..room]);
        self.length = self.length.saturating_add(part.len());
        self.last = part.last().copied().or(self.last);
    }

    fn starts_with(&self, name: &[u8]) -> bool {
        self.start
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    }

    /// The line without its CR, if all of it was kept.
    fn whole(&self) -> Option<&[u8]> {
        (self.length == self.start.len()).then(|| self.start.strip_suffix(b"\r"))?
    }

    /// Empty again, with the memory of this one.
    fn emptied(mut self) -> Self {
        self.start.clear();
        Self {
            start: self.start,
            ..Self::default()
        }
    }
}

/// `1a` or `1a;name=value`. An extension may be anything printable.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (digits, extension) = line.split_at(digits);
    match extension.split_first() {
        None => {}
        Some((b';', extension)) if is_extension(extension) => {}
        Some(_) => return None,
    }
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

fn is_extension(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|&byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
}

/// Far more than a chunk's size or a header with a length in it needs.
const KEPT: usize = 256;

/// A header name cannot start so, and hyper looks at a head only when there is an empty line.
const REFUSED: &[u8] = b"\0\r\n\r\n";
