//! How rows are written in Redis: as JSON, so that operators can read them. What changes after the first writing (when a
//! task was used, whether it runs) stands beside the row.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::audit::AuditRow;
use super::super::parked::{Lack, OwnId, ParkedRecord, ParkedRequest, ParkedState, Unsent};
use super::super::rows::{
    Endpoint, Intent, IntentId, Resolved, TaskKey, TaskRecord, TaskState, UncertainRow,
};
use super::super::usage::{Ended, UsageRow};
use crate::keys::secret::Identity;

/// The id comes last: it is the vendor's and may hold anything. Names hold no NUL.
pub(super) fn place(key: &TaskKey) -> String {
    format!("{}\0{}\0{}", key.profile, key.tenant, key.id)
}

pub(super) fn key(place: &str) -> Option<TaskKey> {
    let mut parts = place.splitn(3, '\0').map(Arc::from);
    Some(TaskKey {
        profile: parts.next()?,
        tenant: parts.next()?,
        id: parts.next()?,
    })
}

#[derive(Deserialize, Serialize)]
struct TaskJson {
    owner_name: Box<str>,
    owner_identity: String,
    kind: Box<str>,
    project: Option<Box<str>>,
    price_micro_usd: Option<i64>,
    charge_micro_usd: Option<i64>,
    submitted_at_ms: i64,
}

pub(super) fn task(record: &TaskRecord) -> String {
    json(&TaskJson {
        owner_name: (&*record.owner_name).into(),
        owner_identity: hex(&record.owner_identity.0),
        kind: (&*record.kind).into(),
        project: record.project.as_deref().map(Into::into),
        price_micro_usd: record.price_micro_usd,
        charge_micro_usd: record.charge_micro_usd,
        submitted_at_ms: record.submitted_at_ms,
    })
}

pub(super) fn read_task(
    key: TaskKey,
    text: &[u8],
    used_at_ms: i64,
    runs: bool,
) -> Option<TaskRecord> {
    let row: TaskJson = serde_json::from_slice(text).ok()?;
    Some(TaskRecord {
        key,
        owner_name: row.owner_name.into(),
        owner_identity: Identity(unhex(&row.owner_identity)?),
        kind: row.kind.into(),
        project: row.project.map(Into::into),
        price_micro_usd: row.price_micro_usd,
        charge_micro_usd: row.charge_micro_usd,
        state: if runs {
            TaskState::Running
        } else {
            TaskState::Final
        },
        submitted_at_ms: row.submitted_at_ms,
        used_at_ms,
    })
}

/// An intent, and the uncertain submit that it may become: that has a reason and a digest, too.
#[derive(Deserialize, Serialize)]
struct IntentJson {
    profile: Box<str>,
    tenant: Box<str>,
    project: Option<Box<str>>,
    kind: Box<str>,
    endpoint: Box<str>,
    owner_name: Box<str>,
    owner_identity: String,
    at_ms: i64,
    why: Option<Box<str>>,
    parameters_hash: Option<String>,
}

pub(super) fn intent(intent: &Intent) -> String {
    json(&intent_json(intent, None, None))
}

pub(super) fn uncertain(row: &UncertainRow) -> String {
    let hash = row.parameters_hash.as_ref().map(hex);
    json(&intent_json(&row.intent, Some(&row.why), hash))
}

fn intent_json(intent: &Intent, why: Option<&str>, parameters_hash: Option<String>) -> IntentJson {
    IntentJson {
        profile: (&*intent.profile).into(),
        tenant: (&*intent.tenant).into(),
        project: intent.project.as_deref().map(Into::into),
        kind: (&*intent.kind).into(),
        endpoint: intent.endpoint.as_str().into(),
        owner_name: (&*intent.owner_name).into(),
        owner_identity: hex(&intent.owner_identity.0),
        at_ms: intent.at_ms,
        why: why.map(Into::into),
        parameters_hash,
    }
}

pub(super) fn read_uncertain(
    id: i64,
    text: &[u8],
    resolved: Option<&str>,
    why: &str,
) -> Option<UncertainRow> {
    let row: IntentJson = serde_json::from_slice(text).ok()?;
    Some(UncertainRow {
        id: IntentId(id),
        intent: Intent {
            profile: row.profile.into(),
            tenant: row.tenant.into(),
            project: row.project.map(Into::into),
            kind: row.kind.into(),
            endpoint: match &*row.endpoint {
                "solve" => Endpoint::Solve,
                _ => Endpoint::Submit,
            },
            owner_name: row.owner_name.into(),
            owner_identity: Identity(unhex(&row.owner_identity)?),
            at_ms: row.at_ms,
        },
        why: row.why.map_or_else(|| why.into(), Into::into),
        parameters_hash: match row.parameters_hash {
            Some(hash) => Some(unhex(&hash)?),
            None => None,
        },
        resolved: match resolved {
            Some(text) => {
                let (at_ms, task_id) = text.split_once(' ')?;
                Some(Resolved {
                    task_id: task_id.into(),
                    at_ms: at_ms.parse().ok()?,
                })
            }
            None => None,
        },
    })
}

pub(super) fn resolved(resolved: &Resolved) -> String {
    format!("{} {}", resolved.at_ms, resolved.task_id)
}

/// What an answer that comes after all changes.
#[derive(Deserialize, Serialize)]
struct EndJson {
    ended_at_ms: i64,
    cost_micro_usd: i64,
    charge_micro_usd: i64,
}

#[derive(Deserialize, Serialize)]
struct UsageJson {
    project: Option<Box<str>>,
    kind: Box<str>,
    owner_name: Box<str>,
}

/// An id that the vendor gives again is another task. Rows that ended at the same time lie in the order of these.
pub(super) fn usage_place(task: &TaskKey, submitted_at_ms: i64) -> String {
    format!("{}\0{submitted_at_ms:020}", place(task))
}

/// How it ended, in one letter; what its end changes; and the rest. On the server they stand one behind the other.
pub(super) fn usage(row: &UsageRow) -> (&'static str, String, String) {
    let end = json(&EndJson {
        ended_at_ms: row.ended_at_ms,
        cost_micro_usd: row.cost_micro_usd,
        charge_micro_usd: row.charge_micro_usd,
    });
    let rest = json(&UsageJson {
        project: row.project.as_deref().map(Into::into),
        kind: (&*row.kind).into(),
        owner_name: (&*row.owner_name).into(),
    });
    (&row.ended.as_str()[..1], end, rest)
}

pub(super) fn read_usage(place: &str, text: &str) -> Option<UsageRow> {
    let (task, submitted_at_ms) = place.rsplit_once('\0')?;
    let (ended, text) = text.split_at_checked(1)?;
    let (end, rest) = text.split_once('\n')?;
    let end: EndJson = serde_json::from_str(end).ok()?;
    let row: UsageJson = serde_json::from_str(rest).ok()?;
    Some(UsageRow {
        task: key(task)?,
        submitted_at_ms: submitted_at_ms.parse().ok()?,
        ended_at_ms: end.ended_at_ms,
        ended: Ended::ALL
            .into_iter()
            .find(|known| known.as_str().starts_with(ended))?,
        project: row.project.map(Into::into),
        kind: row.kind.into(),
        owner_name: row.owner_name.into(),
        cost_micro_usd: end.cost_micro_usd,
        charge_micro_usd: end.charge_micro_usd,
    })
}

/// Without its time, which stands in front. In the order of their parts, as no part holds a NUL.
pub(super) fn audit(row: &AuditRow) -> String {
    format!("{}\0{}\0{}\0{}", row.who, row.what, row.subject, row.detail)
}

pub(super) fn read_audit(text: &str) -> Option<AuditRow> {
    let mut parts = text.splitn(5, '\0');
    Some(AuditRow {
        at_ms: parts.next()?.parse().ok()?,
        who: parts.next()?.into(),
        what: parts.next()?.into(),
        subject: parts.next()?.into(),
        detail: parts.next()?.into(),
    })
}

#[derive(Deserialize, Serialize)]
struct ParkedJson {
    profile: Box<str>,
    project: Option<Box<str>>,
    kind: Box<str>,
    lacks: Box<str>,
    bytes: u64,
    parked_at_ms: i64,
}

/// What never changes of it.
pub(super) fn parked(record: &ParkedRecord) -> String {
    json(&ParkedJson {
        profile: (&*record.profile).into(),
        project: record.project.as_deref().map(Into::into),
        kind: (&*record.kind).into(),
        lacks: record.lacks.as_str().into(),
        bytes: record.bytes,
        parked_at_ms: record.parked_at_ms,
    })
}

/// The vendor's id, or its code.
pub(super) fn detail(state: &ParkedState) -> &str {
    match state {
        ParkedState::Submitted(detail) | ParkedState::Refused(detail) => detail,
        ParkedState::Waiting
        | ParkedState::Sending
        | ParkedState::Uncertain
        | ParkedState::Unsent(_) => "",
    }
}

/// As `HMGET` tells it.
pub(super) type ParkedFields = (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
);
pub(super) const PARKED_FIELDS: [&str; 5] = ["tenant", "row", "state", "detail", "used"];

pub(super) fn read_parked(id: OwnId, fields: ParkedFields) -> Option<ParkedRecord> {
    let (tenant, row, state, detail, used_at_ms) = fields;
    let row: ParkedJson = serde_json::from_str(&row?).ok()?;
    Some(ParkedRecord {
        id,
        profile: row.profile.into(),
        tenant: tenant?.into(),
        project: row.project.map(Into::into),
        kind: row.kind.into(),
        lacks: match &*row.lacks {
            "money" => Lack::Money,
            _ => Lack::Key,
        },
        state: match &*state? {
            "waiting" => ParkedState::Waiting,
            "sending" => ParkedState::Sending,
            "submitted" => ParkedState::Submitted(detail?.into()),
            "uncertain" => ParkedState::Uncertain,
            "refused" => ParkedState::Refused(detail?.into()),
            "expired" => ParkedState::Unsent(Unsent::Expired),
            "dropped" => ParkedState::Unsent(Unsent::Dropped),
            "cancelled" => ParkedState::Unsent(Unsent::Cancelled),
            _ => return None,
        },
        bytes: row.bytes,
        parked_at_ms: row.parked_at_ms,
        used_at_ms: used_at_ms?,
    })
}

/// Names and values of a request, as `HSET` takes them.
pub(super) fn request(request: &ParkedRequest) -> Vec<Vec<u8>> {
    let post: &[u8] = if request.post { b"1" } else { b"" };
    let mut fields: Vec<(&str, &[u8])> = vec![
        ("post", post),
        ("query", &request.query),
        ("body", &request.body),
    ];
    fields.extend(
        request
            .content_type
            .iter()
            .map(|it| ("content_type", &**it)),
    );
    fields.extend(request.user_agent.iter().map(|it| ("user_agent", &**it)));
    let flat = |(name, value): (&str, &[u8])| [name.as_bytes().to_vec(), value.to_vec()];
    fields.into_iter().flat_map(flat).collect()
}

pub(super) fn read_request(mut fields: HashMap<String, Vec<u8>>) -> Option<ParkedRequest> {
    Some(ParkedRequest {
        post: fields.get("post")? == b"1",
        query: fields.remove("query")?.into(),
        content_type: fields.remove("content_type").map(Into::into),
        user_agent: fields.remove("user_agent").map(Into::into),
        body: fields.remove("body")?.into(),
    })
}

fn json(row: &impl Serialize) -> String {
    serde_json::to_string(row).unwrap_or_else(|_| unreachable!("rows are text and numbers"))
}

pub(super) fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}
