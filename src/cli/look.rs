//! What the output can show: a terminal has a width and colours, a pipe has neither.

use std::io::{self, IsTerminal};

use rustix::termios::tcgetwinsize;

use crate::config::environment::Environment;
use crate::log::colours::wants_colours;

/// What the output can show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    pub is_terminal: bool,
    pub colours: bool,
    /// None: lines are not cut.
    pub width: Option<usize>,
}

impl Look {
    pub(super) fn of_stdout(environment: &Environment) -> Self {
        let out = io::stdout();
        let is_terminal = out.is_terminal();
        let size = is_terminal.then(|| tcgetwinsize(&out).ok()).flatten();
        Self {
            is_terminal,
            colours: wants_colours(environment, is_terminal),
            width: size
                .map(|size| usize::from(size.ws_col))
                .filter(|width| *width > 0),
        }
    }
}
