//! What was used and who changed what, for those who look back.

use std::collections::HashMap;
use std::sync::Arc;

use super::audit::{self, AuditRow};
use super::bills::{Asked, Ledger, Line};
use super::rows::Change;
use super::usage::{self, Refused, Settled, UsageRow};
use super::{FORGET_AT_ONCE, Store, StoreError, Written, reader};
use crate::request::clock;

impl Store {
    /// A task has ended: its own end and its row of the bill are written together. Not waited for: until then the task
    /// counts as running, and is followed to its end again after a restart. One that expired goes on running here, so that
    /// an answer which comes after all is billed also after a restart.
    pub fn settle(&self, row: UsageRow) {
        self.note(Change::Settle(Box::new(row)));
    }

    /// The same, and 1 for a row that is new: of several processes that hear the end one counts it.
    pub fn settle_together(&self, row: UsageRow) -> Written {
        self.change(Change::Settle(Box::new(row)))
    }

    /// The first of a day stands in the audit log, too.
    pub fn note_refused(&self, refused: Refused) {
        self.note(Change::Refused(refused, clock::now_ms()));
    }

    /// Of one day.
    pub async fn refusals(&self, day: i64) -> Result<Vec<Refused>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.tables.refusals(day)),
            Self::Redis(redis) => redis.refusals(day).await,
            Self::Sqlite(sqlite) => {
                reader::ask(&sqlite.questions, move |connection| {
                    usage::refusals(connection, day)
                })
                .await
            }
        }
    }

    /// By tenant, what was settled since the day and since the month began.
    pub async fn settled(
        &self,
        day_began_ms: i64,
        month_began_ms: i64,
    ) -> Result<HashMap<Arc<str>, Settled>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.tables.settled(day_began_ms, month_began_ms)),
            Self::Redis(redis) => redis.settled(day_began_ms, month_began_ms).await,
            Self::Sqlite(sqlite) => {
                reader::ask(&sqlite.questions, move |connection| {
                    usage::settled(connection, day_began_ms, month_began_ms)
                })
                .await
            }
        }
    }

    /// When a task ended last, of those that ended before.
    pub async fn last_end(&self, before_ms: i64) -> Result<Option<i64>, StoreError> {
        match self {
            // Asked for at a start only, and this store ends with the process.
            Self::Memory(_) => Ok(None),
            Self::Redis(redis) => redis.last_end(before_ms).await,
            Self::Sqlite(sqlite) => {
                reader::ask(&sqlite.questions, move |connection| {
                    usage::last_end(connection, before_ms)
                })
                .await
            }
        }
    }

    /// Not waited for.
    pub fn audit(&self, row: AuditRow) {
        self.note(Change::Audit(Box::new(row)));
    }

    /// The newest first.
    pub async fn audit_list(&self, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.tables.audit(limit)),
            Self::Redis(redis) => redis.audit(limit).await,
            Self::Sqlite(sqlite) => {
                reader::ask(&sqlite.questions, move |connection| {
                    audit::list(connection, limit)
                })
                .await
            }
        }
    }

    /// What was used, added up. On a connection of its own: a year takes a second, and polls must not wait for it.
    pub async fn bill(&self, asked: Asked) -> Result<Vec<Line>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.tables.bill(&asked)),
            Self::Redis(redis) => redis.bill(asked).await,
            Self::Sqlite(sqlite) => {
                let path = sqlite.path.clone();
                let unreadable = |error: String| StoreError::Unreadable(error);
                let add_up = move || {
                    let mut ledger =
                        Ledger::open(&path).map_err(|error| unreadable(error.to_string()))?;
                    let lines = ledger.lines(&asked);
                    lines.map_err(|error| unreadable(error.to_string()))
                };
                let added = tokio::task::spawn_blocking(add_up).await;
                added.unwrap_or(Err(StoreError::Closed))
            }
        }
    }

    /// Rows of bills, and refusals.
    pub async fn forget_usage_before(&self, before_ms: i64) -> Result<u64, StoreError> {
        self.forget_all(Change::ForgetUsage {
            before_ms,
            limit: FORGET_AT_ONCE,
        })
        .await
    }

    /// Also those that are younger, while there are more than are kept: the oldest first.
    pub async fn forget_audit_before(&self, before_ms: i64) -> Result<u64, StoreError> {
        let most = MOST_AUDITED;
        self.change(Change::ForgetAudit { before_ms, most }).await
    }
}

/// A busy year's. Clients decide how many limits are reached, but once a day for each.
const MOST_AUDITED: usize = 100_000;
