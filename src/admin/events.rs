//! What happened of late that an operator may ask about: in memory, since the start of this program. What must last
//! stands in the audit log.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

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

/// Oldest first.
#[derive(Debug)]
pub struct Events(Mutex<VecDeque<(i64, Event)>>);

/// Days of a quiet pool, about 100 KB.
pub(super) const MOST: usize = 500;

impl Default for Events {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::with_capacity(MOST)))
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

    /// The oldest of the commonest kind makes room: thousands of keys that recover, or run low, must not push out the one
    /// ban or reload that explains them.
    pub fn happened(&self, event: Event) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() >= MOST
            && let Some(place) = dispensable(&events)
        {
            events.remove(place);
        }
        events.push_back((clock::now_ms(), event));
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
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let events: Vec<_> = events.iter().rev().take(most).map(row).collect();
        json!({ "events": events })
    }
}

fn dispensable(events: &VecDeque<(i64, Event)>) -> Option<usize> {
    let mut counts = HashMap::<&str, usize>::new();
    for (_, event) in events {
        *counts.entry(&event.kind).or_default() += 1;
    }
    let most = counts.values().max()?;
    let is_of_the_commonest = |(_, event): &(i64, Event)| counts[&*event.kind] == *most;
    events.iter().position(is_of_the_commonest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_pushes_out_its_own_and_nothing_else() {
        let events = Events::default();
        events.add("start", "", "");
        for number in 0..2 * MOST {
            events.add("alert-balance-low", &number.to_string(), "");
        }
        events.add("by-hand", "", "");
        let told = events.json(2 * MOST);
        let told = told["events"].as_array().unwrap();
        assert_eq!(told.len(), MOST);
        assert_eq!(told[0]["kind"], "by-hand");
        assert_eq!(told[1]["subject"], (2 * MOST - 1).to_string());
        assert_eq!(told[MOST - 1]["kind"], "start");
    }
}
