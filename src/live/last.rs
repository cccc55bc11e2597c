//! What became of the last looks at the configuration, for those who ask.

use std::sync::{Mutex, PoisonError};

use crate::request::clock;

#[derive(Clone, Debug)]
pub struct Reloads {
    /// What serves is in use since then.
    pub adopted_ms: i64,
    /// The last look, where it was refused.
    pub refused: Option<Refused>,
}

#[derive(Clone, Debug)]
pub struct Refused {
    pub at_ms: i64,
    /// The report, with lines of the files and no secret.
    pub why: String,
}

#[derive(Debug)]
pub(super) struct Last(Mutex<Reloads>);

/// A screenful: the log has all of it.
const MOST_BYTES: usize = 4096;

impl Last {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Reloads {
            adopted_ms: clock::now_ms(),
            refused: None,
        }))
    }

    pub(super) fn seen(&self) -> Reloads {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    pub(super) fn adopted(&self) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Reloads {
            adopted_ms: clock::now_ms(),
            refused: None,
        };
    }

    pub(super) fn refused(&self, why: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.refused = Some(Refused {
            at_ms: clock::now_ms(),
            why: why[..why.floor_char_boundary(MOST_BYTES)].to_owned(),
        });
    }
}
