//! When the vendor's own count of an account's slots is worth a question. Pure.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Count {
    asked: Option<Instant>,
    /// The vendor refused for want of a slot although we knew a free one.
    contradicted: bool,
    /// Every slot was taken at some time since: the limit matters.
    was_full: bool,
}

impl Count {
    /// The vendor has said it.
    pub(super) fn answered(now: Instant) -> Self {
        Self {
            asked: Some(now),
            ..Self::default()
        }
    }

    /// One question at a time, whatever comes of it.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// Every slot is taken.
    pub(super) fn is_full(&mut self) {
        self.was_full = true;
    }

    /// The vendor refused for want of a slot. False: that is known.
    pub(super) fn contradict(&mut self) -> bool {
        !std::mem::replace(&mut self.contradicted, true)
    }

    /// `is_known`: the vendor has said how many slots there are.
    pub(super) fn is_wanted(&self, is_known: bool, now: Instant) -> bool {
        let pause = match self.contradicted {
            true => AGAIN_CONTRADICTED,
            false if is_known && !self.was_full => return false,
            false => AGAIN,
        };
        self.asked
            .is_none_or(|asked| now.duration_since(asked) >= pause)
    }

    /// When a refusal that contradicts our own count may be asked about.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let due = self.asked.filter(|_| self.contradicted)? + AGAIN_CONTRADICTED;
        (due > now).then_some(due)
    }
}

const AGAIN: Duration = Duration::from_secs(300);
const AGAIN_CONTRADICTED: Duration = Duration::from_secs(5);
