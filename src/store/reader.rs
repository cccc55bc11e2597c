//! The thread that looks things up, beside the writer: in WAL mode neither waits for the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

type Question = Box<dyn FnOnce(&mut Reader) + Send>;

/// Asks the reader's thread. `None` ends it.
pub(super) type Questions = mpsc::Sender<Option<Question>>;

pub(super) struct Reader {
    path: PathBuf,
    connection: Option<Connection>,
}

pub(super) fn reader(path: &Path) -> (Questions, impl FnOnce() + Send + 'static) {
    let (questions, mut asked) = mpsc::channel::<Option<Question>>(MAX_WAITING);
    let mut reader = Reader {
        path: path.to_owned(),
        connection: None,
    };
    let run = move || {
        while let Some(Some(question)) = asked.blocking_recv() {
            question(&mut reader);
        }
    };
    (questions, run)
}

/// Waits for a place in the queue, which is bounded, and for the answer.
pub(super) async fn ask<T: Send + 'static>(
    questions: &Questions,
    look_up: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let (tell, answer) = oneshot::channel();
    let question: Question = Box::new(move |reader| {
        // Whoever asked may be gone.
        let _ = tell.send(reader.look_up(look_up));
    });
    questions
        .send(Some(question))
        .await
        .map_err(|_| StoreError::Closed)?;
    answer.await.map_err(|_| StoreError::Closed)?
}

impl Reader {
    fn look_up<T>(
        &mut self,
        look_up: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let answer = match self.connection.take().map_or_else(|| self.connect(), Ok) {
            Ok(connection) => {
                let answer = look_up(&connection);
                if answer.is_ok() {
                    self.connection = Some(connection);
                }
                answer
            }
            Err(error) => Err(error),
        };
        answer.map_err(|error| StoreError::Unreadable(error.to_string()))
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
        Ok(connection)
    }
}

/// Further look-ups wait for a place; their callers have deadlines.
const MAX_WAITING: usize = 64;

/// Readers wait only while a log is being recovered.
const BUSY: Duration = Duration::from_millis(500);

/// Negative: in KiB. Look-ups here are the rare ones that missed memory.
const CACHE_KIB: i64 = -512;
