//! What a command that takes long is doing: one line on stderr that is drawn over, and nothing where stderr is no terminal.

use std::io::{self, Write};
use std::time::Duration;

use tokio::time::Instant;

use super::look::Look;
use super::table::shortened;
use crate::config::environment::Environment;

pub(super) struct Progress<'a, W> {
    err: &'a mut W,
    look: Look,
    drawn: Option<Instant>,
}

impl<'a, W: Write> Progress<'a, W> {
    pub(super) fn new(err: &'a mut W, environment: &Environment) -> Self {
        Self {
            err,
            look: Look::of_stderr(environment),
            drawn: None,
        }
    }

    /// At most ten times a second.
    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) -> io::Result<()> {
        let is_early = self.drawn.is_some_and(|drawn| drawn.elapsed() < AGAIN);
        if !self.look.redraws || is_early {
            return Ok(());
        }
        self.drawn = Some(Instant::now());
        // The last column stays free: some terminals begin a new line when it is written.
        let room = self
            .look
            .width
            .map_or(usize::MAX, |width| width.saturating_sub(1));
        write!(self.err, "\r{}{CLEAR_REST}", shortened(&what(), room))?;
        self.err.flush()
    }

    /// Before anything else is written, which may go to the same terminal.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if self.drawn.take().is_some() {
            write!(self.err, "\r{CLEAR_REST}")?;
            self.err.flush()?;
        }
        Ok(())
    }
}

const AGAIN: Duration = Duration::from_millis(100);
pub(super) const CLEAR_REST: &str = "\x1b[K";

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(look: Look) -> String {
        let mut err = Vec::new();
        let mut progress = Progress {
            err: &mut err,
            look,
            drawn: None,
        };
        progress.tell(|| "100 solves".to_owned()).unwrap();
        progress.tell(|| "101 solves".to_owned()).unwrap();
        progress.clear().unwrap();
        progress.clear().unwrap();
        String::from_utf8(err).unwrap()
    }

    #[test]
    fn it_is_drawn_over_on_a_terminal_and_not_there_in_a_pipe() {
        let terminal = Look {
            redraws: true,
            width: Some(8),
            ..Look::default()
        };
        assert_eq!(drawn(terminal), "\r100 so…\x1b[K\r\x1b[K");
        assert_eq!(drawn(Look::default()), "");
    }
}
