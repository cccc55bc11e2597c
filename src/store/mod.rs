//! What outlives the process: which key owns which task, submits on their way, submits of which nobody
//! can know. Values of keys are stored nowhere.
//!
//! `rows` says what is kept, `statements` says it in SQL, `memory` does the same without a file. `usage`, `audit` and `bills`
//! are what is looked back at, by `history`, and `keys` what is remembered of keys.
//! `queue` and `writer` are the way to the disk, `commit` its last step, `reader` the way back, `sqlite` opens the file.
//! `lifetime` is how a store begins and ends. `redis` is the store that replicas share: the same queue and the same writer, another last step.

mod address;
mod audit;
mod bills;
mod commit;
mod history;
mod keys;
mod lifetime;
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

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
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
    CameTo, Claim, Claimed, Endpoint, Intent, IntentId, Reserved, Resolved, TaskKey, TaskRecord,
    TaskState, UncertainRow, Within,
};

pub use sqlite::{OpenError, Recovered};
pub use usage::{Ended, Refused, Settled, UsageRow};

pub use written::Written;

use crate::keys::secret::Salt;
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
    #[error(
        "what the submit had reserved of its tenant's limits was given back: this replica was silent for so long that it was taken for dead"
    )]
    Unreserved,
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

    /// To be waited for before the first byte goes out. The id is good whatever the store does. The shared store takes one of the
    /// account's slots with it, or says `Full`, or `Unreserved`.
    pub fn intend_within(
        &self,
        intent: Intent,
        claim: Option<Claim>,
        within: Within,
    ) -> (IntentId, Written) {
        let id = self.next_intent();
        (id, self.change(Change::Intend(id, intent, claim, within)))
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
                    statements::uncertain::list(connection, limit)
                })
                .await
            }
        }
    }

    /// Those of which no id came late.
    pub async fn uncertain_open(&self) -> Result<u64, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.tables.uncertain_open()),
            Self::Redis(redis) => redis.uncertain_open().await,
            Self::Sqlite(sqlite) => {
                reader::ask(&sqlite.questions, statements::uncertain::open).await
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

/// SECURITY: clients decide how many idempotency keys there are. Each of these cost a paid submit.
const MOST_CLAIMS: usize = 50_000;

/// An answer of `solve.php` that is kept for a repeat. Tokens have 2 to 4 KiB.
const LONGEST_ANSWER: usize = 8 << 10;

/// Rows in one transaction of forgetting: a few milliseconds.
const FORGET_AT_ONCE: usize = 1000;
