//! What a report shows: sums over the rows of the bill, with what was refused and what is uncertain beside them. The store
//! that ends with the process adds up the same rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, Result, params};

use super::redis::Bills;
use super::usage::{Ended, UsageRow};
use super::{Address, schema};
use crate::calendar::{DAY_MS, Month, date};

/// Which rows, and what a line is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub by: By,
    pub from_ms: i64,
    pub until_ms: i64,
    /// What was solved since then is also counted apart.
    pub today_ms: i64,
    pub tenant: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    Tenant,
    Project,
    Type,
    Key,
    Day,
    Month,
}

/// Money in micro-dollars.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// A name, a date or a month. Empty: no project, or the tenant of open mode.
    pub of: String,
    pub solves: i64,
    /// What the tenants are charged.
    pub charged: i64,
    /// What the vendor takes.
    pub cost: i64,
    pub today: i64,
    pub failed: i64,
    pub expired: i64,
    /// Submits that a limit stopped. They are counted by tenant and day only: None where that cannot be told apart.
    pub refused: Option<i64>,
    pub uncertain: i64,
}

/// One solve of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solve {
    pub tenant: String,
    pub at_ms: i64,
    pub id: String,
    pub kind: String,
    pub charged_micro_usd: i64,
}

/// A store, read beside the programs that write it.
pub struct Ledger {
    rows: Rows,
    /// For those who read that it cannot be read.
    store: String,
}

enum Rows {
    File(Connection),
    Redis(Bills),
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(
        "there is no store at {0}: start `sidekey run` first, or name another file with --store"
    )]
    Missing(PathBuf),
    #[error("{0} is no store of sidekey")]
    NotOurs(PathBuf),
    #[error("{0} was written by a sidekey that kept no bills: start this one with it once")]
    TooOld(PathBuf),
    #[error("there is no state of sidekey at {0}: start `sidekey run` first, or correct state.url")]
    Empty(String),
    #[error("{store} cannot be read: {problem}")]
    Unreadable { store: String, problem: String },
    #[error(
        "{store} was written by a newer sidekey (its version is {version}): ask that one for the report"
    )]
    TooNew { store: String, version: i64 },
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::Type => "type",
            Self::Key => "key",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Whether refusals can be told apart so.
    fn has_refusals(self) -> bool {
        matches!(self, Self::Tenant | Self::Day | Self::Month)
    }
}

impl Ledger {
    /// Takes no lock that the program which writes would notice.
    pub fn open(path: &Path) -> std::result::Result<Self, LedgerError> {
        if !path.is_file() {
            return Err(LedgerError::Missing(path.to_owned()));
        }
        let store = path.display().to_string();
        let unreadable = |source: rusqlite::Error| LedgerError::Unreadable {
            store: store.clone(),
            problem: source.to_string(),
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(unreadable)?;
        connection.busy_timeout(BUSY).map_err(unreadable)?;
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let is_ours = match number("application_id") {
            Ok(application) => application == i64::from(schema::APPLICATION_ID),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
                false
            }
            Err(error) => return Err(unreadable(error)),
        };
        if !is_ours {
            return Err(LedgerError::NotOurs(path.to_owned()));
        }
        if let Some(version) = schema::too_new(&connection).map_err(unreadable)? {
            return Err(LedgerError::TooNew { store, version });
        }
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('usage', 'refusals')";
        let tables: i64 = connection
            .query_row(tables, [], |row| row.get(0))
            .map_err(unreadable)?;
        if tables < 2 {
            return Err(LedgerError::TooOld(path.to_owned()));
        }
        Ok(Self {
            rows: Rows::File(connection),
            store,
        })
    }

    /// The store that replicas share. Nothing on it is changed.
    pub fn connect(address: &Address) -> std::result::Result<Self, LedgerError> {
        let store = address.to_string();
        match Bills::open(address) {
            Ok(Some(bills)) => Ok(Self {
                rows: Rows::Redis(bills),
                store,
            }),
            Ok(None) => Err(LedgerError::Empty(store)),
            Err(error) => Err(LedgerError::Unreadable {
                store,
                problem: error.to_string(),
            }),
        }
    }

    pub fn lines(&mut self, asked: &Asked) -> std::result::Result<Vec<Line>, LedgerError> {
        let lines = match &mut self.rows {
            Rows::File(connection) => lines(connection, asked).map_err(|error| error.to_string()),
            Rows::Redis(bills) => bills.lines(asked).map_err(|error| error.to_string()),
        };
        lines.map_err(|problem| self.unreadable(problem))
    }

    /// The solves of the tenants, one tenant after the other, each in the order of time.
    pub fn solves(
        &mut self,
        asked: &Asked,
        mut each: impl FnMut(Solve) -> std::io::Result<()>,
    ) -> std::result::Result<std::io::Result<()>, LedgerError> {
        let ended = match &mut self.rows {
            Rows::File(connection) => {
                solves(connection, asked, each).map_err(|error| error.to_string())
            }
            Rows::Redis(bills) => match bills.solves(asked) {
                Ok(solves) => Ok(solves.into_iter().try_for_each(&mut each)),
                Err(error) => Err(error.to_string()),
            },
        };
        ended.map_err(|problem| self.unreadable(problem))
    }

    fn unreadable(&self, problem: String) -> LedgerError {
        LedgerError::Unreadable {
            store: self.store.clone(),
            problem,
        }
    }
}

fn solves(
    connection: &Connection,
    asked: &Asked,
    mut each: impl FnMut(Solve) -> std::io::Result<()>,
) -> Result<std::io::Result<()>> {
    let mut statement = connection.prepare(SOLVES)?;
    let mut rows = statement.query(params![
        asked.from_ms,
        asked.until_ms,
        asked.tenant.as_deref()
    ])?;
    while let Some(row) = rows.next()? {
        let solve = Solve {
            tenant: row.get(0)?,
            at_ms: row.get(1)?,
            id: row.get(2)?,
            kind: row.get(3)?,
            charged_micro_usd: row.get(4)?,
        };
        if let Err(error) = each(solve) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

/// By their names, or in the order of time.
fn lines(connection: &Connection, asked: &Asked) -> Result<Vec<Line>> {
    // All three at one moment.
    let transaction = connection.unchecked_transaction()?;
    let mut sums = Sums::new(asked);
    let (tenant, project) = (asked.tenant.as_deref(), asked.project.as_deref());
    let column = match asked.by {
        By::Tenant => "tenant",
        By::Project => "coalesce(project, '')",
        By::Type => "kind",
        By::Key => "owner_name",
        By::Day | By::Month => "AT / 86400000",
    };
    let usage = USAGE.replace("OF_LINE", &column.replace("AT", "ended_at_ms"));
    let mut statement = transaction.prepare(&usage)?;
    let mut rows = statement.query(params![
        asked.from_ms,
        asked.until_ms,
        asked.today_ms,
        tenant,
        project
    ])?;
    while let Some(row) = rows.next()? {
        let line = sums.line(row.get(0)?);
        line.solves += row.get::<_, i64>(1)?;
        line.charged += row.get::<_, i64>(2)?;
        line.cost += row.get::<_, i64>(3)?;
        line.today += row.get::<_, i64>(4)?;
        line.failed += row.get::<_, i64>(5)?;
        line.expired += row.get::<_, i64>(6)?;
    }
    let uncertain = UNCERTAIN.replace("OF_LINE", &column.replace("AT", "at_ms"));
    let mut statement = transaction.prepare(&uncertain)?;
    let mut rows = statement.query(params![asked.from_ms, asked.until_ms, tenant, project])?;
    while let Some(row) = rows.next()? {
        sums.line(row.get(0)?).uncertain += row.get::<_, i64>(1)?;
    }
    if sums.has_refusals {
        let column = if asked.by == By::Tenant {
            "tenant"
        } else {
            "day"
        };
        let mut statement = transaction.prepare(&REFUSALS.replace("OF_LINE", column))?;
        let (from, until) = (asked.from_ms / DAY_MS, asked.until_ms / DAY_MS);
        let mut rows = statement.query(params![from, until, tenant])?;
        while let Some(row) = rows.next()? {
            *sums.line(row.get(0)?).refused.get_or_insert(0) += row.get::<_, i64>(1)?;
        }
    }
    Ok(sums.lines())
}

/// Sums by what a line is for.
pub(super) struct Sums<'a> {
    asked: &'a Asked,
    has_refusals: bool,
    by: BTreeMap<String, Line>,
}

impl<'a> Sums<'a> {
    pub(super) fn new(asked: &'a Asked) -> Self {
        Self {
            asked,
            has_refusals: asked.by.has_refusals() && asked.project.is_none(),
            by: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, row: &UsageRow) {
        let (project, tenant) = (row.project.as_ref(), &row.task.tenant);
        if !self.asked.is_about(tenant, project, row.ended_at_ms) {
            return;
        }
        let today = row.ended_at_ms >= self.asked.today_ms;
        let of = self.of(tenant, project, &row.kind, &row.owner_name, row.ended_at_ms);
        let line = self.line(of);
        match row.ended {
            Ended::Solved => {
                line.solves += 1;
                line.charged += row.charge_micro_usd;
                line.cost += row.cost_micro_usd;
                line.today += i64::from(today);
            }
            Ended::Failed => line.failed += 1,
            Ended::Expired => line.expired += 1,
        }
    }

    pub(super) fn add_uncertain(&mut self, intent: &super::Intent) {
        let (project, tenant) = (intent.project.as_ref(), &intent.tenant);
        if self.asked.is_about(tenant, project, intent.at_ms) {
            let of = self.of(
                tenant,
                project,
                &intent.kind,
                &intent.owner_name,
                intent.at_ms,
            );
            self.line(of).uncertain += 1;
        }
    }

    pub(super) fn add_refused(&mut self, tenant: &Arc<str>, day: i64, count: i64) {
        if self.has_refusals && self.asked.is_about(tenant, None, day * DAY_MS) {
            let of = self.of(tenant, None, "", "", day * DAY_MS);
            *self.line(of).refused.get_or_insert(0) += count;
        }
    }

    pub(super) fn lines(self) -> Vec<Line> {
        self.by.into_values().collect()
    }

    fn of(
        &self,
        tenant: &str,
        project: Option<&Arc<str>>,
        kind: &str,
        key: &str,
        at: i64,
    ) -> Group {
        Group(match self.asked.by {
            By::Tenant => tenant.to_owned(),
            By::Project => project.map_or("", |project| &**project).to_owned(),
            By::Type => kind.to_owned(),
            By::Key => key.to_owned(),
            By::Day | By::Month => (at / DAY_MS).to_string(),
        })
    }

    fn line(&mut self, Group(group): Group) -> &mut Line {
        let of = match (self.asked.by, group.parse()) {
            (By::Day, Ok(day)) => date(day),
            (By::Month, Ok(day)) => Month::of(day * DAY_MS).to_string(),
            _ => group,
        };
        let refused = self.has_refusals.then_some(0);
        self.by.entry(of.clone()).or_insert_with(|| Line {
            of,
            refused,
            ..Line::default()
        })
    }
}

/// As the tables name it: days by their number.
struct Group(String);

impl rusqlite::types::FromSql for Group {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        match value {
            rusqlite::types::ValueRef::Integer(day) => Ok(Self(day.to_string())),
            value => Ok(Self(value.as_str()?.to_owned())),
        }
    }
}

impl Asked {
    fn is_about(&self, tenant: &Arc<str>, project: Option<&Arc<str>>, at_ms: i64) -> bool {
        (self.from_ms..self.until_ms).contains(&at_ms)
            && self.tenant.as_ref().is_none_or(|asked| asked == tenant)
            && (self.project.is_none() || self.project.as_ref() == project)
    }
}

const USAGE: &str =
    "SELECT OF_LINE, sum(ended = 'solved'), sum(charge_micro_usd), sum(cost_micro_usd),
        sum(ended = 'solved' AND ended_at_ms >= ?3), sum(ended = 'failed'), sum(ended = 'expired')
    FROM usage WHERE ended_at_ms >= ?1 AND ended_at_ms < ?2
        AND (?4 IS NULL OR tenant = ?4) AND (?5 IS NULL OR project = ?5)
    GROUP BY 1";

const UNCERTAIN: &str = "SELECT OF_LINE, count(*) FROM uncertain
    WHERE at_ms >= ?1 AND at_ms < ?2 AND resolved_id IS NULL
        AND (?3 IS NULL OR tenant = ?3) AND (?4 IS NULL OR project = ?4)
    GROUP BY 1";

const REFUSALS: &str = "SELECT OF_LINE, sum(count) FROM refusals
    WHERE day >= ?1 AND day < ?2 AND (?3 IS NULL OR tenant = ?3)
    GROUP BY 1";

const SOLVES: &str = "SELECT tenant, ended_at_ms, id, kind, charge_micro_usd FROM usage
    WHERE ended = 'solved' AND ended_at_ms >= ?1 AND ended_at_ms < ?2 AND (?3 IS NULL OR tenant = ?3)
    ORDER BY tenant, ended_at_ms, id";

/// Readers wait only while a log is being recovered.
const BUSY: std::time::Duration = std::time::Duration::from_millis(500);
