//! What an account has done since the start. It goes with its account, so that no series outlives its key.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Tally {
    solves: BTreeMap<&'static str, Solves>,
    failures: BTreeMap<String, u64>,
}

/// Tasks that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Solves {
    pub done: u64,
    /// By an answer that is no solution.
    pub failed: u64,
}

impl Tally {
    /// `kind` is one of ours, never the client's text.
    pub(super) fn solve(&mut self, kind: &'static str, done: bool) {
        let solves = self.solves.entry(kind).or_default();
        if done {
            solves.done += 1;
        } else {
            solves.failed += 1;
        }
    }

    /// `code` stands in the profile, which only the operator can make longer.
    pub(super) fn failure(&mut self, code: &str) {
        match self.failures.get_mut(code) {
            Some(count) => *count += 1,
            None => _ = self.failures.insert(code.to_owned(), 1),
        }
    }

    pub(super) fn solves(&self) -> Vec<(&'static str, Solves)> {
        self.solves
            .iter()
            .map(|(kind, solves)| (*kind, *solves))
            .collect()
    }

    pub(super) fn failures(&self) -> Vec<(String, u64)> {
        self.failures
            .iter()
            .map(|(code, count)| (code.clone(), *count))
            .collect()
    }
}
