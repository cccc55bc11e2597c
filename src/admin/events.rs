//! What happened of late that an operator may ask about: in memory, since the start of this program. What must last
//! stands in the audit log.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::ring::Ring;
use crate::calendar::rfc3339;
use crate::request::clock;

/// Names and figures only: nothing here may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: Cow<'static, str>,
    /// The key, tenant or pool that it is about; empty where there is none.
    pub subject: String,
    pub text: String,
}

#[derive(Debug)]
pub struct Events(Ring<(i64, Event)>);

/// Days of a quiet pool, about 100 KB.
pub(super) const MOST: usize = 500;

impl Default for Events {
    fn default() -> Self {
        Self(Ring::new(MOST))
    }
}

impl Events {
    pub fn add(&self, kind: impl Into<Cow<'static, str>>, subject: &str, text: impl Into<String>) {
        self.happened(Event {
            kind: kind.into(),
            subject: subject.to_owned(),
            text: text.into(),
        });
    }

    pub fn happened(&self, event: Event) {
        self.0.push((clock::now_ms(), event));
    }

    pub(super) fn json(&self, most: usize) -> Value {
        let row = |(at_ms, event): &(i64, Event)| {
            json!({
                "at": rfc3339(*at_ms),
                "kind": event.kind,
                "subject": event.subject,
                "text": event.text,
            })
        };
        let events: Vec<_> = self.0.newest(most).iter().map(row).collect();
        json!({ "events": events })
    }
}
