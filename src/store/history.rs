//! What was used and who changed what, for those who look back.

use super::audit::{self, AuditRow};
use super::bills::{Asked, Ledger, Line};
use super::rows::Change;
use super::{FORGET_AT_ONCE, Store, StoreError, reader};

impl Store {
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
            Self::Redis(redis) => redis.bill(&asked).await,
            Self::Sqlite(sqlite) => {
                let path = sqlite.path.clone();
                let unreadable = |error: String| StoreError::Unreadable(error);
                let add_up = move || {
                    let ledger =
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
