//! Who changed what, and which limits were reached. Append-only: rows go only by age, or when there are too many.

use std::sync::Arc;

use rusqlite::{Connection, Result, params};

/// Names only: nothing here may be a secret. A row is known by all that it says, so that writing it twice adds nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditRow {
    pub at_ms: i64,
    pub who: Arc<str>,
    pub what: Arc<str>,
    /// The key or tenant that it was done to; empty where there is none.
    pub subject: Arc<str>,
    pub detail: Arc<str>,
}

pub(super) const STEP: &str = "
    CREATE TABLE audit (
        at_ms   INTEGER NOT NULL,
        who     TEXT NOT NULL,
        what    TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail  TEXT NOT NULL,
        PRIMARY KEY (at_ms, who, what, subject, detail)
    ) STRICT, WITHOUT ROWID;
";

/// A tenant has reached a limit, for the first time on its day.
pub(super) fn limit_reached(tenant: &Arc<str>, limit: &Arc<str>, at_ms: i64) -> AuditRow {
    AuditRow {
        at_ms,
        who: "sidekey".into(),
        what: "limit_reached".into(),
        subject: Arc::clone(tenant),
        detail: Arc::clone(limit),
    }
}

pub(super) fn add(connection: &Connection, row: &AuditRow) -> Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO audit VALUES (?, ?, ?, ?, ?)")?
        .execute(params![
            row.at_ms,
            &*row.who,
            &*row.what,
            &*row.subject,
            &*row.detail
        ])?;
    Ok(())
}

/// The newest first.
pub(super) fn list(connection: &Connection, limit: usize) -> Result<Vec<AuditRow>> {
    connection
        .prepare_cached(LIST)?
        .query_map([limit as i64], |row| {
            let text = |column| -> Result<Arc<str>> { Ok(row.get_ref(column)?.as_str()?.into()) };
            Ok(AuditRow {
                at_ms: row.get(0)?,
                who: text(1)?,
                what: text(2)?,
                subject: text(3)?,
                detail: text(4)?,
            })
        })?
        .collect()
}

pub(super) fn forget(connection: &Connection, before_ms: i64, most: usize) -> Result<usize> {
    connection
        .prepare_cached(FORGET)?
        .execute(params![before_ms, most as i64])
}

const LIST: &str = "SELECT at_ms, who, what, subject, detail FROM audit
    ORDER BY at_ms DESC, who DESC, what DESC, subject DESC, detail DESC LIMIT ?";

/// The old ones, and those behind the newest `most`.
const FORGET: &str = "DELETE FROM audit WHERE at_ms < max(?1, coalesce(
    (SELECT at_ms FROM audit ORDER BY at_ms DESC, who DESC, what DESC, subject DESC, detail DESC LIMIT 1 OFFSET ?2 - 1), ?1))";
