//! What is remembered of keys, by their identities: no value is ever written.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::rows::Change;
use super::{Store, StoreError, reader, statements};
use crate::keys::secret::Identity;

impl Store {
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
}
