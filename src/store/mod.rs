//! What outlives the process: which key owns which task, submits on their way, submits of which nobody
//! can know. Values of keys are stored nowhere.
//!
//! `rows` says what is kept, `statements` says it in SQL, `memory` does the same without a file. `usage`, `audit` and `bills`
//! are what is looked back at, by `history`.
//! `queue` and `writer` are the way to the disk, `commit` its last step, `reader` the way back, `sqlite` opens the file.
//! `redis` is the store that replicas share: the same queue and the same writer, another last step.

mod address;
mod audit;
mod bills;
mod commit;
mod history;
mod memory;
mod parked;
mod queue;
mod reader;
mod redis;
mod rows;
mod schema;
mod sqlite;
mod statements;
#[cfg(test)]
mod tests;
mod usage;
mod writer;
mod written;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::{Instant, timeout};

pub use address::{Address, AddressError};

pub use audit::AuditRow;
pub use bills::{Asked, By, Ledger, LedgerError, Line, Solve};

pub use parked::{Lack, OwnId, ParkedRecord, ParkedRequest, ParkedState, Unsent};
pub use redis::{Brought, Due, Met, Redis, SeenByHand, Spent, Switch};

pub use rows::{
    CameTo, Claim, Claimed, Endpoint, Intent, IntentId, Resolved, TaskKey, TaskRecord, TaskState,
    UncertainRow,
};

pub use sqlite::{OpenError, Recovered};
pub use usage::{Ended, Refused, Settled, UsageRow};

pub use written::Written;

use crate::config::settings::Sync;
use crate::keys::secret::{Identity, Salt};
use rows::Change;
use written::State;

/// A disk that hangs gives no error, and a client that waits for it gives its task up.
const LOOK_UP: Duration = Duration::from_secs(3);

/// A look-up that ends in time.
pub async fn in_time<T>(
    look_up: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let looked = timeout(LOOK_UP, look_up).await;
    looked.unwrap_or_else(|_| {
        Err(StoreError::Unreadable(
            "it takes longer than 3 s".to_owned(),
        ))
    })
}

/// Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub enum Store {
    Memory(Arc<Memory>),
    Sqlite(Arc<Sqlite>),
    Redis(Arc<Redis>),
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store(…)")
    }
}

pub struct Memory {
    tables: memory::Tables,
    numbers: Numbers,
    write_seconds: Histogram,
}

pub struct Sqlite {
    path: PathBuf,
    shared: Arc<writer::Shared>,
    questions: reader::Questions,
    numbers: Numbers,
    /// Taken by the first `close`.
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

struct Numbers {
    salt: Salt,
    last_intent: AtomicI64,
    last_bad_key_answer: AtomicI64,
    last_own_id: AtomicI64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the store has been in trouble for so long that no more changes can wait for it")]
    Overloaded,
    #[error("the store is closed")]
    Closed,
    #[error("the store could not be written before the end: {0} changes are lost")]
    Lost(u64),
    #[error("the store refused the change: {0}")]
    Refused(String),
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
    #[error("the replicas together use all {used} slots of the account")]
    Full { used: u32 },
    #[error("another replica has a submit with this idempotency key")]
    Claimed,
}

/// How the store is.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// False: changes wait in memory and would be lost with the process.
    pub writing: bool,
    /// Since when it does not write.
    pub since: Option<Instant>,
    /// Changes that are not on the disk yet.
    pub queued: u64,
    /// Changes that never will be, since the start.
    pub lost: u64,
    /// Tasks whose id was known already, since the start. The vendor uses ids again, or there are two vendors.
    pub replaced: u64,
    /// Transactions, and changes in them, since the start.
    pub commits: u64,
    pub written: u64,
}

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

    /// A sign of life, and the occasion to notice that the server forgot something. Not waited for.
    pub fn beat(&self) {
        self.note(Change::Nothing);
    }

    /// None: no other process uses this store.
    pub fn replicas(&self) -> Option<&Redis> {
        match self {
            Self::Redis(redis) => Some(redis),
            Self::Memory(_) | Self::Sqlite(_) => None,
        }
    }

    /// Made once for each store, so that identities are the same after a restart.
    pub fn salt(&self) -> Salt {
        self.numbers().salt.clone()
    }

    /// To be waited for before the first byte goes out. The id is good whatever the store does.
    pub fn intend(&self, intent: Intent, claim: Option<Claim>) -> (IntentId, Written) {
        self.intend_within(intent, claim, None)
    }

    /// The same where the account has so many slots: the shared store takes one with the intent, or says `Full`.
    pub fn intend_within(
        &self,
        intent: Intent,
        claim: Option<Claim>,
        slots: Option<u32>,
    ) -> (IntentId, Written) {
        let id = self.next_intent();
        (id, self.change(Change::Intend(id, intent, claim, slots)))
    }

    fn next_intent(&self) -> IntentId {
        IntentId(self.numbers().last_intent.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The vendor accepted. To be waited for before the client gets the id.
    pub fn accept(&self, intent: IntentId, task: TaskRecord) -> Written {
        self.change(Change::Accept(Some(intent), task))
    }

    /// `solve.php` answered, which makes no task. Its bill is written with the end of its intent, so that a crash leaves it
    /// billed or uncertain, not both. The answer is kept for its claim, if it is not too long.
    pub fn answered(&self, intent: IntentId, answer: &Bytes, row: UsageRow) -> Written {
        let kept = (answer.len() <= LONGEST_ANSWER).then(|| Bytes::copy_from_slice(answer));
        self.change(Change::Answered(intent, kept, Box::new(row)))
    }

    /// A task that was found without its submit: an account answered for an id that nobody knew.
    pub fn learn(&self, task: TaskRecord) -> Written {
        self.change(Change::Accept(None, task))
    }

    /// The vendor refused, or nothing was sent. Its claim is forgotten, too.
    pub fn forget(&self, intent: IntentId) {
        self.note(Change::ForgetIntent(intent));
    }

    /// Nobody can know whether the vendor accepted.
    pub fn uncertain(&self, row: UncertainRow) -> Written {
        self.change(Change::Uncertain(Box::new(row)))
    }

    /// The id came late, after the submit had been called uncertain.
    pub fn resolve_uncertain(&self, id: IntentId, task: TaskRecord) -> Written {
        self.change(Change::Resolve(id, task))
    }

    /// The newest first.
    pub async fn uncertain_list(&self, limit: usize) -> Result<Vec<UncertainRow>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.tables.uncertain(limit)),
            Self::Redis(redis) => redis.uncertain(limit).await,
            Self::Sqlite(sqlite) => {
                reader::ask(&sqlite.questions, move |connection| {
                    statements::uncertain(connection, limit)
                })
                .await
            }
        }
    }

    /// What a repeat of this claim is to hear.
    pub async fn find_claim(&self, scope: &[u8; 32]) -> Result<Option<Claimed>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.tables.claim(scope)),
            Self::Redis(redis) => redis.claim(scope).await,
            Self::Sqlite(sqlite) => {
                let scope = *scope;
                reader::ask(&sqlite.questions, move |connection| {
                    statements::claim(connection, &scope)
                })
                .await
            }
        }
    }

    pub async fn find_task(&self, key: &TaskKey) -> Result<Option<TaskRecord>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.tables.task(key)),
            Self::Redis(redis) => redis.task(key).await,
            Self::Sqlite(sqlite) => {
                let key = key.clone();
                reader::ask(&sqlite.questions, move |connection| {
                    statements::task(connection, &key)
                })
                .await
            }
        }
    }

    /// The task was polled or reported, or is final. Not waited for; a final task stays final.
    pub fn touch(&self, key: &TaskKey, used_at_ms: i64, state: TaskState) {
        self.note(Change::Touch(key.clone(), used_at_ms, state));
    }

    /// What `Redis::reserve` gave a number. A submit that made a task gives it back after its `accept`.
    pub fn give_back(&self, tenant: &Arc<str>, submit: i64, uncertain_until_ms: Option<i64>) {
        self.note(Change::GiveBack {
            tenant: Arc::clone(tenant),
            submit,
            uncertain_until_ms,
        });
    }

    /// The same for a submit that was parked: its row holds what it had reserved, until it ends.
    pub fn hold_parked(&self, submit: i64, parked: OwnId) {
        self.note(Change::HoldParked { submit, parked });
    }

    /// In small transactions, so that submits are not held up.
    pub async fn forget_tasks_unused_since(&self, unused_since_ms: i64) -> Result<u64, StoreError> {
        self.forget_all(Change::ForgetTasks {
            unused_since_ms,
            limit: FORGET_AT_ONCE,
        })
        .await
    }

    pub async fn forget_uncertain_before(&self, before_ms: i64) -> Result<u64, StoreError> {
        self.forget_all(Change::ForgetUncertain {
            before_ms,
            limit: FORGET_AT_ONCE,
        })
        .await
    }

    /// Also those that are younger, while there are more than are kept: the oldest first.
    pub async fn forget_claims_before(&self, before_ms: i64) -> Result<u64, StoreError> {
        self.forget_all(Change::ForgetClaims {
            before_ms,
            most: MOST_CLAIMS,
            limit: FORGET_AT_ONCE,
        })
        .await
    }

    async fn forget_all(&self, change: Change) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let now = self.change(change.clone()).await?;
            forgotten += now;
            if now < FORGET_AT_ONCE as u64 {
                return Ok(forgotten);
            }
        }
    }

    /// The vendor called a key bad. Not waited for.
    pub fn note_bad_key_answer(&self, at_ms: i64) {
        let last = &self.numbers().last_bad_key_answer;
        let id = last.fetch_add(1, Ordering::Relaxed) + 1;
        self.note(Change::BadKeyAnswer { id, at_ms });
    }

    /// The vendor accepted this key for the first time. Not waited for.
    pub fn note_good_key(&self, identity: Identity, at_ms: i64) {
        self.note(Change::GoodKey(identity, at_ms));
    }

    /// It is not good any more.
    pub fn note_no_good_key(&self, identity: Identity) {
        self.note(Change::NoGoodKey(identity));
    }

    /// Keys that the vendor accepted in this or an earlier run.
    pub async fn good_keys(&self) -> Result<HashSet<Identity>, StoreError> {
        match self {
            Self::Memory(_) => Ok(HashSet::new()),
            Self::Redis(redis) => redis.good_keys().await,
            Self::Sqlite(sqlite) => reader::ask(&sqlite.questions, statements::good_keys).await,
        }
    }

    /// Their times, the oldest first; at most the last hundred.
    pub async fn bad_key_answers_since(&self, since_ms: i64) -> Result<Vec<i64>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.tables.bad_key_answers(since_ms)),
            Self::Redis(redis) => redis.bad_key_answers(since_ms).await,
            Self::Sqlite(sqlite) => {
                reader::ask(&sqlite.questions, move |connection| {
                    statements::bad_key_answers(connection, since_ms)
                })
                .await
            }
        }
    }

    /// Tasks that were used since then and are not final, the latest first.
    pub async fn running_tasks(
        &self,
        used_since_ms: i64,
        limit: usize,
    ) -> Result<Vec<TaskRecord>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.tables.running_tasks(used_since_ms, limit)),
            Self::Redis(redis) => redis.running_tasks(used_since_ms, limit).await,
            Self::Sqlite(sqlite) => {
                reader::ask(&sqlite.questions, move |connection| {
                    statements::running_tasks(connection, used_since_ms, limit)
                })
                .await
            }
        }
    }

    /// Resolves when everything that was changed before is durable.
    pub fn flush(&self) -> Written {
        self.change(Change::Nothing)
    }

    pub fn health(&self) -> Health {
        match self {
            Self::Memory(memory) => Health {
                writing: true,
                since: None,
                queued: 0,
                lost: 0,
                replaced: memory.tables.replaced(),
                commits: 0,
                written: 0,
            },
            Self::Redis(redis) => redis.shared.health(),
            Self::Sqlite(sqlite) => sqlite.shared.health(),
        }
    }

    /// What a transaction took. A handle: to be registered once.
    pub fn write_seconds(&self) -> Histogram {
        match self {
            Self::Memory(memory) => memory.write_seconds.clone(),
            Self::Redis(redis) => redis.shared.write_seconds.clone(),
            Self::Sqlite(sqlite) => sqlite.shared.write_seconds.clone(),
        }
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

    fn numbers(&self) -> &Numbers {
        match self {
            Self::Memory(memory) => &memory.numbers,
            Self::Redis(redis) => &redis.numbers,
            Self::Sqlite(sqlite) => &sqlite.numbers,
        }
    }

    fn change(&self, change: Change) -> Written {
        Written(match self {
            Self::Memory(memory) => State::Known(Ok(memory.tables.apply(change))),
            Self::Sqlite(sqlite) => sqlite.shared.change(change),
            Self::Redis(redis) => {
                redis.remember(&change);
                redis.shared.change(change)
            }
        })
    }

    /// A change that nobody waits for.
    fn note(&self, change: Change) {
        match self {
            Self::Memory(memory) => {
                memory.tables.apply(change);
            }
            Self::Sqlite(sqlite) => sqlite.shared.note(change),
            Self::Redis(redis) => {
                redis.remember(&change);
                redis.shared.note(change);
            }
        }
    }
}

/// Without `close` the writer still writes what waits, but nobody waits for it.
impl Drop for Sqlite {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// From a commit without sync on a fast disk to a disk that hangs.
fn write_seconds() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0,
    ])
}

/// SECURITY: clients decide how many idempotency keys there are. Each of these cost a paid submit.
const MOST_CLAIMS: usize = 50_000;

/// An answer of `solve.php` that is kept for a repeat. Tokens have 2 to 4 KiB.
const LONGEST_ANSWER: usize = 8 << 10;

/// Rows in one transaction of forgetting: a few milliseconds.
const FORGET_AT_ONCE: usize = 1000;
