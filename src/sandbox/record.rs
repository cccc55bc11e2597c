//! Every call that arrived, so that a test can ask which key made it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

#[derive(Clone, Debug, Serialize)]
pub struct RecordedCall {
    /// Counts from 1 over all calls.
    pub n: u64,
    /// Milliseconds of the sandbox's clock since it started.
    pub at_ms: u64,
    /// Which connection, counted from 1 in order of arrival.
    pub connection: u64,
    pub endpoint: String,
    pub method: String,
    pub action: String,
    /// Whose key it was; none for an unknown key.
    pub account: Option<String>,
    /// The key that counted, as it was received. The sandbox's keys are fake ones.
    pub key: Option<String>,
    /// All values sent under the name `key`, also those that a later one replaced.
    pub keys: Vec<String>,
    /// The id that was asked for or given out. For `ids=` the list as it came.
    pub task: Option<String>,
    /// `OK`, `CAPCHA_NOT_READY` or the error code; what the vendor meant, whatever a fault made of it.
    pub outcome: String,
    /// Which fault struck.
    pub fault: Option<&'static str>,
    /// Whether the call took effect. A fault can strike before that.
    pub done: bool,
    /// Names of all parameters, sorted.
    pub names: Vec<String>,
    /// SHA-256 over all parameters but the key: the same task sent twice has the same hash.
    pub content_hash: String,
    /// The task belongs to another account.
    pub foreign: bool,
    /// The limits that this call broke, by the code that answers them.
    pub violations: Vec<&'static str>,
    /// Which of the forbidden texts the target, a header or the body held.
    pub forbidden: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub calls: u64,
    /// No longer in the record, because it is full.
    pub dropped: u64,
    pub foreign: u64,
    /// Calls that held a forbidden text.
    pub forbidden: u64,
    pub unknown_key: u64,
    /// By endpoint: `in.php`, `res.php`, …
    pub endpoints: BTreeMap<String, u64>,
    /// How often each limit was broken, by the code that answers it. Calls during a ban break none.
    pub violations: BTreeMap<&'static str, u64>,
    /// By outcome.
    pub outcomes: BTreeMap<String, u64>,
}

/// The calls of a sandbox, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub counts: Counts,
    pub calls: VecDeque<Arc<RecordedCall>>,
}

#[derive(Debug)]
pub(super) struct Recorder {
    /// Held for a push or a copy, never over an await.
    record: Mutex<Record>,
    limit: usize,
    changed: watch::Sender<u64>,
}

/// Codes that an error fault can invent must not grow the counters without end.
const MOST_OUTCOMES: usize = 1000;

impl Recorder {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            record: Mutex::default(),
            limit,
            changed: watch::Sender::new(0),
        }
    }

    pub(super) fn push(&self, mut call: RecordedCall) {
        {
            let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
            let counts = &mut record.counts;
            counts.calls += 1;
            call.n = counts.calls;
            counts.foreign += u64::from(call.foreign);
            counts.forbidden += u64::from(!call.forbidden.is_empty());
            counts.unknown_key += u64::from(call.account.is_none());
            for violation in &call.violations {
                *counts.violations.entry(violation).or_default() += 1;
            }
            *counts.endpoints.entry(call.endpoint.clone()).or_default() += 1;
            if counts.outcomes.len() < MOST_OUTCOMES || counts.outcomes.contains_key(&call.outcome)
            {
                *counts.outcomes.entry(call.outcome.clone()).or_default() += 1;
            }
            record.calls.push_back(Arc::new(call));
            if record.calls.len() > self.limit {
                record.calls.pop_front();
                record.counts.dropped += 1;
            }
        }
        self.changed.send_modify(|n| *n += 1);
    }

    pub(super) fn copy(&self) -> Record {
        self.record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn look<T>(&self, at: impl FnOnce(&Record) -> T) -> T {
        at(&self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn clear(&self) {
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = Record::default();
        self.changed.send_modify(|n| *n += 1);
    }

    pub(super) async fn wait_for(&self, mut holds: impl FnMut(&Record) -> bool) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if self.look(&mut holds) {
                return;
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}
