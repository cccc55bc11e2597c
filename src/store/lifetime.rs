//! How a store begins, and how it ends.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use prometheus_client::metrics::histogram::Histogram;

use super::{
    Address, Memory, Numbers, OpenError, OwnId, Recovered, Redis, Sqlite, Store, StoreError,
    Threads, commit, memory, reader, sqlite, writer,
};
use crate::config::settings::Sync;
use crate::keys::secret::Salt;

impl Store {
    pub fn memory() -> Self {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)
            .unwrap_or_else(|error| panic!("the system gives no random bytes: {error}"));
        Self::Memory(Arc::new(Memory {
            tables: memory::Tables::new(memory::MAX_TASKS),
            numbers: Numbers {
                salt: Salt(salt),
                last_intent: AtomicI64::new(0),
                last_bad_key_answer: AtomicI64::new(0),
                last_own_id: AtomicI64::new(OwnId::before_the_first()),
            },
            write_seconds: write_seconds(),
        }))
    }

    /// Blocks for as long as the disk takes. The directory must exist.
    pub fn open(path: &Path, sync: Sync) -> Result<(Self, Recovered), OpenError> {
        let opened = sqlite::open(path, sync)?;
        let name = path.display().to_string();
        let shared = Arc::new(writer::Shared::new(name, write_seconds()));
        let file = commit::File::new(path, sync, opened.connection, opened.lock);
        let writer = writer::Writer::new(Arc::clone(&shared), file);
        let (questions, reader) = reader::reader(path);
        let no_thread = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        let threads = Threads {
            reader: start("store-reader", reader).map_err(no_thread)?,
            writer: start("store-writer", || writer.run()).map_err(no_thread)?,
        };
        let store = Self::Sqlite(Arc::new(Sqlite {
            path: path.to_owned(),
            shared,
            questions,
            numbers: Numbers {
                salt: opened.salt,
                last_intent: AtomicI64::new(opened.last_intent),
                last_bad_key_answer: AtomicI64::new(opened.last_bad_key_answer),
                last_own_id: AtomicI64::new(opened.last_own_id),
            },
            threads: Mutex::new(Some(threads)),
        }));
        Ok((store, opened.recovered))
    }

    /// Blocks until the server answers, or for some seconds.
    pub fn connect(address: &Address) -> Result<Self, OpenError> {
        Redis::open(address).map(|redis| Self::Redis(Arc::new(redis)))
    }

    /// Writes what waits, leaves one file, and ends the threads. Later changes are refused.
    pub async fn close(self) -> Result<(), StoreError> {
        let (shared, threads) = match &self {
            Self::Memory(_) => return Ok(()),
            Self::Sqlite(sqlite) => {
                let _ = sqlite.questions.send(None).await;
                (&sqlite.shared, &sqlite.threads)
            }
            Self::Redis(redis) => {
                redis.stop_asking().await;
                (&redis.shared, &redis.threads)
            }
        };
        let lost_before = shared.lost.load(Ordering::Relaxed);
        let threads = threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let writer = Arc::clone(shared);
        let end = move || {
            let Some(threads) = threads else { return true };
            // The reader first: only a writer that closes last can remove the log.
            let reader = threads.reader.join();
            writer.queue.close();
            threads.writer.join().is_ok() && reader.is_ok()
        };
        let ended = tokio::task::spawn_blocking(end).await;
        match shared.lost.load(Ordering::Relaxed) - lost_before {
            0 if ended.unwrap_or(false) => Ok(()),
            lost => Err(StoreError::Lost(lost)),
        }
    }
}

/// Without `close` the writer still writes what waits, but nobody waits for it.
impl Drop for Sqlite {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

pub(super) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// From a commit without sync on a fast disk to a disk that hangs.
pub(super) fn write_seconds() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0,
    ])
}
