//! The last calls of clients, with what their log lines say and no more.

use serde_json::{Value, json};

use super::ring::Ring;
use crate::calendar::rfc3339;
use crate::request::trace::Said;

#[derive(Debug)]
pub struct Calls(Ring<(i64, Said)>);

/// About 30 KB. Whoever looks holds the lock for some microseconds, a call for some nanoseconds.
pub(super) const MOST: usize = 200;

impl Default for Calls {
    fn default() -> Self {
        Self(Ring::new(MOST))
    }
}

impl Calls {
    pub fn ended(&self, call: Said, at_ms: i64) {
        self.0.push((at_ms, call));
    }

    pub(super) fn json(&self, most: usize) -> Value {
        let calls = self.0.newest(most);
        let calls: Vec<_> = calls.iter().map(row).collect();
        json!({ "calls": calls })
    }
}

fn row((at_ms, call): &(i64, Said)) -> Value {
    json!({
        "at": rfc3339(*at_ms),
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
