//! Alerts on their way to the webhook. Bounded: an endpoint that is down must not fill the memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::findings::Finding;
use crate::calendar::rfc3339;

/// What one look at a large pool may find. When there is more, older news is of less use.
const MOST: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub finding: Finding,
    pub at_ms: i64,
    /// When the time for its delivery began.
    pub since: Instant,
}

#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Mutex<VecDeque<Alert>>,
    news: Notify,
}

impl Outbox {
    /// Never waits. True when the oldest had to make room.
    pub fn push(&self, alert: Alert) -> bool {
        let mut waiting = self.waiting();
        let is_full = waiting.len() >= MOST;
        if is_full {
            waiting.pop_front();
        }
        waiting.push_back(alert);
        drop(waiting);
        self.news.notify_one();
        is_full
    }

    /// The oldest, as soon as there is one. For one who takes.
    pub async fn next(&self) -> Alert {
        loop {
            if let Some(alert) = self.take() {
                return alert;
            }
            self.news.notified().await;
        }
    }

    pub fn take(&self) -> Option<Alert> {
        self.waiting().pop_front()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Alert>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alert {
    /// What chat systems show is `text`; the rest is for programs.
    pub fn json(&self) -> String {
        let Finding {
            cause,
            subject,
            text,
        } = &self.finding;
        let mut body = json!({
            "text": format!("sidekey: {text}"),
            "cause": cause.name(),
            "at": rfc3339(self.at_ms),
        });
        body[cause.subject()] = (&**subject).into();
        body.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::cause::Cause;

    fn alert(subject: &str) -> Alert {
        Alert {
            finding: Finding {
                cause: Cause::BalanceLow,
                subject: subject.into(),
                text: "a \"b\"".to_owned(),
            },
            at_ms: 1_795_271_783_456,
            since: Instant::now(),
        }
    }

    #[test]
    fn the_message_is_json_with_a_text() {
        let json: serde_json::Value = serde_json::from_str(&alert("account-1").json()).unwrap();
        let expected = json!({
            "text": "sidekey: a \"b\"",
            "cause": "balance_low",
            "key": "account-1",
            "at": "2026-11-21T14:36:23Z",
        });
        assert_eq!(json, expected);
    }

    #[tokio::test]
    async fn a_full_outbox_drops_the_oldest() {
        let outbox = Outbox::default();
        for n in 0..=MOST {
            assert_eq!(outbox.push(alert(&n.to_string())), n == MOST);
        }
        assert_eq!(&*outbox.next().await.finding.subject, "1");
        let left = std::iter::from_fn(|| outbox.take()).count();
        assert_eq!(left, MOST - 1);
    }
}
