//! One word for how a key is, the same in the admin API, in metrics, events and logs.

use std::fmt;

use tokio::time::Instant;

use super::health::Evidence;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Healthy,
    /// The vendor has not accepted it yet.
    Unproven,
    Cooling,
    Suspect,
    Empty,
    Revoked,
    /// In the file or by hand.
    Disabled,
    /// It has left the files, and its tasks are polled to their end.
    Draining,
}

/// For those who look: what a key is, since when, until when and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    pub state: State,
    pub since: Instant,
    /// The end of cooling, or the next probe or refresh. None when nothing has to happen.
    pub until: Option<Instant>,
    pub why: Option<String>,
    /// What our last probe brought, and when.
    pub probed: Option<(Instant, Evidence)>,
}

impl State {
    /// Of keys that stand in a file.
    pub const LISTED: [Self; 7] = [
        Self::Healthy,
        Self::Unproven,
        Self::Cooling,
        Self::Suspect,
        Self::Empty,
        Self::Revoked,
        Self::Disabled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unproven => "unproven",
            Self::Cooling => "cooling",
            Self::Suspect => "suspect",
            Self::Empty => "empty",
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
        }
    }

    /// None: a word of another version.
    pub fn parse(word: &str) -> Option<Self> {
        let mut all = Self::LISTED.into_iter().chain([Self::Draining]);
        all.find(|state| state.as_str() == word)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
