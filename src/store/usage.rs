//! What tenants used: one row for each task that ended, and what it was charged. Bills are sums over these rows.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Result, params};

use super::rows::TaskKey;
use crate::calendar::DAY_MS;

/// How one task ended. Written in one transaction with the task's own end, so that neither is there without the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    pub task: TaskKey,
    /// An id that the vendor gives again is another task.
    pub submitted_at_ms: i64,
    pub ended_at_ms: i64,
    pub ended: Ended,
    pub project: Option<Arc<str>>,
    pub kind: Arc<str>,
    pub owner_name: Arc<str>,
    /// What the vendor takes; 0 unless solved.
    pub cost_micro_usd: i64,
    /// What the tenant is charged; 0 unless solved.
    pub charge_micro_usd: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ended {
    Solved,
    /// By a code of the vendor's: not charged.
    Failed,
    /// Nobody heard the end. An answer that comes after all makes it solved.
    Expired,
}

impl Ended {
    pub const ALL: [Self; 3] = [Self::Solved, Self::Failed, Self::Expired];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Solved => "solved",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }
}

/// What a tenant's limits have to know at a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    pub solves_today: u32,
    pub charged_this_month_micro_usd: i64,
}

/// How many submits of a tenant were refused on one day, for one reason: the number so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub tenant: Arc<str>,
    pub day: i64,
    pub reason: Arc<str>,
    pub count: i64,
}

/// Rows lie in the order of their ends, so that a report reads a month from one place.
pub(super) const STEP: &str = "
    CREATE TABLE usage (
        profile          TEXT NOT NULL,
        tenant           TEXT NOT NULL,
        id               TEXT NOT NULL,
        submitted_at_ms  INTEGER NOT NULL,
        ended_at_ms      INTEGER NOT NULL,
        ended            TEXT NOT NULL,
        project          TEXT,
        kind             TEXT NOT NULL,
        owner_name       TEXT NOT NULL,
        cost_micro_usd   INTEGER NOT NULL,
        charge_micro_usd INTEGER NOT NULL,
        UNIQUE (profile, tenant, id, submitted_at_ms)
    ) STRICT;
    CREATE INDEX usage_by_end ON usage (ended_at_ms);

    CREATE TABLE refusals (
        tenant TEXT NOT NULL,
        day    INTEGER NOT NULL,
        reason TEXT NOT NULL,
        count  INTEGER NOT NULL,
        PRIMARY KEY (tenant, day, reason)
    ) STRICT, WITHOUT ROWID;

    ALTER TABLE tasks ADD COLUMN charge_micro_usd INTEGER;
";

/// The same row again changes nothing; an expired task that was solved after all is solved.
pub(super) fn settle(connection: &Connection, row: &UsageRow) -> Result<()> {
    connection.prepare_cached(SETTLE)?.execute(params![
        &*row.task.profile,
        &*row.task.tenant,
        &*row.task.id,
        row.submitted_at_ms,
        row.ended_at_ms,
        row.ended.as_str(),
        row.project.as_deref(),
        &*row.kind,
        &*row.owner_name,
        row.cost_micro_usd,
        row.charge_micro_usd,
    ])?;
    Ok(())
}

/// A number so far, so that writing it twice counts nothing twice. True for the first of its day.
pub(super) fn refused(connection: &Connection, refused: &Refused) -> Result<bool> {
    let row = params![
        &*refused.tenant,
        refused.day,
        &*refused.reason,
        refused.count,
    ];
    if connection.prepare_cached(REFUSED_FIRST)?.execute(row)? == 1 {
        return Ok(true);
    }
    connection.prepare_cached(REFUSED_AGAIN)?.execute(row)?;
    Ok(false)
}

pub(super) fn refusals(connection: &Connection, day: i64) -> Result<Vec<Refused>> {
    connection
        .prepare_cached("SELECT tenant, reason, count FROM refusals WHERE day = ?")?
        .query_map([day], |row| {
            Ok(Refused {
                tenant: Arc::from(row.get_ref(0)?.as_str()?),
                day,
                reason: Arc::from(row.get_ref(1)?.as_str()?),
                count: row.get(2)?,
            })
        })?
        .collect()
}

pub(super) fn settled(
    connection: &Connection,
    day_began_ms: i64,
    month_began_ms: i64,
) -> Result<HashMap<Arc<str>, Settled>> {
    connection
        .prepare_cached(SETTLED)?
        .query_map([month_began_ms, day_began_ms], |row| {
            let tenant = Arc::from(row.get_ref(0)?.as_str()?);
            let settled = Settled {
                solves_today: row.get(1)?,
                charged_this_month_micro_usd: row.get(2)?,
            };
            Ok((tenant, settled))
        })?
        .collect()
}

/// The index has it.
pub(super) fn last_end(connection: &Connection, before_ms: i64) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT max(ended_at_ms) FROM usage WHERE ended_at_ms < ?")?
        .query_row([before_ms], |row| row.get(0))
}

/// Refusals of days before go with the rows of the bill.
pub(super) fn forget(connection: &Connection, before_ms: i64, limit: usize) -> Result<usize> {
    connection
        .prepare_cached("DELETE FROM refusals WHERE day < ?")?
        .execute([before_ms / DAY_MS])?;
    connection
        .prepare_cached(FORGET_USAGE)?
        .execute(params![before_ms, limit as i64])
}

const SETTLE: &str = "INSERT INTO usage
    (profile, tenant, id, submitted_at_ms, ended_at_ms, ended, project, kind, owner_name, cost_micro_usd, charge_micro_usd)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET ended_at_ms = excluded.ended_at_ms, ended = excluded.ended,
        cost_micro_usd = excluded.cost_micro_usd, charge_micro_usd = excluded.charge_micro_usd
    WHERE ended = 'expired' AND excluded.ended <> 'expired'";

const REFUSED_FIRST: &str = "INSERT INTO refusals (tenant, day, reason, count) VALUES (?, ?, ?, ?)
    ON CONFLICT DO NOTHING";

const REFUSED_AGAIN: &str = "UPDATE refusals SET count = max(count, ?4)
    WHERE tenant = ?1 AND day = ?2 AND reason = ?3";

const FORGET_USAGE: &str = "DELETE FROM usage WHERE rowid IN
    (SELECT rowid FROM usage WHERE ended_at_ms < ?1
     ORDER BY ended_at_ms, profile, tenant, id, submitted_at_ms LIMIT ?2)";

const SETTLED: &str = "SELECT tenant, sum(ended_at_ms >= ?2), sum(charge_micro_usd)
    FROM usage WHERE ended_at_ms >= ?1 AND ended = 'solved' GROUP BY tenant";
