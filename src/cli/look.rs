//! What the output can show: a terminal has a width and colours, a pipe has neither.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;

use crate::config::environment::Environment;
use crate::log::colours::wants_colours;

/// What the output can show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    pub colours: bool,
    /// Whether what stands there can be drawn over.
    pub redraws: bool,
    /// None: lines are not cut.
    pub width: Option<usize>,
    pub height: Option<usize>,
}

impl Look {
    pub(super) fn of_stdout(environment: &Environment) -> Self {
        Self::of(&io::stdout(), environment)
    }

    pub(super) fn of_stderr(environment: &Environment) -> Self {
        Self::of(&io::stderr(), environment)
    }

    fn of(stream: &(impl IsTerminal + AsFd), environment: &Environment) -> Self {
        let is_terminal = stream.is_terminal();
        let size = is_terminal.then(|| tcgetwinsize(stream).ok()).flatten();
        let known = |cells: u16| Some(usize::from(cells)).filter(|cells| *cells > 0);
        Self {
            colours: wants_colours(environment, is_terminal),
            redraws: is_terminal && environment.get("TERM") != Some("dumb"),
            width: size.and_then(|size| known(size.ws_col)),
            height: size.and_then(|size| known(size.ws_row)),
        }
    }

    /// A line that heads or ends a table.
    pub(super) fn bold(self, line: &str) -> String {
        match self.colours {
            true => format!("\x1b[1m{line}\x1b[0m"),
            false => line.to_owned(),
        }
    }
}
