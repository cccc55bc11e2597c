//! The last step to the disk: what waits becomes one transaction in the file.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};
use tokio::time::Instant;

use super::queue::Operation;
use super::writer::{Results, Shared, Target};
use super::{StoreError, sqlite, statements};
use crate::config::settings::Sync;

pub(super) struct File {
    path: PathBuf,
    sync: Sync,
    /// None after trouble: a connection whose write failed is not trusted again.
    connection: Option<Connection>,
    /// The system failed to write or sync, so what it says is in the log may not be on the disk.
    distrust_log: bool,
    /// Unlocks when dropped, so it is dropped last.
    _lock: fs::File,
}

impl File {
    pub(super) fn new(path: &Path, sync: Sync, connection: Connection, lock: fs::File) -> Self {
        Self {
            path: path.to_owned(),
            sync,
            connection: Some(connection),
            distrust_log: false,
            _lock: lock,
        }
    }
}

impl Target for File {
    type Error = rusqlite::Error;

    /// One transaction. After an error nothing of it counts, and the whole batch is to be written again.
    fn write(&mut self, batch: &[Operation], shared: &Shared) -> rusqlite::Result<Results> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = sqlite::connect(&self.path, self.sync)?;
                if self.distrust_log {
                    // Writes everything anew into the main file and syncs that.
                    sqlite::empty_log(&connection)?;
                    self.distrust_log = false;
                }
                connection
            }
        };
        #[cfg(test)]
        shared.limit_pages(&connection)?;
        let started = Instant::now();
        let mut results = Vec::with_capacity(batch.len());
        let mut refused = HashMap::new();
        'again: loop {
            results.clear();
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            for (at, operation) in batch.iter().enumerate() {
                if let Some(why) = refused.get(&at) {
                    results.push(Err(StoreError::Refused(String::clone(why))));
                    continue;
                }
                match statements::apply(&connection, &operation.change) {
                    Ok(result) => results.push(Ok(result)),
                    Err(error) if blames_the_change(&error) => {
                        connection.execute_batch("ROLLBACK")?;
                        refused.insert(at, error.to_string());
                        continue 'again;
                    }
                    Err(error) => return Err(error),
                }
            }
            connection.prepare_cached("COMMIT")?.execute([])?;
            break;
        }
        self.connection = Some(connection);
        shared
            .write_seconds
            .observe(started.elapsed().as_secs_f64());
        Ok(results)
    }

    fn failed(&mut self, error: &rusqlite::Error) {
        self.distrust_log |= matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt)
        );
    }

    fn end(&mut self) {
        if let Some(connection) = &self.connection {
            // Leaves one file. If it fails, the log stays and the next start reads it.
            let _ = sqlite::empty_log(connection);
        }
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
