//! One task: what it will be answered, and what the ledger says of it.

use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use super::answer::Answer;

/// A task as the ledger shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerTask {
    pub id: String,
    pub account: String,
    pub made_ms: u64,
    /// `running`, `solved` or `failed`.
    pub state: &'static str,
    pub charged_micros: i64,
    /// Whether the id went out: `false` when a fault hid the answer of the submit, or the client left.
    pub told: bool,
    /// Polls by its owner.
    pub polls: u64,
    pub report: Option<&'static str>,
    pub content_hash: String,
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) owner: Arc<str>,
    pub(super) made_at: Instant,
    pub(super) ready_at: Instant,
    pub(super) price_micros: i64,
    pub(super) answer: Option<Arc<str>>,
    pub(super) answer_json: Option<Arc<str>>,
    pub(super) content_hash: String,
    /// The submit's answer was not struck by a fault that hides it.
    pub(super) told: bool,
    pub(super) polls: u64,
    pub(super) report: Option<&'static str>,
}

impl Task {
    pub(super) fn fails(&self) -> bool {
        self.answer
            .as_deref()
            .is_some_and(|answer| answer.starts_with("ERROR"))
    }

    pub(super) fn final_answer(&self, id: &str, with_price: bool) -> Answer {
        match &self.answer {
            Some(code) if self.fails() => Answer::code(&**code),
            answer => Answer::Solved {
                text: answer
                    .as_deref()
                    .map_or_else(|| format!("solved-{id}"), str::to_owned),
                json: self
                    .answer_json
                    .as_deref()
                    .map(|json| json.replace("{id}", id)),
                price_micros: with_price.then_some(self.price_micros),
            },
        }
    }

    pub(super) fn entry(&self, id: &str, started: Instant, now: Instant) -> LedgerTask {
        let state = match (now < self.ready_at, self.fails()) {
            (true, _) => "running",
            (false, false) => "solved",
            (false, true) => "failed",
        };
        LedgerTask {
            id: id.to_owned(),
            account: self.owner.to_string(),
            made_ms: u64::try_from(self.made_at.duration_since(started).as_millis())
                .unwrap_or(u64::MAX),
            state,
            charged_micros: if state == "solved" {
                self.price_micros
            } else {
                0
            },
            told: self.told,
            polls: self.polls,
            report: self.report,
            content_hash: self.content_hash.clone(),
        }
    }
}
