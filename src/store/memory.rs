//! The store that ends with the process. Also what a replica remembers of its own changes to the shared store.

mod history;
mod look_ups;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::audit::AuditRow;
use super::parked::{OwnId, ParkedRecord, ParkedRequest, Parking};
use super::rows::{
    BAD_KEY_ANSWERS_KEPT, CameTo, Change, Claim, Claimed, Intent, IntentId, Resolved, TaskKey,
    TaskRecord, TaskState, UncertainRow,
};
use super::usage::{Ended, Refused, UsageRow};

/// A std mutex: every section is short and none awaits.
#[derive(Debug)]
pub(super) struct Tables(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    most_tasks: usize,
    tasks: HashMap<TaskKey, TaskRecord>,
    /// Exactly the keys of `tasks`, least recently used first.
    by_use: BTreeSet<(i64, TaskKey)>,
    intents: HashMap<IntentId, Intent>,
    uncertain: BTreeMap<IntentId, UncertainRow>,
    claims: HashMap<[u8; 32], ClaimRow>,
    /// Exactly the keys of `claims`.
    claims_by_intent: HashMap<IntentId, [u8; 32]>,
    bad_key_answers: BTreeMap<i64, i64>,
    /// With its request, as long as it may be sent.
    parked: BTreeMap<OwnId, (ParkedRecord, Option<ParkedRequest>)>,
    usage: HashMap<UsageKey, UsageRow>,
    /// Exactly the keys of `usage`, the end that is longest ago first.
    usage_by_end: BTreeSet<(i64, UsageKey)>,
    refusals: BTreeMap<(i64, Arc<str>, Arc<str>), i64>,
    audit: BTreeSet<AuditRow>,
    replaced: u64,
}

/// An id that the vendor gives again is another task.
type UsageKey = (TaskKey, i64);

#[derive(Debug)]
struct ClaimRow {
    intent: IntentId,
    claimed: Claimed,
    at_ms: i64,
}

/// A copy of all that could be lost with a shared store.
pub(super) struct Remembered {
    pub(super) tasks: Vec<TaskRecord>,
    pub(super) intents: Vec<(IntentId, Intent)>,
    pub(super) uncertain: Vec<UncertainRow>,
    pub(super) claims: Vec<RememberedClaim>,
    pub(super) bad_key_answers: Vec<(i64, i64)>,
    pub(super) usage: Vec<UsageRow>,
    pub(super) parked: Vec<(ParkedRecord, Option<ParkedRequest>)>,
    pub(super) refusals: Vec<Refused>,
    pub(super) audit: Vec<AuditRow>,
}

pub(super) struct RememberedClaim {
    pub(super) scope: [u8; 32],
    pub(super) intent: IntentId,
    pub(super) claimed: Claimed,
    pub(super) at_ms: i64,
}

impl Tables {
    pub(super) fn new(most_tasks: usize) -> Self {
        Self(Mutex::new(Inner {
            most_tasks,
            ..Inner::default()
        }))
    }

    /// Returns how many rows it replaced or forgot.
    pub(super) fn apply(&self, change: Change) -> u64 {
        self.lock().apply(change)
    }

    pub(super) fn remembered(&self) -> Remembered {
        let tables = self.lock();
        let claim = |(scope, row): (&[u8; 32], &ClaimRow)| RememberedClaim {
            scope: *scope,
            intent: row.intent,
            claimed: row.claimed.clone(),
            at_ms: row.at_ms,
        };
        let intents = tables.intents.iter();
        Remembered {
            tasks: tables.tasks.values().cloned().collect(),
            intents: intents.map(|(id, intent)| (*id, intent.clone())).collect(),
            uncertain: tables.uncertain.values().cloned().collect(),
            claims: tables.claims.iter().map(claim).collect(),
            bad_key_answers: tables
                .bad_key_answers
                .iter()
                .map(|(id, at)| (*id, *at))
                .collect(),
            usage: tables.usage.values().cloned().collect(),
            parked: tables.parked.values().cloned().collect(),
            refusals: tables.refusals.iter().map(refused).collect(),
            audit: tables.audit.iter().cloned().collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(((day, tenant, reason), count): (&(i64, Arc<str>, Arc<str>), &i64)) -> Refused {
    Refused {
        tenant: Arc::clone(tenant),
        day: *day,
        reason: Arc::clone(reason),
        count: *count,
    }
}

impl Inner {
    fn apply(&mut self, change: Change) -> u64 {
        match change {
            // Its limit is kept by the account itself: nobody else uses this store.
            Change::Intend(id, intent, claim, _) => {
                if let Some(claim) = claim {
                    self.claim(id, claim, intent.at_ms);
                }
                self.intents.insert(id, intent);
                0
            }
            Change::Accept(intent, task) => {
                if let Some(intent) = intent {
                    self.intents.remove(&intent);
                    self.claim_came_to(intent, CameTo::Task(Arc::clone(&task.key.id)));
                }
                self.insert(task)
            }
            Change::Answered(id, answer, row) => {
                self.intents.remove(&id);
                if let Some(uncertain) = self.uncertain.get_mut(&id) {
                    uncertain.resolved = Some(Resolved {
                        task_id: Arc::clone(&row.task.id),
                        at_ms: row.ended_at_ms,
                    });
                }
                self.settle(*row);
                self.claim_came_to(id, answer.map_or(CameTo::Unknown, CameTo::Answer));
                0
            }
            Change::ForgetIntent(id) => {
                self.intents.remove(&id);
                if let Some(scope) = self.claims_by_intent.remove(&id) {
                    self.claims.remove(&scope);
                }
                0
            }
            Change::Uncertain(row) => {
                self.intents.remove(&row.id);
                self.uncertain.insert(row.id, *row);
                if self.uncertain.len() > MAX_UNCERTAIN {
                    self.uncertain.pop_first();
                }
                0
            }
            Change::Resolve(id, task) => {
                if let Some(row) = self.uncertain.get_mut(&id) {
                    row.resolved = Some(Resolved {
                        task_id: Arc::clone(&task.key.id),
                        at_ms: task.used_at_ms,
                    });
                }
                self.claim_came_to(id, CameTo::Task(Arc::clone(&task.key.id)));
                self.insert(task)
            }
            Change::Touch(key, used_at_ms, state) => {
                self.touch(&key, used_at_ms, state);
                0
            }
            Change::Settle(row) => {
                let same = |task: &TaskRecord| task.submitted_at_ms == row.submitted_at_ms;
                if row.ended != Ended::Expired && self.tasks.get(&row.task).is_some_and(same) {
                    self.touch(&row.task, row.ended_at_ms, TaskState::Final);
                }
                self.settle(*row);
                0
            }
            // Asked for at a start only, and this store ends with the process.
            Change::GoodKey(..) | Change::NoGoodKey(_) => 0,
            Change::Refused(refused, at_ms) => {
                self.refused(refused, at_ms);
                0
            }
            Change::Audit(row) => {
                self.audit(*row);
                0
            }
            Change::ForgetUsage { before_ms, limit } => self.forget_usage(before_ms, limit),
            Change::ForgetAudit { before_ms, most } => self.forget_audit(before_ms, most),
            Change::BadKeyAnswer { id, at_ms } => {
                self.bad_key_answers.insert(id, at_ms);
                self.bad_key_answers
                    .retain(|&older, _| older > id - BAD_KEY_ANSWERS_KEPT);
                0
            }
            Change::ForgetTasks {
                unused_since_ms,
                limit,
            } => self.forget_tasks(unused_since_ms, limit),
            Change::ForgetUncertain { before_ms, limit } => {
                let old: Vec<_> = self
                    .uncertain
                    .iter()
                    .filter(|(_, row)| row.intent.at_ms < before_ms)
                    .map(|(id, _)| *id)
                    .take(limit)
                    .collect();
                for id in &old {
                    self.uncertain.remove(id);
                }
                old.len() as u64
            }
            Change::ForgetClaims {
                before_ms,
                most,
                limit,
            } => self.forget_claims(before_ms, most, limit),
            Change::Park(parking) => {
                let Parking {
                    record,
                    request,
                    claim,
                } = *parking;
                if let Some((intent, claim)) = claim {
                    self.claim(intent, claim, record.parked_at_ms);
                    self.claim_came_to(intent, CameTo::Task(record.id.to_string().into()));
                }
                self.parked.insert(record.id, (record, Some(request)));
                self.bound_parked();
                0
            }
            Change::Turn {
                id,
                state,
                at_ms,
                with,
            } => {
                if let Some((record, request)) = self.parked.get_mut(&id) {
                    if !state.is_open() {
                        *request = None;
                    }
                    record.state = state;
                    record.used_at_ms = record.used_at_ms.max(at_ms);
                }
                self.apply(*with)
            }
            Change::TouchParked(id, used_at_ms) => {
                if let Some((record, _)) = self.parked.get_mut(&id) {
                    record.used_at_ms = record.used_at_ms.max(used_at_ms);
                }
                0
            }
            Change::ForgetParked {
                unused_since_ms,
                limit,
            } => self.forget_parked(unused_since_ms, limit),
            Change::GiveBack { .. } | Change::HoldParked { .. } | Change::Nothing => 0,
        }
    }

    fn insert(&mut self, task: TaskRecord) -> u64 {
        let (key, used_at_ms) = (task.key.clone(), task.used_at_ms);
        let mut replaced = false;
        if let Some(old) = self.tasks.get(&key) {
            // The same change made twice replaces nothing.
            replaced = *old != task;
            self.by_use.remove(&(old.used_at_ms, key.clone()));
        }
        self.by_use.insert((used_at_ms, key.clone()));
        self.tasks.insert(key, task);
        self.replaced += u64::from(replaced);
        if self.tasks.len() > self.most_tasks
            && let Some((_, key)) = self.by_use.pop_first()
        {
            self.tasks.remove(&key);
        }
        u64::from(replaced)
    }

    fn claim(&mut self, intent: IntentId, claim: Claim, at_ms: i64) {
        let claimed = Claimed {
            parameters: claim.parameters,
            came_to: CameTo::Unknown,
        };
        let row = ClaimRow {
            intent,
            claimed,
            at_ms,
        };
        if let Some(before) = self.claims.insert(claim.scope, row) {
            self.claims_by_intent.remove(&before.intent);
        }
        self.claims_by_intent.insert(intent, claim.scope);
    }

    fn claim_came_to(&mut self, intent: IntentId, came_to: CameTo) {
        let scope = self.claims_by_intent.get(&intent);
        if let Some(row) = scope.and_then(|scope| self.claims.get_mut(scope)) {
            row.claimed.came_to = came_to;
        }
    }

    fn forget_claims(&mut self, before_ms: i64, most: usize, limit: usize) -> u64 {
        let mut by_time: Vec<_> = self
            .claims
            .iter()
            .map(|(scope, row)| (row.at_ms, *scope))
            .collect();
        by_time.sort_unstable();
        let oldest_kept = by_time.iter().rev().nth(most - 1);
        let before_ms = oldest_kept.map_or(before_ms, |(at_ms, _)| before_ms.max(*at_ms));
        by_time.retain(|(at_ms, _)| *at_ms < before_ms);
        by_time.truncate(limit);
        for (_, scope) in &by_time {
            if let Some(row) = self.claims.remove(scope) {
                self.claims_by_intent.remove(&row.intent);
            }
        }
        by_time.len() as u64
    }

    fn touch(&mut self, key: &TaskKey, used_at_ms: i64, state: TaskState) {
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        task.state = task.state.max(state);
        if used_at_ms > task.used_at_ms {
            self.by_use.remove(&(task.used_at_ms, key.clone()));
            self.by_use.insert((used_at_ms, key.clone()));
            task.used_at_ms = used_at_ms;
        }
    }

    fn forget_parked(&mut self, unused_since_ms: i64, limit: usize) -> u64 {
        let old = self.parked.values().map(|(record, _)| record);
        let old = old.filter(|r| r.used_at_ms < unused_since_ms && !r.state.is_open());
        let mut old: Vec<_> = old.map(|record| (record.used_at_ms, record.id)).collect();
        old.sort_unstable();
        old.truncate(limit);
        for (_, id) in &old {
            self.parked.remove(id);
        }
        old.len() as u64
    }

    fn bound_parked(&mut self) {
        if self.parked.len() <= MAX_PARKED {
            return;
        }
        let ended = |(record, _): &&(ParkedRecord, _)| !record.state.is_open();
        let oldest = self
            .parked
            .values()
            .find(ended)
            .map(|(record, _)| record.id);
        if let Some(oldest) = oldest {
            self.parked.remove(&oldest);
        }
    }

    fn forget_tasks(&mut self, unused_since_ms: i64, limit: usize) -> u64 {
        let mut forgotten = 0;
        while forgotten < limit as u64
            && self
                .by_use
                .first()
                .is_some_and(|(used_at_ms, _)| *used_at_ms < unused_since_ms)
        {
            if let Some((_, key)) = self.by_use.pop_first() {
                self.tasks.remove(&key);
            }
            forgotten += 1;
        }
        forgotten
    }
}

/// SECURITY: those that wait are bounded by `submit.park_max`; of those that have ended the oldest goes.
const MAX_PARKED: usize = 200_000;

/// SECURITY: clients decide how many tasks there are. About 500 bytes each; then the least recently used one goes.
pub(super) const MAX_TASKS: usize = 200_000;

/// The oldest goes. Each of these was an alarm; nobody reads the ten-thousandth.
const MAX_UNCERTAIN: usize = 10_000;
