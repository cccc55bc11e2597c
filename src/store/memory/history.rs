//! What is looked back at: bills, refusals and the audit log.

use std::collections::btree_map::Entry;

use super::super::audit::{self, AuditRow};
use super::super::usage::{Ended, Refused, UsageRow};
use super::Inner;
use crate::calendar::DAY_MS;

impl Inner {
    pub(super) fn settle(&mut self, row: UsageRow) {
        let place = (row.task.clone(), row.submitted_at_ms);
        let end = match self.usage.get_mut(&place) {
            None => {
                let end = row.ended_at_ms;
                self.usage.insert(place.clone(), row);
                end
            }
            Some(old) if old.ended == Ended::Expired && row.ended != Ended::Expired => {
                self.usage_by_end.remove(&(old.ended_at_ms, place.clone()));
                old.ended_at_ms = row.ended_at_ms;
                old.ended = row.ended;
                old.cost_micro_usd = row.cost_micro_usd;
                old.charge_micro_usd = row.charge_micro_usd;
                row.ended_at_ms
            }
            Some(_) => return,
        };
        self.usage_by_end.insert((end, place));
        if self.usage.len() > self.most_tasks {
            self.forget_usage(i64::MAX, 1);
        }
    }

    pub(super) fn forget_usage(&mut self, before_ms: i64, limit: usize) -> u64 {
        let mut forgotten = 0;
        while forgotten < limit as u64
            && let Some((end, _)) = self.usage_by_end.first()
            && *end < before_ms
            && let Some((_, place)) = self.usage_by_end.pop_first()
        {
            self.usage.remove(&place);
            forgotten += 1;
        }
        if before_ms < i64::MAX {
            self.refusals
                .retain(|(day, ..), _| *day >= before_ms / DAY_MS);
        }
        forgotten
    }

    pub(super) fn refused(&mut self, refused: Refused, at_ms: i64) {
        let Refused {
            tenant,
            day,
            reason,
            count,
        } = refused;
        let first = audit::limit_reached(&tenant, &reason, at_ms);
        match self.refusals.entry((day, tenant, reason)) {
            Entry::Vacant(entry) => {
                entry.insert(count);
                self.audit(first);
            }
            Entry::Occupied(mut entry) => *entry.get_mut() = count.max(*entry.get()),
        }
        if self.refusals.len() > MAX_REFUSALS {
            self.refusals.pop_first();
        }
    }

    pub(super) fn audit(&mut self, row: AuditRow) {
        self.audit.insert(row);
        if self.audit.len() > MAX_AUDITED {
            self.audit.pop_first();
        }
    }

    pub(super) fn forget_audit(&mut self, before_ms: i64, most: usize) -> u64 {
        let oldest_kept = self.audit.iter().rev().nth(most - 1);
        let before_ms = oldest_kept.map_or(before_ms, |row| row.at_ms.max(before_ms));
        let before = self.audit.len();
        self.audit.retain(|row| row.at_ms >= before_ms);
        (before - self.audit.len()) as u64
    }
}

/// A day has one for each tenant and limit.
const MAX_REFUSALS: usize = 100_000;

/// A store in memory is for trying things out, and for tests.
const MAX_AUDITED: usize = 10_000;
