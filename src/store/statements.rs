//! What each change and each look-up is in SQL.

pub(super) mod parked;
pub(super) mod uncertain;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::parked::Parking;
use super::rows::{
    BAD_KEY_ANSWERS_KEPT, CameTo, Change, Claimed, GOOD_KEYS_KEPT, IntentId, TaskKey, TaskRecord,
    TaskState,
};
use super::usage::Ended;
use super::{audit, usage};
use crate::keys::secret::Identity;

/// Returns how many rows it replaced or forgot.
pub(super) fn apply(connection: &Connection, change: &Change) -> Result<u64> {
    match change {
        Change::Intend(id, intent, claim, _) => {
            connection.prepare_cached(INTEND)?.execute(params![
                id.0,
                &*intent.profile,
                &*intent.tenant,
                intent.project.as_deref(),
                &*intent.kind,
                intent.endpoint.as_str(),
                &*intent.owner_name,
                &intent.owner_identity.0[..],
                intent.at_ms,
            ])?;
            if let Some(claim) = claim {
                connection.prepare_cached(CLAIM)?.execute(params![
                    &claim.scope[..],
                    &claim.parameters[..],
                    id.0,
                    intent.at_ms,
                ])?;
            }
            Ok(0)
        }
        Change::Accept(intent, task) => {
            if let Some(id) = intent {
                forget_intent(connection, *id)?;
                claim_has_task(connection, *id, &task.key.id)?;
            }
            insert_task(connection, task)
        }
        Change::Answered(id, answer, row) => {
            forget_intent(connection, *id)?;
            connection.prepare_cached(RESOLVE)?.execute(params![
                id.0,
                &*row.task.id,
                row.ended_at_ms
            ])?;
            usage::settle(connection, row)?;
            connection
                .prepare_cached("UPDATE claims SET task_id = NULL, answer = ?2 WHERE intent = ?1")?
                .execute(params![id.0, answer.as_deref()])?;
            Ok(0)
        }
        Change::ForgetIntent(id) => {
            connection
                .prepare_cached("DELETE FROM claims WHERE intent = ?")?
                .execute([id.0])?;
            forget_intent(connection, *id)
        }
        Change::Uncertain(row) => {
            forget_intent(connection, row.id)?;
            let intent = &row.intent;
            connection.prepare_cached(UNCERTAIN)?.execute(params![
                row.id.0,
                &*intent.profile,
                &*intent.tenant,
                intent.project.as_deref(),
                &*intent.kind,
                intent.endpoint.as_str(),
                &*intent.owner_name,
                &intent.owner_identity.0[..],
                intent.at_ms,
                &*row.why,
                row.parameters_hash.as_ref().map(|hash| &hash[..]),
            ])?;
            Ok(0)
        }
        Change::Resolve(id, task) => {
            connection.prepare_cached(RESOLVE)?.execute(params![
                id.0,
                &*task.key.id,
                task.used_at_ms
            ])?;
            claim_has_task(connection, *id, &task.key.id)?;
            insert_task(connection, task)
        }
        Change::Touch(key, used_at_ms, state) => {
            connection.prepare_cached(TOUCH)?.execute(params![
                &*key.profile,
                &*key.tenant,
                &*key.id,
                used_at_ms,
                *state == TaskState::Final,
            ])?;
            Ok(0)
        }
        Change::Settle(row) => {
            let task = &row.task;
            if row.ended != Ended::Expired {
                connection.prepare_cached(END)?.execute(params![
                    &*task.profile,
                    &*task.tenant,
                    &*task.id,
                    row.submitted_at_ms,
                    row.ended_at_ms,
                ])?;
            }
            usage::settle(connection, row)?;
            Ok(0)
        }
        Change::Refused(refused, at_ms) => {
            if usage::refused(connection, refused)? {
                let row = audit::limit_reached(&refused.tenant, &refused.reason, *at_ms);
                audit::add(connection, &row)?;
            }
            Ok(0)
        }
        Change::Audit(row) => {
            audit::add(connection, row)?;
            Ok(0)
        }
        Change::BadKeyAnswer { id, at_ms } => {
            connection
                .prepare_cached("INSERT OR REPLACE INTO bad_key_answers (id, at_ms) VALUES (?, ?)")?
                .execute(params![id, at_ms])?;
            connection
                .prepare_cached("DELETE FROM bad_key_answers WHERE id <= ?")?
                .execute([id - BAD_KEY_ANSWERS_KEPT])?;
            Ok(0)
        }
        Change::GoodKey(identity, at_ms) => {
            connection
                .prepare_cached("INSERT OR REPLACE INTO good_keys (identity, at_ms) VALUES (?, ?)")?
                .execute(params![&identity.0[..], at_ms])?;
            connection
                .prepare_cached(FORGET_GOOD_KEYS)?
                .execute([GOOD_KEYS_KEPT])?;
            Ok(0)
        }
        Change::NoGoodKey(identity) => {
            connection
                .prepare_cached("DELETE FROM good_keys WHERE identity = ?")?
                .execute([&identity.0[..]])?;
            Ok(0)
        }
        Change::ForgetTasks {
            unused_since_ms,
            limit,
        } => {
            let forgotten = connection
                .prepare_cached(FORGET_TASKS)?
                .execute(params![unused_since_ms, *limit as i64])?;
            Ok(forgotten as u64)
        }
        Change::ForgetUncertain { before_ms, limit } => {
            let forgotten = connection
                .prepare_cached(FORGET_UNCERTAIN)?
                .execute(params![before_ms, *limit as i64])?;
            Ok(forgotten as u64)
        }
        Change::Park(parking) => {
            let Parking {
                record,
                request,
                claim,
            } = &**parking;
            if let Some((intent, claim)) = claim {
                connection.prepare_cached(CLAIM)?.execute(params![
                    &claim.scope[..],
                    &claim.parameters[..],
                    intent.0,
                    record.parked_at_ms,
                ])?;
                claim_has_task(connection, *intent, &record.id.to_string())?;
            }
            parked::park(connection, record, request)
        }
        Change::Turn {
            id,
            state,
            at_ms,
            with,
        } => {
            parked::turn(connection, *id, state, *at_ms)?;
            apply(connection, with)
        }
        Change::TouchParked(id, used_at_ms) => parked::touch(connection, *id, *used_at_ms),
        Change::ForgetParked {
            unused_since_ms,
            limit,
        } => parked::forget(connection, *unused_since_ms, *limit),
        Change::ForgetClaims {
            before_ms,
            most,
            limit,
        } => {
            let forgotten = connection.prepare_cached(FORGET_CLAIMS)?.execute(params![
                before_ms,
                *most as i64,
                *limit as i64
            ])?;
            Ok(forgotten as u64)
        }
        Change::ForgetUsage { before_ms, limit } => {
            Ok(usage::forget(connection, *before_ms, *limit)? as u64)
        }
        Change::ForgetAudit { before_ms, most } => {
            Ok(audit::forget(connection, *before_ms, *most)? as u64)
        }
        // Nobody shares a file.
        Change::GiveBack { .. } | Change::HoldParked { .. } | Change::Nothing => Ok(0),
    }
}

fn claim_has_task(connection: &Connection, id: IntentId, task: &str) -> Result<usize> {
    connection
        .prepare_cached("UPDATE claims SET task_id = ?2 WHERE intent = ?1")?
        .execute(params![id.0, task])
}

fn forget_intent(connection: &Connection, id: IntentId) -> Result<u64> {
    connection
        .prepare_cached("DELETE FROM intents WHERE id = ?")?
        .execute([id.0])?;
    Ok(0)
}

fn insert_task(connection: &Connection, record: &TaskRecord) -> Result<u64> {
    // SQLite does not tell an insert from a replacement, so an id that is known costs more statements.
    if write_task(connection, INSERT_TASK, record)? == 1 {
        return Ok(0);
    }
    // The same change made twice replaces nothing.
    if task(connection, &record.key)?.as_ref() == Some(record) {
        return Ok(0);
    }
    write_task(connection, REPLACE_TASK, record)?;
    Ok(1)
}

fn write_task(connection: &Connection, sql: &str, task: &TaskRecord) -> Result<usize> {
    connection.prepare_cached(sql)?.execute(params![
        &*task.key.profile,
        &*task.key.tenant,
        &*task.key.id,
        &*task.owner_name,
        &task.owner_identity.0[..],
        &*task.kind,
        task.project.as_deref(),
        task.price_micro_usd,
        task.charge_micro_usd,
        task.state == TaskState::Final,
        task.submitted_at_ms,
        task.used_at_ms,
    ])
}

pub(super) fn task(connection: &Connection, key: &TaskKey) -> Result<Option<TaskRecord>> {
    connection
        .prepare_cached(FIND_TASK)?
        .query_row(params![&*key.profile, &*key.tenant, &*key.id], |row| {
            Ok(TaskRecord {
                key: key.clone(),
                owner_name: text(row, 0)?,
                owner_identity: Identity(digest(row, 1)?),
                kind: text(row, 2)?,
                project: optional_text(row, 3)?,
                price_micro_usd: row.get(4)?,
                charge_micro_usd: row.get(5)?,
                state: if row.get(6)? {
                    TaskState::Final
                } else {
                    TaskState::Running
                },
                submitted_at_ms: row.get(7)?,
                used_at_ms: row.get(8)?,
            })
        })
        .optional()
}

pub(super) fn claim(connection: &Connection, scope: &[u8; 32]) -> Result<Option<Claimed>> {
    connection
        .prepare_cached("SELECT parameters, task_id, answer FROM claims WHERE scope = ?")?
        .query_row([&scope[..]], |row| {
            let task = optional_text(row, 1)?;
            let answer = row.get_ref(2)?.as_blob_or_null()?;
            Ok(Claimed {
                parameters: digest(row, 0)?,
                came_to: match (task, answer) {
                    (Some(id), _) => CameTo::Task(id),
                    (None, Some(answer)) => CameTo::Answer(Bytes::copy_from_slice(answer)),
                    (None, None) => CameTo::Unknown,
                },
            })
        })
        .optional()
}

pub(super) fn good_keys(connection: &Connection) -> Result<HashSet<Identity>> {
    connection
        .prepare_cached("SELECT identity FROM good_keys")?
        .query_map([], |row| digest(row, 0).map(Identity))?
        .collect()
}

pub(super) fn bad_key_answers(connection: &Connection, since_ms: i64) -> Result<Vec<i64>> {
    connection
        .prepare_cached("SELECT at_ms FROM bad_key_answers WHERE at_ms >= ? ORDER BY at_ms")?
        .query_map([since_ms], |row| row.get(0))?
        .collect()
}

pub(super) fn running_tasks(
    connection: &Connection,
    used_since_ms: i64,
    limit: usize,
) -> Result<Vec<TaskRecord>> {
    connection
        .prepare_cached(RUNNING_TASKS)?
        .query_map(params![used_since_ms, limit as i64], |row| {
            Ok(TaskRecord {
                key: TaskKey {
                    profile: text(row, 0)?,
                    tenant: text(row, 1)?,
                    id: text(row, 2)?,
                },
                owner_name: text(row, 3)?,
                owner_identity: Identity(digest(row, 4)?),
                kind: text(row, 5)?,
                project: optional_text(row, 6)?,
                price_micro_usd: row.get(7)?,
                charge_micro_usd: row.get(8)?,
                state: TaskState::Running,
                submitted_at_ms: row.get(9)?,
                used_at_ms: row.get(10)?,
            })
        })?
        .collect()
}

fn text(row: &Row<'_>, column: usize) -> Result<Arc<str>> {
    Ok(Arc::from(row.get_ref(column)?.as_str()?))
}

fn optional_text(row: &Row<'_>, column: usize) -> Result<Option<Arc<str>>> {
    Ok(row.get_ref(column)?.as_str_or_null()?.map(Arc::from))
}

pub(super) fn digest(row: &Row<'_>, column: usize) -> Result<[u8; 32]> {
    let bytes = row.get_ref(column)?.as_blob()?;
    bytes.try_into().map_err(|_| {
        let wrong = format!("{} bytes where a digest has 32", bytes.len());
        rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, wrong.into())
    })
}

const INTEND: &str = "INSERT OR REPLACE INTO intents
    (id, profile, tenant, project, kind, endpoint, owner_name, owner_identity, at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";

const UNCERTAIN: &str = "INSERT OR REPLACE INTO uncertain
    (id, profile, tenant, project, kind, endpoint, owner_name, owner_identity, at_ms, why, parameters_hash)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const RESOLVE: &str = "UPDATE uncertain SET resolved_id = ?2, resolved_at_ms = ?3 WHERE id = ?1";

const INSERT_TASK: &str = "INSERT INTO tasks
    (profile, tenant, id, owner_name, owner_identity, kind, project, price_micro_usd, charge_micro_usd, final,
        submitted_at_ms, used_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";

const REPLACE_TASK: &str = "REPLACE INTO tasks
    (profile, tenant, id, owner_name, owner_identity, kind, project, price_micro_usd, charge_micro_usd, final,
        submitted_at_ms, used_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Time and state only ever move on, whatever order the notes arrive in.
const TOUCH: &str = "UPDATE tasks SET used_at_ms = max(used_at_ms, ?4), final = max(final, ?5)
    WHERE profile = ?1 AND tenant = ?2 AND id = ?3";

/// Not of a newer task that the vendor gave the same id.
const END: &str = "UPDATE tasks SET used_at_ms = max(used_at_ms, ?5), final = 1
    WHERE profile = ?1 AND tenant = ?2 AND id = ?3 AND submitted_at_ms = ?4";

const FORGET_TASKS: &str = "DELETE FROM tasks WHERE (profile, tenant, id) IN
    (SELECT profile, tenant, id FROM tasks WHERE used_at_ms < ?1 ORDER BY used_at_ms, profile, tenant, id LIMIT ?2)";

const FORGET_UNCERTAIN: &str = "DELETE FROM uncertain WHERE id IN
    (SELECT id FROM uncertain WHERE at_ms < ?1 ORDER BY id LIMIT ?2)";

const CLAIM: &str = "INSERT OR REPLACE INTO claims (scope, parameters, intent, at_ms)
    VALUES (?, ?, ?, ?)";

/// The old ones, and those behind the newest `most`.
const FORGET_CLAIMS: &str = "DELETE FROM claims WHERE scope IN
    (SELECT scope FROM claims
     WHERE at_ms < max(?1, coalesce((SELECT at_ms FROM claims ORDER BY at_ms DESC LIMIT 1 OFFSET ?2 - 1), ?1))
     ORDER BY at_ms, scope LIMIT ?3)";

const FORGET_GOOD_KEYS: &str = "DELETE FROM good_keys WHERE identity IN
    (SELECT identity FROM good_keys ORDER BY at_ms DESC LIMIT -1 OFFSET ?)";

const FIND_TASK: &str = "SELECT
    owner_name, owner_identity, kind, project, price_micro_usd, charge_micro_usd, final, submitted_at_ms, used_at_ms
    FROM tasks WHERE profile = ? AND tenant = ? AND id = ?";

/// By time, so that a file of old tasks is not read whole.
const RUNNING_TASKS: &str = "SELECT profile, tenant, id,
    owner_name, owner_identity, kind, project, price_micro_usd, charge_micro_usd, submitted_at_ms, used_at_ms
    FROM tasks WHERE used_at_ms >= ? AND final = 0 ORDER BY used_at_ms DESC LIMIT ?";
