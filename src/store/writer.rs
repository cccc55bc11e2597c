//! The one thread that writes. It takes what waits, writes all of it in one transaction, and answers.
//! In trouble it keeps what it took and tries again: a change that was queued is never dropped, except
//! when the process ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use rusqlite::{Connection, ErrorCode};
use tokio::time::Instant;

use super::queue::{Operation, Queue};
#[cfg(test)]
use super::tests;
use super::{Health, StoreError, sqlite, statements};
use crate::config::settings::Sync;

/// What the writer and those who ask about it share.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) sync: Sync,
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

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// None after trouble: a connection whose write failed is not trusted again.
    connection: Option<Connection>,
    /// The system failed to write or sync, so what it says is in the log may not be on the disk.
    distrust_log: bool,
    /// Since when closing waits for the end of trouble.
    closing_since: Option<Instant>,
    /// Unlocks when dropped, so it is dropped last.
    _lock: File,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection, lock: File) -> Self {
        Self {
            shared,
            connection: Some(connection),
            distrust_log: false,
            closing_since: None,
            _lock: lock,
        }
    }

    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        while self.shared.queue.take(&mut batch) {
            self.shared.takes(batch.len());
            self.write_until_done(&mut batch);
            self.shared.takes(0);
        }
        if let Some(connection) = &self.connection {
            // Leaves one file. If it fails, the log stays and the next start reads it.
            let _ = sqlite::empty_log(connection);
        }
    }

    fn write_until_done(&mut self, batch: &mut Vec<Operation>) {
        let mut pause = FIRST_PAUSE;
        while !self.gives_up() {
            match self.write(batch) {
                Ok(results) => {
                    self.end_of_trouble();
                    for (operation, result) in batch.drain(..).zip(results) {
                        operation.answer(Ok(result));
                    }
                    return;
                }
                Err(error) => self.trouble(&error),
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
        if self.connection.is_some() || !self.shared.queue.is_closing() {
            return false;
        }
        self.closing_since
            .get_or_insert_with(Instant::now)
            .elapsed()
            > CLOSE_PATIENCE
    }

    /// One transaction. After an error nothing of it counts, and the whole batch is to be written again.
    fn write(&mut self, batch: &mut Vec<Operation>) -> rusqlite::Result<Vec<u64>> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = sqlite::connect(&self.shared.path, self.shared.sync)?;
                if self.distrust_log {
                    // Writes everything anew into the main file and syncs that.
                    sqlite::empty_log(&connection)?;
                    self.distrust_log = false;
                }
                connection
            }
        };
        #[cfg(test)]
        self.shared.limit_pages(&connection)?;
        let started = Instant::now();
        let mut results = Vec::with_capacity(batch.len());
        'again: loop {
            results.clear();
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            for at in 0..batch.len() {
                match statements::apply(&connection, &batch[at].change) {
                    Ok(result) => results.push(result),
                    Err(error) if blames_the_change(&error) => {
                        connection.execute_batch("ROLLBACK")?;
                        let refused = batch.remove(at);
                        self.shared.lost.fetch_add(1, Ordering::Relaxed);
                        tracing::error!(store = %self.shared.path.display(), %error, "the store refused a change");
                        refused.answer(Err(StoreError::Refused(error.to_string())));
                        continue 'again;
                    }
                    Err(error) => return Err(error),
                }
            }
            connection.prepare_cached("COMMIT")?.execute([])?;
            break;
        }
        self.connection = Some(connection);
        let shared = &self.shared;
        shared
            .write_seconds
            .observe(started.elapsed().as_secs_f64());
        shared.commits.fetch_add(1, Ordering::Relaxed);
        shared
            .written
            .fetch_add(batch.len() as u64, Ordering::Relaxed);
        let replaced = batch
            .iter()
            .zip(&results)
            .filter(|(operation, _)| operation.change.inserts_a_task())
            .map(|(_, replaced)| replaced)
            .sum();
        shared.replaced.fetch_add(replaced, Ordering::Relaxed);
        Ok(results)
    }

    fn trouble(&mut self, error: &rusqlite::Error) {
        self.distrust_log |= matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt)
        );
        let first = self.shared.progress(|progress| {
            let first = progress.trouble_since.is_none();
            progress.trouble_since.get_or_insert_with(Instant::now);
            first
        });
        if first {
            tracing::error!(
                store = %self.shared.path.display(), %error,
                "the store cannot be written; changes wait in memory and would be lost with the process: check disk space and the disk"
            );
        }
    }

    fn end_of_trouble(&self) {
        if let Some(since) = self
            .shared
            .progress(|progress| progress.trouble_since.take())
        {
            tracing::warn!(
                store = %self.shared.path.display(),
                seconds = since.elapsed().as_secs(),
                lost = self.shared.lost.load(Ordering::Relaxed),
                "the store is written again"
            );
        }
    }
}

impl Shared {
    pub(super) fn new(path: &Path, sync: Sync, write_seconds: Histogram) -> Self {
        Self {
            path: path.to_owned(),
            sync,
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
    fn limit_pages(&self, connection: &Connection) -> rusqlite::Result<()> {
        let pages = self.max_pages.load(Ordering::Relaxed);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    }
}

/// Trying again would fail again. All other errors are the disk's, and pass.
fn blames_the_change(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch
        ),
        None => true,
    }
}

/// As long as a caller waits for a change before it goes on without.
const STALL: Duration = Duration::from_secs(1);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Shutdown has its own grace time; a disk that fails now will not be back within it.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
