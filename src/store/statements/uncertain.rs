//! Uncertain submits in SQL.

use rusqlite::{Connection, Result};

use super::super::rows::{Endpoint, Intent, IntentId, Resolved, UncertainRow};
use super::{digest, optional_text, text};
use crate::keys::secret::Identity;

pub(in crate::store) fn open(connection: &Connection) -> Result<u64> {
    const COUNT: &str = "SELECT count(*) FROM uncertain WHERE resolved_at_ms IS NULL";
    let count: i64 = connection
        .prepare_cached(COUNT)?
        .query_row([], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

pub(in crate::store) fn list(connection: &Connection, limit: usize) -> Result<Vec<UncertainRow>> {
    connection
        .prepare_cached(LIST_UNCERTAIN)?
        .query_map([limit as i64], |row| {
            let resolved_at_ms: Option<i64> = row.get(12)?;
            Ok(UncertainRow {
                id: IntentId(row.get(0)?),
                intent: Intent {
                    profile: text(row, 1)?,
                    tenant: text(row, 2)?,
                    project: optional_text(row, 3)?,
                    kind: text(row, 4)?,
                    endpoint: match row.get_ref(5)?.as_str()? {
                        "solve" => Endpoint::Solve,
                        _ => Endpoint::Submit,
                    },
                    owner_name: text(row, 6)?,
                    owner_identity: Identity(digest(row, 7)?),
                    at_ms: row.get(8)?,
                },
                why: text(row, 9)?,
                parameters_hash: match row.get_ref(10)?.as_blob_or_null()? {
                    Some(_) => Some(digest(row, 10)?),
                    None => None,
                },
                resolved: match (optional_text(row, 11)?, resolved_at_ms) {
                    (Some(task_id), Some(at_ms)) => Some(Resolved { task_id, at_ms }),
                    _ => None,
                },
            })
        })?
        .collect()
}

const LIST_UNCERTAIN: &str = "SELECT
    id, profile, tenant, project, kind, endpoint, owner_name, owner_identity, at_ms, why, parameters_hash,
    resolved_id, resolved_at_ms
    FROM uncertain ORDER BY id DESC LIMIT ?";
