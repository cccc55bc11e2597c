//! The tables, and how an older file gets them.
//!
//! `PRAGMA user_version` is `MAJOR * 1000 + steps taken`. Steps only ever add (a table, an index, a column that
//! may be null), so that the version before can still open the file: it sees steps that it does not know
//! and leaves them alone. A change that it could not live with raises `MAJOR`, and is refused by it.

use rusqlite::Connection;

use super::{audit, usage};

/// "SdKy": tells our files from those of other programs.
pub(super) const APPLICATION_ID: i32 = 0x5364_4b79;

const MAJOR: i64 = 1;

/// Tasks have no rowid: one tree fewer to write at every submit. The index is for forgetting them.
pub(super) const STEPS: &[&str] = &[
    "
    CREATE TABLE meta (
        name  TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE tasks (
        profile         TEXT NOT NULL,
        tenant          TEXT NOT NULL,
        id              TEXT NOT NULL,
        owner_name      TEXT NOT NULL,
        owner_identity  BLOB NOT NULL,
        kind            TEXT NOT NULL,
        project         TEXT,
        price_micro_usd INTEGER,
        final           INTEGER NOT NULL,
        submitted_at_ms INTEGER NOT NULL,
        used_at_ms      INTEGER NOT NULL,
        PRIMARY KEY (profile, tenant, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tasks_by_use ON tasks (used_at_ms);

    CREATE TABLE intents (
        id              INTEGER PRIMARY KEY,
        profile         TEXT NOT NULL,
        tenant          TEXT NOT NULL,
        project         TEXT,
        kind            TEXT NOT NULL,
        endpoint        TEXT NOT NULL,
        owner_name      TEXT NOT NULL,
        owner_identity  BLOB NOT NULL,
        at_ms           INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE uncertain (
        id              INTEGER PRIMARY KEY,
        profile         TEXT NOT NULL,
        tenant          TEXT NOT NULL,
        project         TEXT,
        kind            TEXT NOT NULL,
        endpoint        TEXT NOT NULL,
        owner_name      TEXT NOT NULL,
        owner_identity  BLOB NOT NULL,
        at_ms           INTEGER NOT NULL,
        why             TEXT NOT NULL,
        parameters_hash BLOB,
        resolved_id     TEXT,
        resolved_at_ms  INTEGER
    ) STRICT;

    CREATE TABLE bad_key_answers (
        id    INTEGER PRIMARY KEY,
        at_ms INTEGER NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE good_keys (
        identity BLOB PRIMARY KEY,
        at_ms    INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE claims (
        scope      BLOB PRIMARY KEY,
        parameters BLOB NOT NULL,
        intent     INTEGER NOT NULL,
        task_id    TEXT,
        answer     BLOB,
        at_ms      INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX claims_by_intent ON claims (intent);
    CREATE INDEX claims_by_time ON claims (at_ms);
",
    "
    CREATE TABLE counters (
        name  TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE parked (
        id              INTEGER PRIMARY KEY,
        profile         TEXT NOT NULL,
        tenant          TEXT NOT NULL,
        project         TEXT,
        kind            TEXT NOT NULL,
        lacks           TEXT NOT NULL,
        state           TEXT NOT NULL,
        task_id         TEXT,
        code            TEXT,
        bytes           INTEGER NOT NULL,
        parked_at_ms    INTEGER NOT NULL,
        used_at_ms      INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX parked_by_use ON parked (used_at_ms);

    CREATE TABLE parked_requests (
        id           INTEGER PRIMARY KEY,
        post         INTEGER NOT NULL,
        query        BLOB NOT NULL,
        content_type BLOB,
        user_agent   BLOB,
        body         BLOB NOT NULL
    ) STRICT;
",
    usage::STEP,
    audit::STEP,
    "CREATE INDEX parked_by_tenant ON parked (tenant, id);",
];

/// Brings the file up to date, in the caller's transaction. `Err` is the version of a file that is too new.
pub(super) fn migrate(connection: &Connection) -> rusqlite::Result<Result<(), i64>> {
    if let Some(version) = too_new(connection)? {
        return Ok(Err(version));
    }
    let taken = usize::try_from(version(connection)? % 1000).unwrap_or(0);
    for step in STEPS.iter().skip(taken) {
        connection.execute_batch(step)?;
    }
    if taken < STEPS.len() {
        connection.pragma_update(None, "user_version", MAJOR * 1000 + STEPS.len() as i64)?;
    }
    Ok(Ok(()))
}

/// The version of a file that this program must not touch.
pub(super) fn too_new(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let version = version(connection)?;
    Ok((version / 1000 > MAJOR).then_some(version))
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
