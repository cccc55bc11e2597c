//! The end of a task: its slot is free, its tenant is charged or gets back what was reserved, and the bill has one row more.

use std::sync::Arc;
use std::time::Duration;

use super::Server;
use crate::admin::metrics::Metrics;
use crate::keys::account::{Account, Bill};
use crate::live::Snapshot;
use crate::store::{Ended, TaskRecord, UsageRow};
use crate::tasks::kind;
use crate::tenants::accounts::Accounts;

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
    let solve = Solve::of(snapshot, record, ending, row.charge_micro_usd, now_ms);
    if server.store.replicas().is_none() {
        server.store.settle(row);
        return solve.count(&server.tenants, &server.metrics);
    }
    // Any replica may hear the end; the one whose row is the first counts it.
    let written = server.store.settle_together(row);
    let (tenants, metrics) = (Arc::clone(&server.tenants), Arc::clone(&server.metrics));
    let background = server.background.clone();
    server.background.spawn(async move {
        let is_new = tokio::select! {
            written = written => written == Ok(1),
            // The numbers end with the process.
            () = background.stopping() => false,
        };
        if is_new {
            solve.count(&tenants, &metrics);
        }
    });
}

/// What is counted of the end of a task.
pub(super) struct Solve {
    tenant: Arc<str>,
    kind: &'static str,
    ended: Ended,
    charge_micro_usd: i64,
    /// None: nobody knows how long it took.
    took: Option<Duration>,
    owner: Option<Arc<Account>>,
}

impl Solve {
    pub(super) fn of(
        snapshot: &Snapshot,
        record: &TaskRecord,
        ending: Ending,
        charge_micro_usd: i64,
        now_ms: i64,
    ) -> Self {
        let took_ms = u64::try_from(now_ms - record.submitted_at_ms).unwrap_or_default();
        let owner = snapshot.keys.account(&record.owner_name);
        Self {
            tenant: Arc::clone(&record.key.tenant),
            kind: kind::named(&record.kind),
            ended: ending.ended,
            charge_micro_usd,
            took: ending.is_timely.then(|| Duration::from_millis(took_ms)),
            owner: owner.map(Arc::clone),
        }
    }

    pub(super) fn count(self, tenants: &Accounts, metrics: &Metrics) {
        let is_solved = self.ended == Ended::Solved;
        if let Some(owner) = self.owner
            && self.ended != Ended::Expired
        {
            owner.count_solve(self.kind, is_solved);
        }
        if is_solved {
            let tenant = tenants.of(&self.tenant);
            tenant.count_solve(self.kind, self.charge_micro_usd);
            if let Some(took) = self.took {
                metrics.solved(self.kind, took);
            }
        }
    }
}

/// All of it but what the store keeps and what is counted.
pub(super) fn end(
    server: &Server,
    snapshot: &Snapshot,
    record: &TaskRecord,
    ending: Ending,
    now_ms: i64,
) -> UsageRow {
    let Ending {
        ended, said_price, ..
    } = ending;
    let is_solved = ended == Ended::Solved;
    let usual = || snapshot.settings.prices.price(&record.kind);
    let cost = said_price.or(record.price_micro_usd).unwrap_or_else(usual);
    // A tenant without prices of its own pays what the vendor takes, also when that is not what was expected.
    let charge = record.charge_micro_usd.unwrap_or(cost);
    let tenant = server.tenants.of(&record.key.tenant);
    let ended_at_ms = tenant.task_ended(&record.key, is_solved.then_some(charge), now_ms);
    // After the tenant's count: whoever takes the slot that is freed here must see that its tenant holds one less.
    let bill = match said_price {
        _ if !is_solved => Bill::Nothing,
        Some(price) => Bill::Said(price),
        None => Bill::AsExpected,
    };
    snapshot
        .keys
        .task_ended(&record.owner_name, &record.key, bill);
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
