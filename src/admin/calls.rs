//! The last calls of clients, with what their log lines say and no more.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::ring::Ring;
use crate::calendar::rfc3339;

#[derive(Clone, Debug)]
pub struct Ended {
    pub at_ms: i64,
    pub tenant: Option<Arc<str>>,
    pub call: &'static str,
    pub task: Option<String>,
    pub key: Option<Arc<str>>,
    pub outcome: &'static str,
    pub vendor: Duration,
    pub own: Duration,
    pub tries: u32,
}

#[derive(Debug)]
pub struct Calls(Ring<Ended>);

/// About 30 KB. Whoever looks holds the lock for some microseconds, a call for some nanoseconds.
pub(super) const MOST: usize = 200;

impl Default for Calls {
    fn default() -> Self {
        Self(Ring::new(MOST))
    }
}

impl Calls {
    pub fn ended(&self, call: Ended) {
        self.0.push(call);
    }

    pub(super) fn json(&self, most: usize) -> Value {
        let calls = self.0.newest(most);
        let calls: Vec<_> = calls.iter().map(row).collect();
        json!({ "calls": calls })
    }
}

fn row(call: &Ended) -> Value {
    json!({
        "at": rfc3339(call.at_ms),
        "tenant": call.tenant.as_deref(),
        "call": call.call,
        "task": call.task,
        "key": call.key.as_deref(),
        "outcome": call.outcome,
        "vendor_ms": call.vendor.as_millis() as u64,
        "own_us": call.own.as_micros() as u64,
        "tries": call.tries,
    })
}
