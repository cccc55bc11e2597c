//! What was used and what was changed, as the store has it.

use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::access::Who;
use super::changes::Told;
use crate::bills::{Bill, asked};
use crate::calendar::{Month, rfc3339};
use crate::request::{Server, clock};
use crate::store::{AuditRow, By, StoreError};

/// The newest changes that one answer lists, unless it is asked for fewer; the rest is in the store.
const MOST_AUDITED: usize = 1000;
const USUALLY_AUDITED: usize = 100;

/// `month=2026-11&by=type&tenant=NAME&project=NAME`, each of which may be left out: the figures of `sidekey report`.
/// A tenant sees its own, and not what the vendor takes.
pub(super) async fn usage(server: &Server, who: &Who, query: &str) -> Told {
    let (mut month, mut by, mut tenant, mut project) = (None, By::Tenant, None, None);
    for (name, value) in pairs(query) {
        let known = match &*name {
            "month" => Month::parse(&value).map(|it| month = Some(it)),
            "by" => <By as clap::ValueEnum>::from_str(&value, false)
                .ok()
                .map(|it| by = it),
            // In open mode the tenant has no name.
            "tenant" => {
                tenant = Some(if value == "-" { String::new() } else { value });
                Some(())
            }
            "project" => {
                project = Some(value);
                Some(())
            }
            _ => None,
        };
        if known.is_none() {
            return wrong(USAGE_TAKES);
        }
    }
    let sees_all = matches!(who, Who::Admin(_));
    if !sees_all {
        tenant = Some(who.name().to_owned());
    }
    let now_ms = clock::now_ms();
    let asked = asked(by, month, tenant.as_deref(), project.as_deref(), now_ms);
    let snapshot = server.live.load();
    let limit = |name: &str| snapshot.tenants.by_name(name)?.limits.daily;
    match server.store.bill(asked).await {
        Ok(lines) => {
            let bill = Bill::new(by, month, lines, now_ms);
            (StatusCode::OK, bill.json(limit, sees_all))
        }
        Err(error) => unreadable(&error),
    }
}

/// `limit=N`, the newest first.
pub(super) async fn audit(server: &Server, query: &str) -> Told {
    let mut limit = USUALLY_AUDITED;
    for (name, value) in pairs(query) {
        match (&*name, value.parse::<usize>()) {
            ("limit", Ok(number)) if (1..=MOST_AUDITED).contains(&number) => limit = number,
            _ => return wrong(AUDIT_TAKES),
        }
    }
    match server.store.audit_list(limit).await {
        Ok(rows) => {
            let rows: Vec<_> = rows.iter().map(row).collect();
            (StatusCode::OK, json!({ "audit": rows }))
        }
        Err(error) => unreadable(&error),
    }
}

/// A change by hand that was carried out. What was refused changed nothing.
pub(super) fn note(server: &Server, who: &str, what: &str, subject: &str, told: &Told) {
    if told.0.is_success() {
        server
            .events
            .add("by-hand", subject, format!("{what}, by {who}"));
        server.store.audit(AuditRow {
            at_ms: clock::now_ms(),
            who: who.into(),
            what: what.into(),
            subject: subject.into(),
            detail: "".into(),
        });
    }
}

fn row(row: &AuditRow) -> Value {
    json!({
        "at": rfc3339(row.at_ms),
        "at_ms": row.at_ms,
        "who": &*row.who,
        "what": &*row.what,
        "subject": &*row.subject,
        "detail": &*row.detail,
    })
}

pub(super) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let text = |part: &str| {
        let spaced = part.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(move |part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (text(name), text(value))
    })
}

pub(super) fn wrong(takes: &str) -> Told {
    (StatusCode::BAD_REQUEST, json!({ "error": takes }))
}

fn unreadable(error: &StoreError) -> Told {
    let error = format!("the store cannot be read: {error}");
    (StatusCode::SERVICE_UNAVAILABLE, json!({ "error": error }))
}

const USAGE_TAKES: &str =
    "this takes month=2026-11, by=tenant|project|type|key|day|month, tenant=NAME and project=NAME";
const AUDIT_TAKES: &str = "this takes limit=N, from 1 to 1000";
