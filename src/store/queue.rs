//! What waits to be written. Its own queue because a channel wakes the writer for every change, also for
//! those that may wait for company.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::StoreError;
use super::rows::Change;

pub(super) struct Operation {
    pub(super) change: Change,
    pub(super) waiter: Option<oneshot::Sender<Result<u64, StoreError>>>,
}

impl Operation {
    pub(super) fn answer(self, result: Result<u64, StoreError>) {
        if let Some(waiter) = self.waiter {
            // Whoever waited may have lost patience. The change stands.
            let _ = waiter.send(result);
        }
    }
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    operations: VecDeque<Operation>,
    /// Some operation in the queue does not wait for company.
    urgent: bool,
    closing: bool,
    writer: Writer,
}

/// What the writer waits for, so that nobody pays for waking it in vain.
#[derive(Default, PartialEq)]
enum Writer {
    #[default]
    Busy,
    ForAnything,
    ForUrgent,
}

impl Queue {
    /// False: the queue is full or closed. The operation has been answered then.
    pub(super) fn push(&self, operation: Operation) -> bool {
        let mut state = self.lock();
        let refused = if state.closing {
            Some(StoreError::Closed)
        } else if state.operations.len() >= MAX_QUEUED {
            Some(StoreError::Overloaded)
        } else {
            None
        };
        if let Some(refused) = refused {
            drop(state);
            operation.answer(Err(refused));
            return false;
        }
        let urgent = !operation.change.may_wait() || state.operations.len() >= MAX_COMPANY;
        state.urgent |= urgent;
        state.operations.push_back(operation);
        let wake = match state.writer {
            Writer::Busy => false,
            Writer::ForAnything => true,
            Writer::ForUrgent => urgent,
        };
        if wake {
            state.writer = Writer::Busy;
        }
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        true
    }

    /// Waits for work and moves at most `MAX_BATCH` operations to `batch`. False: closed, and all was taken.
    pub(super) fn take(&self, batch: &mut Vec<Operation>) -> bool {
        let mut state = self.lock();
        let mut company_came = false;
        while !(state.urgent || state.closing || company_came) {
            if state.operations.is_empty() {
                state.writer = Writer::ForAnything;
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            } else {
                state.writer = Writer::ForUrgent;
                let (next, waited) = self
                    .wake
                    .wait_timeout(state, COMPANY)
                    .unwrap_or_else(PoisonError::into_inner);
                state = next;
                company_came = waited.timed_out();
            }
        }
        state.writer = Writer::Busy;
        let count = state.operations.len().min(MAX_BATCH);
        batch.extend(state.operations.drain(..count));
        state.urgent = state.urgent && !state.operations.is_empty();
        if state.operations.is_empty() {
            // A burst's memory is given back.
            state.operations.shrink_to(MAX_BATCH);
        }
        !batch.is_empty()
    }

    /// The pause between two tries in trouble. Short when the store is being closed.
    pub(super) fn pause(&self, duration: Duration) {
        let (state, _) = self
            .wake
            .wait_timeout_while(self.lock(), duration, |state| !state.closing)
            .unwrap_or_else(PoisonError::into_inner);
        if state.closing {
            drop(state);
            std::thread::sleep(CLOSING_PAUSE);
        }
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_all();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    pub(super) fn len(&self) -> usize {
        self.lock().operations.len()
    }

    /// A std mutex: every section is short and none awaits.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SECURITY: when the disk stands still, clients go on submitting. About 300 bytes each: 30 MB, then changes are lost and counted.
pub(super) const MAX_QUEUED: usize = 100_000;

/// Operations in one transaction. More would only let the first of them wait longer.
pub(super) const MAX_BATCH: usize = 1024;

/// How long a change that nobody waits for waits for others.
const COMPANY: Duration = Duration::from_millis(200);
const MAX_COMPANY: usize = 512;

const CLOSING_PAUSE: Duration = Duration::from_millis(50);
