//! What is asked of the tables.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::audit::AuditRow;
use super::super::bills::{Asked, Line, Sums};
use super::super::parked::{OwnId, ParkedRecord, ParkedRequest};
use super::super::rows::{Claimed, TaskKey, TaskRecord, TaskState, UncertainRow};
use super::super::usage::{Ended, Refused, Settled, UsageRow};
use super::{Tables, refused};

impl Tables {
    pub(in crate::store) fn task(&self, key: &TaskKey) -> Option<TaskRecord> {
        self.lock().tasks.get(key).cloned()
    }

    pub(in crate::store) fn claim(&self, scope: &[u8; 32]) -> Option<Claimed> {
        self.lock().claims.get(scope).map(|row| row.claimed.clone())
    }

    pub(in crate::store) fn uncertain_open(&self) -> u64 {
        let inner = self.lock();
        let rows = inner.uncertain.values();
        rows.filter(|row| row.resolved.is_none()).count() as u64
    }

    pub(in crate::store) fn uncertain(&self, limit: usize) -> Vec<UncertainRow> {
        let tables = self.lock();
        tables
            .uncertain
            .values()
            .rev()
            .take(limit)
            .cloned()
            .collect()
    }

    pub(in crate::store) fn bad_key_answers(&self, since_ms: i64) -> Vec<i64> {
        let tables = self.lock();
        let mut at: Vec<_> = tables.bad_key_answers.values().copied().collect();
        at.retain(|&at_ms| at_ms >= since_ms);
        at.sort_unstable();
        at
    }

    pub(in crate::store) fn running_tasks(
        &self,
        used_since_ms: i64,
        limit: usize,
    ) -> Vec<TaskRecord> {
        let tables = self.lock();
        let by_use = tables.by_use.iter().rev();
        by_use
            .take_while(|(used_at_ms, _)| *used_at_ms >= used_since_ms)
            .filter_map(|(_, key)| tables.tasks.get(key))
            .filter(|task| task.state == TaskState::Running)
            .take(limit)
            .cloned()
            .collect()
    }

    pub(in crate::store) fn settled(
        &self,
        day_began_ms: i64,
        month_began_ms: i64,
    ) -> HashMap<Arc<str>, Settled> {
        let mut settled: HashMap<Arc<str>, Settled> = HashMap::new();
        let tables = self.lock();
        let solved =
            |row: &&UsageRow| row.ended == Ended::Solved && row.ended_at_ms >= month_began_ms;
        for row in tables.usage.values().filter(solved) {
            let tenant = settled.entry(Arc::clone(&row.task.tenant)).or_default();
            tenant.solves_today += u32::from(row.ended_at_ms >= day_began_ms);
            tenant.charged_this_month_micro_usd += row.charge_micro_usd;
        }
        settled
    }

    pub(in crate::store) fn parked(&self, id: OwnId, tenant: &str) -> Option<ParkedRecord> {
        let tables = self.lock();
        let (record, _) = tables.parked.get(&id)?;
        (&*record.tenant == tenant).then(|| record.clone())
    }

    pub(in crate::store) fn parked_request(&self, id: OwnId) -> Option<ParkedRequest> {
        self.lock().parked.get(&id)?.1.clone()
    }

    pub(in crate::store) fn bill(&self, asked: &Asked) -> Vec<Line> {
        let tables = self.lock();
        let mut sums = Sums::new(asked);
        tables.usage.values().for_each(|row| sums.add(row));
        let open = |row: &&UncertainRow| row.resolved.is_none();
        for row in tables.uncertain.values().filter(open) {
            sums.add_uncertain(&row.intent);
        }
        for ((day, tenant, _), count) in &tables.refusals {
            sums.add_refused(tenant, *day, *count);
        }
        sums.lines()
    }

    pub(in crate::store) fn refusals(&self, day: i64) -> Vec<Refused> {
        let tables = self.lock();
        let of_day = tables.refusals.iter().filter(|((of, ..), _)| *of == day);
        of_day.map(refused).collect()
    }

    pub(in crate::store) fn audit(&self, limit: usize) -> Vec<AuditRow> {
        self.lock()
            .audit
            .iter()
            .rev()
            .take(limit)
            .cloned()
            .collect()
    }

    pub(in crate::store) fn replaced(&self) -> u64 {
        self.lock().replaced
    }
}
