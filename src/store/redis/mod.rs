//! The store that replicas share: one Redis server.
//!
//! Changes go the way of the file's: one queue, one thread, many changes at once; here as one script, which Redis carries
//! out whole or not at all, and only once, however often it is sent. What this process changed it remembers besides, and
//! writes back when the server was emptied or lost its last second. `changes.lua`, with `parked.lua`, `write_back.lua` and
//! `carry_out.lua` behind it, is the truth about what is kept where.

mod changes;
pub(super) mod connection;
mod held;
mod ledger;
mod look_ups;
mod meeting;
mod parked;
mod reserve;
mod rows;
mod spent;
mod told;
mod write_back;

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use redis::{RedisError, RedisResult, Value};
use tokio::time::Instant;

use super::lifetime::{start, write_seconds};
use super::memory::Tables;
use super::parked::OwnId;
use super::queue::{MAX_BATCH, Operation};
use super::rows::Change;
use super::sqlite::OpenError;
use super::writer::{Results, Shared, Target, Writer};
use super::{Address, Numbers, StoreError, Threads};
use crate::keys::account::LEASE;
use crate::keys::secret::Salt;
use changes::Arguments;
use connection::{Conversation, Script};
use held::Held;
use look_ups::Questions;
use write_back::written_back;

pub(super) use ledger::Bills;
pub use meeting::{Brought, Met, SeenByHand, Switch};
pub use spent::Spent;
pub use told::Due;

pub struct Redis {
    address: Address,
    pub(super) shared: Arc<Shared>,
    questions: Questions,
    pub(super) numbers: Numbers,
    /// Taken by the first `close`.
    pub(super) threads: Mutex<Option<Threads>>,
    /// What this process changed: looked at when the server does not answer, written back when it forgot.
    mirror: Arc<Tables>,
    /// Likewise, of the limits of tenants.
    held: Arc<Held>,
    /// This process among all that ever used the server.
    run: i64,
}

impl Redis {
    /// A server that is just starting is waited for.
    pub(super) fn open(address: &Address) -> Result<Self, OpenError> {
        let unusable = |problem: String| OpenError::Redis {
            address: address.to_string(),
            problem,
        };
        let mut conversation = Conversation::new(address, PATIENCE);
        let mut tries = 1;
        let found = loop {
            match conversation.say(found) {
                Ok(found) => break found,
                Err(error) if tries == TRIES => return Err(unusable(error.to_string())),
                Err(_) => tries += 1,
            }
            sleep(PAUSE);
        };
        if found.version > VERSION {
            return Err(OpenError::RedisTooNew {
                address: address.to_string(),
                version: found.version,
            });
        }
        let salt = found.salt.try_into().map(Salt);
        let salt = salt.map_err(|_| unusable("its salt is damaged".to_owned()))?;
        let shared = Arc::new(Shared::new(address.to_string(), write_seconds()));
        let mirror = Arc::new(Tables::new(MOST_REMEMBERED));
        let held = Arc::new(Held::default());
        let target = Server {
            conversation,
            script: found.script,
            mirror: Arc::clone(&mirror),
            held: Arc::clone(&held),
            salt: salt.clone(),
            run: found.run,
            last_own_id: found.last_own_id,
            number: 0,
            told: false,
        };
        let writer = Writer::new(Arc::clone(&shared), target);
        let (questions, asker) = look_ups::asker(Conversation::new(address, PATIENCE));
        let no_thread = |error: std::io::Error| unusable(error.to_string());
        let threads = Threads {
            reader: start("store-reader", asker).map_err(no_thread)?,
            writer: start("store-writer", || writer.run()).map_err(no_thread)?,
        };
        // Numbers that no other run gives. Each has four thousand million; all are below 2^53.
        let first = found.run << 32;
        Ok(Self {
            address: address.clone(),
            shared,
            questions,
            numbers: Numbers {
                salt,
                last_intent: AtomicI64::new(first),
                last_bad_key_answer: AtomicI64::new(first),
                last_own_id: AtomicI64::new(found.last_own_id - OWN_IDS),
            },
            threads: Mutex::new(Some(threads)),
            mirror,
            held,
            run: found.run,
        })
    }

    /// What was asked before is answered.
    pub(super) async fn stop_asking(&self) {
        // Nobody there to hear it has ended already.
        let _ = self.questions.send(None).await;
    }

    pub(super) fn remember(&self, change: &Change) {
        self.held.apply(change);
        self.mirror.apply(change.clone());
    }
}

/// Without `close` the writer still writes what waits, but nobody waits for it.
impl Drop for Redis {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

struct Found {
    script: Script,
    version: i64,
    salt: Vec<u8>,
    run: i64,
    last_own_id: i64,
}

/// What is on the server, made where it is not.
fn found(connection: &mut redis::Connection) -> RedisResult<Found> {
    let mut new_salt = [0; 32];
    getrandom::fill(&mut new_salt)
        .unwrap_or_else(|error| panic!("the system gives no random bytes: {error}"));
    let script = Script::load(CHANGES, connection)?;
    let (version, salt, last_run, last_own_id): (i64, Vec<u8>, i64, i64) = redis::pipe()
        .atomic()
        .cmd("SET")
        .arg(("sidekey:version", VERSION, "NX"))
        .ignore()
        .cmd("SET")
        .arg(("sidekey:salt", &new_salt[..], "NX"))
        .ignore()
        .cmd("GET")
        .arg("sidekey:version")
        .cmd("GET")
        .arg("sidekey:salt")
        .cmd("INCR")
        .arg("sidekey:last_run")
        .cmd("SET")
        .arg(("sidekey:last_own_id", OwnId::before_the_first(), "NX"))
        .ignore()
        .cmd("INCRBY")
        .arg(("sidekey:last_own_id", OWN_IDS))
        .query(connection)?;
    Ok(Found {
        script,
        version,
        salt,
        run: last_run - 1,
        last_own_id,
    })
}

/// Where batches go.
struct Server {
    conversation: Conversation,
    script: Script,
    mirror: Arc<Tables>,
    held: Arc<Held>,
    salt: Salt,
    run: i64,
    /// Of those that this run may give.
    last_own_id: i64,
    /// Of the last batch that was carried out. The server keeps it too, so both know whether one was.
    number: i64,
    /// That it forgot was said.
    told: bool,
}

enum Carried {
    /// Perhaps before, and its answer was lost on the way.
    Done(Vec<i64>),
    /// Not at all: the server does not know the batch before.
    Forgot,
}

impl Target for Server {
    type Error = RedisError;

    fn write(&mut self, batch: &[Operation], shared: &Shared) -> RedisResult<Results> {
        let mut arguments = Arguments::default();
        let counts: Vec<_> = batch
            .iter()
            .map(|operation| arguments.add(&operation.change))
            .collect();
        let started = Instant::now();
        let numbers = loop {
            match self.carry_out(&arguments, batch.len() < MAX_BATCH)? {
                Carried::Done(numbers) => break numbers,
                Carried::Forgot => self.write_back()?,
            }
        };
        self.number += 1;
        self.told = false;
        shared
            .write_seconds
            .observe(started.elapsed().as_secs_f64());
        let mut numbers = numbers.into_iter();
        let result = |counts| match counts {
            true => result(numbers.next().unwrap_or_default()),
            false => Ok(0),
        };
        Ok(counts.into_iter().map(result).collect())
    }

    /// Its submits that are still on their way are uncertain from now on; they need not wait until it is missed.
    fn end(&mut self) {
        let _ = self.conversation.say(|connection| {
            look_ups::take_over(connection, self.run, 0)?;
            redis::cmd("DEL")
                .arg(format!("sidekey:applied:{}", self.run))
                .query::<()>(connection)
        });
    }
}

impl Server {
    fn carry_out(&mut self, changes: &Arguments, is_all: bool) -> RedisResult<Carried> {
        let next = (self.number + 1).to_string();
        self.send("next", &next, changes, is_all)
    }

    /// In pieces; the last one says that all are there, so a try that was cut off begins anew.
    fn write_back(&mut self) -> RedisResult<()> {
        if !self.told {
            self.told = true;
            tracing::error!(
                "the Redis server forgot what was written: what this replica remembers is written back"
            );
        }
        let mut pieces = written_back(
            &self.mirror.remembered(),
            &self.held.copy(),
            &self.salt,
            self.run,
            self.last_own_id,
        );
        pieces.push(Arguments::default());
        let last = pieces.len() - 1;
        for (at, piece) in pieces.iter().enumerate() {
            let number = match at == last {
                true => self.number.to_string(),
                false => String::new(),
            };
            self.send("restore", &number, piece, false)?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        how: &str,
        number: &str,
        changes: &Arguments,
        is_all: bool,
    ) -> RedisResult<Carried> {
        let mut arguments: Vec<Vec<u8>> = vec![
            how.into(),
            self.run.to_string().into(),
            number.into(),
            self.number.to_string().into(),
            LEASE.as_millis().to_string().into(),
            u8::from(is_all).to_string().into(),
        ];
        arguments.extend(changes.0.iter().cloned());
        let script = &self.script;
        let reply: Vec<Value> = self
            .conversation
            .say(|connection| script.run(&arguments, connection))?;
        let mut reply = reply.into_iter();
        let word: String = reply
            .next()
            .map_or(Ok(String::new()), redis::from_redis_value)?;
        Ok(match &*word {
            "lost" => Carried::Forgot,
            _ => Carried::Done(
                reply
                    .map(redis::from_redis_value)
                    .collect::<Result<_, _>>()?,
            ),
        })
    }
}

/// `CLAIMED`, `UNRESERVED` and `FULL` of the script are below zero.
fn result(number: i64) -> Result<u64, StoreError> {
    match number {
        -1 => Err(StoreError::Claimed),
        -2 => Err(StoreError::Unreserved),
        ..=-3 => Err(StoreError::Full {
            used: u32::try_from(-3 - number).unwrap_or(u32::MAX),
        }),
        _ => Ok(number.unsigned_abs()),
    }
}

/// In this order: each uses what stands before it, and the last one begins.
const CHANGES: &str = concat!(
    include_str!("changes.lua"),
    include_str!("parked.lua"),
    include_str!("write_back.lua"),
    include_str!("carry_out.lua"),
);

/// Raised by a change that the version before could not live with: it refuses a server that has a higher one. All else only
/// adds, so that replicas of two versions can write at once: a field that may be missing, a name of its own. Whoever reads
/// leaves what it does not know.
const VERSION: i64 = 1;

/// Ids of parked submits that one run may give. With that many for each of 800,000 starts there is room in the range; a run
/// that came to the next one's would find them taken, and refuse what it cannot park.
const OWN_IDS: i64 = 1 << 22;

/// SECURITY: clients decide how many tasks there are. About 500 bytes each; of more, only the server knows.
const MOST_REMEMBERED: usize = 50_000;

/// A server that does not answer for so long is taken for one that is down.
const PATIENCE: Duration = Duration::from_secs(2);

/// At a start: a server that is being restarted loads its file first.
const TRIES: usize = 15;
const PAUSE: Duration = Duration::from_millis(300);
