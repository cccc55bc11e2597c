//! The one thread that writes. It takes what waits, writes all of it in one transaction, and answers.
//! In trouble it keeps what it took and tries again: a change that was queued is never dropped, except
//! when the process ends.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::queue::{Operation, Queue};
use super::rows::Change;
#[cfg(test)]
use super::tests;
use super::written::State;
use super::{Health, StoreError};

/// Where batches go.
pub(super) trait Target {
    type Error: Display;

    /// All of it or nothing. After an error the same batch comes again.
    fn write(&mut self, batch: &[Operation], shared: &Shared) -> Result<Results, Self::Error>;

    fn failed(&mut self, _error: &Self::Error) {}

    /// Everything was written, or given up.
    fn end(&mut self);
}

/// For each operation of a batch. An error is a refusal of that change alone.
pub(super) type Results = Vec<Result<u64, StoreError>>;

/// What the writer and those who ask about it share.
pub(super) struct Shared {
    /// For the log.
    name: String,
    pub(super) queue: Queue,
    progress: Mutex<Progress>,
    pub(super) commits: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) replaced: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) write_seconds: Histogram,
    #[cfg(test)]
    pub(super) max_pages: std::sync::atomic::AtomicI64,
}

/// Under a std mutex: every section is short.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Operations taken from the queue and not yet written, and since when.
    in_hand: usize,
    in_hand_since: Option<Instant>,
    /// Since the first error of an episode that has not ended.
    trouble_since: Option<Instant>,
}

pub(super) struct Writer<T> {
    shared: Arc<Shared>,
    target: T,
    in_trouble: bool,
    /// Since when closing waits for the end of trouble.
    closing_since: Option<Instant>,
}

impl<T: Target> Writer<T> {
    pub(super) fn new(shared: Arc<Shared>, target: T) -> Self {
        Self {
            shared,
            target,
            in_trouble: false,
            closing_since: None,
        }
    }

    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        while self.shared.queue.take(&mut batch) {
            self.shared.takes(batch.len());
            self.write_until_done(&mut batch);
            self.shared.takes(0);
        }
        self.target.end();
    }

    fn write_until_done(&mut self, batch: &mut Vec<Operation>) {
        let mut pause = FIRST_PAUSE;
        while !self.gives_up() {
            match self.target.write(batch, &self.shared) {
                Ok(results) => {
                    self.end_of_trouble();
                    self.shared.count(batch, &results);
                    for (operation, result) in batch.drain(..).zip(results) {
                        operation.answer(result);
                    }
                    return;
                }
                Err(error) => {
                    self.target.failed(&error);
                    self.trouble(&error);
                }
            }
            self.shared.queue.pause(pause);
            pause = (pause * 2).min(LAST_PAUSE);
        }
        let lost = batch.len() as u64;
        self.shared.lost.fetch_add(lost, Ordering::Relaxed);
        for operation in batch.drain(..) {
            operation.answer(Err(StoreError::Closed));
        }
    }

    /// Only ever in trouble, and only when the process is about to end.
    fn gives_up(&mut self) -> bool {
        if !self.in_trouble || !self.shared.queue.is_closing() {
            return false;
        }
        self.closing_since
            .get_or_insert_with(Instant::now)
            .elapsed()
            > CLOSE_PATIENCE
    }

    fn trouble(&mut self, error: &T::Error) {
        self.in_trouble = true;
        let first = self.shared.progress(|progress| {
            let first = progress.trouble_since.is_none();
            progress.trouble_since.get_or_insert_with(Instant::now);
            first
        });
        if first {
            tracing::error!(
                store = self.shared.name, %error,
                "the store cannot be written; changes wait in memory and would be lost with the process: check the disk, or the Redis server"
            );
        }
    }

    fn end_of_trouble(&mut self) {
        self.in_trouble = false;
        if let Some(since) = self
            .shared
            .progress(|progress| progress.trouble_since.take())
        {
            tracing::warn!(
                store = self.shared.name,
                seconds = since.elapsed().as_secs(),
                lost = self.shared.lost.load(Ordering::Relaxed),
                "the store is written again"
            );
        }
    }
}

impl Shared {
    pub(super) fn new(name: String, write_seconds: Histogram) -> Self {
        Self {
            name,
            queue: Queue::default(),
            progress: Mutex::default(),
            commits: AtomicU64::new(0),
            written: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            write_seconds,
            #[cfg(test)]
            max_pages: std::sync::atomic::AtomicI64::new(tests::NO_LIMIT),
        }
    }

    pub(super) fn change(&self, change: Change) -> State {
        let (tell, answer) = oneshot::channel();
        self.queue(change, Some(tell));
        State::Waiting(answer)
    }

    /// A change that nobody waits for.
    pub(super) fn note(&self, change: Change) {
        self.queue(change, None);
    }

    fn queue(&self, change: Change, waiter: Option<oneshot::Sender<Result<u64, StoreError>>>) {
        if !self.queue.push(Operation { change, waiter }) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count(&self, batch: &[Operation], results: &Results) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        for (operation, result) in batch.iter().zip(results) {
            match result {
                Err(StoreError::Refused(error)) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(store = self.name, error, "the store refused a change");
                }
                Ok(replaced) if operation.change.inserts_a_task() => {
                    self.written.fetch_add(1, Ordering::Relaxed);
                    self.replaced.fetch_add(*replaced, Ordering::Relaxed);
                }
                _ => {
                    self.written.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    pub(super) fn health(&self) -> Health {
        let progress = self.progress(|progress| *progress);
        // A disk that hangs gives no error.
        let stalled = progress
            .in_hand_since
            .filter(|since| since.elapsed() > STALL);
        let since = progress.trouble_since.or(stalled);
        Health {
            writing: since.is_none(),
            since,
            queued: (self.queue.len() + progress.in_hand) as u64,
            lost: self.lost.load(Ordering::Relaxed),
            replaced: self.replaced.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
        }
    }

    pub(super) fn takes(&self, in_hand: usize) {
        let since = (in_hand > 0).then(Instant::now);
        self.progress(|progress| {
            progress.in_hand = in_hand;
            progress.in_hand_since = since;
        });
    }

    fn progress<T>(&self, look: impl FnOnce(&mut Progress) -> T) -> T {
        look(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stands for a disk that is full.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, connection: &rusqlite::Connection) -> rusqlite::Result<()> {
        let pages = self.max_pages.load(Ordering::Relaxed);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    }
}

/// As long as a caller waits for a change before it goes on without.
const STALL: Duration = Duration::from_secs(1);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Shutdown has its own grace time; a disk that fails now will not be back within it.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
