//! Parked submits in SQL. Requests have a table of their own, so that a change of state does not write them again.

use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::super::parked::{Lack, OwnId, ParkedRecord, ParkedRequest, ParkedState, Unsent};
use super::{optional_text, text};

pub(in crate::store) fn park(
    connection: &Connection,
    record: &ParkedRecord,
    request: &ParkedRequest,
) -> Result<u64> {
    let (task_id, code) = details(&record.state);
    connection.prepare_cached(PARK)?.execute(params![
        record.id.0,
        &*record.profile,
        &*record.tenant,
        record.project.as_deref(),
        &*record.kind,
        record.lacks.as_str(),
        record.state.as_str(),
        task_id,
        code,
        record.bytes.cast_signed(),
        record.parked_at_ms,
        record.used_at_ms,
    ])?;
    connection.prepare_cached(PARK_REQUEST)?.execute(params![
        record.id.0,
        request.post,
        &request.query[..],
        request.content_type.as_deref(),
        request.user_agent.as_deref(),
        &request.body[..],
    ])?;
    connection.prepare_cached(COUNT)?.execute([record.id.0])?;
    Ok(0)
}

pub(in crate::store) fn turn(
    connection: &Connection,
    id: OwnId,
    state: &ParkedState,
    at_ms: i64,
) -> Result<()> {
    let (task_id, code) = details(state);
    connection.prepare_cached(TURN)?.execute(params![
        id.0,
        state.as_str(),
        task_id,
        code,
        at_ms
    ])?;
    if !state.is_open() {
        connection
            .prepare_cached("DELETE FROM parked_requests WHERE id = ?")?
            .execute([id.0])?;
    }
    Ok(())
}

pub(in crate::store) fn touch(connection: &Connection, id: OwnId, used_at_ms: i64) -> Result<u64> {
    connection
        .prepare_cached("UPDATE parked SET used_at_ms = max(used_at_ms, ?2) WHERE id = ?1")?
        .execute(params![id.0, used_at_ms])?;
    Ok(0)
}

pub(in crate::store) fn forget(
    connection: &Connection,
    unused_since_ms: i64,
    limit: usize,
) -> Result<u64> {
    let forgotten = connection
        .prepare_cached(FORGET)?
        .execute(params![unused_since_ms, limit as i64])?;
    Ok(forgotten as u64)
}

/// Those that were being sent when the process ended: their intents are uncertain, and so are they.
pub(in crate::store) fn end_open_sendings(connection: &Connection) -> Result<()> {
    connection.execute(
        "DELETE FROM parked_requests WHERE id IN (SELECT id FROM parked WHERE state = 'sending')",
        [],
    )?;
    connection.execute(
        "UPDATE parked SET state = 'uncertain' WHERE state = 'sending'",
        [],
    )?;
    Ok(())
}

pub(in crate::store) fn last_own_id(connection: &Connection) -> Result<Option<i64>> {
    connection
        .query_row(
            "SELECT value FROM counters WHERE name = 'own_id'",
            [],
            |row| row.get(0),
        )
        .optional()
}

pub(in crate::store) fn waiting(connection: &Connection) -> Result<Vec<ParkedRecord>> {
    connection
        .prepare_cached(WAITING)?
        .query_map([], record)?
        .collect()
}

pub(in crate::store) fn find(
    connection: &Connection,
    id: OwnId,
    tenant: &str,
) -> Result<Option<ParkedRecord>> {
    connection
        .prepare_cached(FIND)?
        .query_row(params![id.0, tenant], record)
        .optional()
}

pub(in crate::store) fn request(
    connection: &Connection,
    id: OwnId,
) -> Result<Option<ParkedRequest>> {
    let bytes = |row: &Row<'_>, column| -> Result<Bytes> {
        Ok(Bytes::copy_from_slice(row.get_ref(column)?.as_blob()?))
    };
    let optional_bytes = |row: &Row<'_>, column| -> Result<Option<Bytes>> {
        let blob = row.get_ref(column)?.as_blob_or_null()?;
        Ok(blob.map(Bytes::copy_from_slice))
    };
    connection
        .prepare_cached(REQUEST)?
        .query_row([id.0], |row| {
            Ok(ParkedRequest {
                post: row.get(0)?,
                query: bytes(row, 1)?,
                content_type: optional_bytes(row, 2)?,
                user_agent: optional_bytes(row, 3)?,
                body: bytes(row, 4)?,
            })
        })
        .optional()
}

fn record(row: &Row<'_>) -> Result<ParkedRecord> {
    Ok(ParkedRecord {
        id: OwnId(row.get(0)?),
        profile: text(row, 1)?,
        tenant: text(row, 2)?,
        project: optional_text(row, 3)?,
        kind: text(row, 4)?,
        lacks: match row.get_ref(5)?.as_str()? {
            "money" => Lack::Money,
            _ => Lack::Key,
        },
        state: state(row)?,
        bytes: row.get::<_, i64>(9)?.cast_unsigned(),
        parked_at_ms: row.get(10)?,
        used_at_ms: row.get(11)?,
    })
}

fn state(row: &Row<'_>) -> Result<ParkedState> {
    Ok(match row.get_ref(6)?.as_str()? {
        "waiting" => ParkedState::Waiting,
        "sending" => ParkedState::Sending,
        "submitted" => ParkedState::Submitted(text(row, 7)?),
        "uncertain" => ParkedState::Uncertain,
        "refused" => ParkedState::Refused(text(row, 8)?),
        "expired" => ParkedState::Unsent(Unsent::Expired),
        "dropped" => ParkedState::Unsent(Unsent::Dropped),
        "cancelled" => ParkedState::Unsent(Unsent::Cancelled),
        other => {
            let wrong = format!("{other:?} is no state of a parked submit");
            return Err(rusqlite::Error::FromSqlConversionFailure(
                6,
                Type::Text,
                wrong.into(),
            ));
        }
    })
}

/// The vendor's id, and its code.
fn details(state: &ParkedState) -> (Option<&str>, Option<&str>) {
    match state {
        ParkedState::Submitted(id) => (Some(id), None),
        ParkedState::Refused(code) => (None, Some(code)),
        ParkedState::Waiting
        | ParkedState::Sending
        | ParkedState::Uncertain
        | ParkedState::Unsent(_) => (None, None),
    }
}

const PARK: &str = "INSERT OR REPLACE INTO parked
    (id, profile, tenant, project, kind, lacks, state, task_id, code, bytes, parked_at_ms, used_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const PARK_REQUEST: &str = "INSERT OR REPLACE INTO parked_requests
    (id, post, query, content_type, user_agent, body) VALUES (?, ?, ?, ?, ?, ?)";

const COUNT: &str = "INSERT INTO counters (name, value) VALUES ('own_id', ?1)
    ON CONFLICT (name) DO UPDATE SET value = max(value, ?1)";

const TURN: &str = "UPDATE parked SET state = ?2, task_id = ?3, code = ?4, used_at_ms = max(used_at_ms, ?5) WHERE id = ?1";

const FORGET: &str = "DELETE FROM parked WHERE id IN
    (SELECT id FROM parked WHERE used_at_ms < ?1 AND state NOT IN ('waiting', 'sending') ORDER BY used_at_ms, id LIMIT ?2)";

const WAITING: &str = "SELECT
    id, profile, tenant, project, kind, lacks, state, task_id, code, bytes, parked_at_ms, used_at_ms
    FROM parked WHERE state = 'waiting' ORDER BY id";

/// SECURITY: by the index, another tenant's row is missed where one that nobody has is missed. By the primary key it would be
/// found and read first, which takes measurably longer.
const FIND: &str = "SELECT
    id, profile, tenant, project, kind, lacks, state, task_id, code, bytes, parked_at_ms, used_at_ms
    FROM parked INDEXED BY parked_by_tenant WHERE id = ? AND tenant = ?";

const REQUEST: &str =
    "SELECT post, query, content_type, user_agent, body FROM parked_requests WHERE id = ?";
