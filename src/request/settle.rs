//! The end of a task: its slot is free, its tenant is charged or gets back what was reserved, and the bill has one row more.

use std::time::Duration;

use super::Server;
use crate::keys::account::Bill;
use crate::live::Snapshot;
use crate::store::{Ended, TaskRecord, UsageRow};
use crate::tasks::kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    ended: Ended,
    /// By the vendor, in micro-dollars.
    said_price: Option<i64>,
    /// Heard about as soon as clients poll. What Sidekey follows by itself it hears of late, and how long a solve takes is
    /// estimated from the others.
    is_timely: bool,
}

impl Ending {
    pub(super) const FAILED: Self = Self {
        ended: Ended::Failed,
        said_price: None,
        is_timely: false,
    };
    pub(super) const EXPIRED: Self = Self {
        ended: Ended::Expired,
        said_price: None,
        is_timely: false,
    };

    pub(super) fn solved(said_price: Option<i64>, is_timely: bool) -> Self {
        Self {
            ended: Ended::Solved,
            said_price,
            is_timely,
        }
    }
}

pub(super) fn settle(
    server: &Server,
    snapshot: &Snapshot,
    record: &TaskRecord,
    ending: Ending,
    now_ms: i64,
) {
    let row = end(server, snapshot, record, ending, now_ms);
    server.store.settle(row);
}

/// All of it but the store's part.
pub(super) fn end(
    server: &Server,
    snapshot: &Snapshot,
    record: &TaskRecord,
    ending: Ending,
    now_ms: i64,
) -> UsageRow {
    let Ending {
        ended,
        said_price,
        is_timely,
    } = ending;
    let is_solved = ended == Ended::Solved;
    let usual = || snapshot.settings.prices.price(&record.kind);
    let cost = said_price.or(record.price_micro_usd).unwrap_or_else(usual);
    // A tenant without prices of its own pays what the vendor takes, also when that is not what was expected.
    let charge = record.charge_micro_usd.unwrap_or(cost);
    let tenant = server.tenants.of(&record.key.tenant);
    let kind = kind::named(&record.kind);
    let ended_at_ms = tenant.task_ended(&record.key, kind, is_solved.then_some(charge), now_ms);
    // After the tenant's count: whoever takes the slot that is freed here must see that its tenant holds one less.
    let bill = match said_price {
        _ if !is_solved => Bill::Nothing,
        Some(price) => Bill::Said(price),
        None => Bill::AsExpected,
    };
    snapshot
        .keys
        .task_ended(&record.owner_name, &record.key, bill);
    if let Some(owner) = snapshot.keys.account(&record.owner_name)
        && ended != Ended::Expired
    {
        owner.count_solve(kind, is_solved);
    }
    if is_solved && is_timely {
        let took_ms = u64::try_from(now_ms - record.submitted_at_ms).unwrap_or_default();
        let took = Duration::from_millis(took_ms);
        server.metrics.solved(kind, took);
    }
    UsageRow {
        task: record.key.clone(),
        submitted_at_ms: record.submitted_at_ms,
        ended_at_ms,
        ended,
        project: record.project.clone(),
        kind: record.kind.clone(),
        owner_name: record.owner_name.clone(),
        cost_micro_usd: if is_solved { cost } else { 0 },
        charge_micro_usd: if is_solved { charge } else { 0 },
    }
}
