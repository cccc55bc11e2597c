//! What was told, so that it is told once, and again when it returns. Pure: `now` is a parameter.
//!
//! ```text
//! gone ──found──▶ noticed ──found for `told_after`──▶ told ──gone for `armed_after`──▶ gone
//!                    │                                │  ▲
//!                    └──────── a gap ──▶ gone         └──┘ again every `told_every`, where the cause has it
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::cause::Cause;
use super::findings::Finding;

/// As large as what holds now, which the number of keys bounds.
#[derive(Debug, Default)]
pub struct Machine {
    known: BTreeMap<Cause, HashMap<Arc<str>, Known>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    since: Instant,
    seen: Instant,
    told: Option<Instant>,
}

impl Machine {
    /// `found` is all that holds now. Returns what is to be told.
    pub fn step(&mut self, found: Vec<Finding>, now: Instant) -> Vec<Finding> {
        for finding in &found {
            let subjects = self.known.entry(finding.cause).or_default();
            let known = subjects
                .entry(Arc::clone(&finding.subject))
                .or_insert(Known {
                    since: now,
                    seen: now,
                    told: None,
                });
            known.seen = now;
        }
        for (cause, subjects) in &mut self.known {
            subjects.retain(|_, known| {
                known.seen == now
                    || (known.told.is_some()
                        && now.duration_since(known.seen) < cause.armed_after())
            });
        }
        let mut due = found;
        due.retain(|finding| self.is_due(finding, now));
        due
    }

    /// It was told and is not over yet.
    pub fn is_active(&self, cause: Cause, subject: &str) -> bool {
        let known = self.known.get(&cause).and_then(|of| of.get(subject));
        known.is_some_and(|known| known.told.is_some())
    }

    pub fn active(&self, cause: Cause) -> usize {
        let told = |known: &&Known| known.told.is_some();
        self.known
            .get(&cause)
            .map_or(0, |subjects| subjects.values().filter(told).count())
    }

    /// All that was told and is not over yet.
    pub fn told(&self) -> impl Iterator<Item = (Cause, &Arc<str>)> {
        self.known.iter().flat_map(|(cause, subjects)| {
            let told = subjects.iter().filter(|(_, known)| known.told.is_some());
            told.map(|(subject, _)| (*cause, subject))
        })
    }

    /// From now on it counts as told.
    fn is_due(&mut self, finding: &Finding, now: Instant) -> bool {
        let Finding { cause, subject, .. } = finding;
        let worse = cause.said_by().and_then(|worse| self.known.get(&worse));
        let is_said = worse.is_some_and(|subjects| subjects.contains_key(subject));
        let subjects = self.known.get_mut(cause);
        let Some(known) = subjects.and_then(|subjects| subjects.get_mut(subject)) else {
            return false;
        };
        let due = match (known.told, cause.told_every()) {
            (None, _) => now.duration_since(known.since) >= cause.told_after(),
            (Some(told), Some(every)) => now.duration_since(told) >= every,
            (Some(_), None) => false,
        };
        if due {
            known.told = Some(now);
        }
        due && !is_said
    }
}

#[cfg(test)]
mod tests;
