//! The store that ends with the process. Also what a replica remembers of its own changes to the shared store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rows::{
    BAD_KEY_ANSWERS_KEPT, CameTo, Change, Claim, Claimed, Intent, IntentId, Resolved, TaskKey,
    TaskRecord, TaskState, UncertainRow,
};
use super::usage::{Ended, Settled, UsageRow};

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
    usage: BTreeMap<(TaskKey, i64), UsageRow>,
    replaced: u64,
}

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
        let mut tables = self.lock();
        match change {
            // Its limit is kept by the account itself: nobody else uses this store.
            Change::Intend(id, intent, claim, _) => {
                if let Some(claim) = claim {
                    tables.claim(id, claim, intent.at_ms);
                }
                tables.intents.insert(id, intent);
                0
            }
            Change::Accept(intent, task) => {
                if let Some(intent) = intent {
                    tables.intents.remove(&intent);
                    tables.claim_came_to(intent, CameTo::Task(Arc::clone(&task.key.id)));
                }
                tables.insert(task)
            }
            Change::Answered(id, answer) => {
                tables.intents.remove(&id);
                tables.claim_came_to(id, answer.map_or(CameTo::Unknown, CameTo::Answer));
                0
            }
            Change::ForgetIntent(id) => {
                tables.intents.remove(&id);
                if let Some(scope) = tables.claims_by_intent.remove(&id) {
                    tables.claims.remove(&scope);
                }
                0
            }
            Change::Uncertain(row) => {
                tables.intents.remove(&row.id);
                tables.uncertain.insert(row.id, *row);
                if tables.uncertain.len() > MAX_UNCERTAIN {
                    tables.uncertain.pop_first();
                }
                0
            }
            Change::Resolve(id, task) => {
                if let Some(row) = tables.uncertain.get_mut(&id) {
                    row.resolved = Some(Resolved {
                        task_id: Arc::clone(&task.key.id),
                        at_ms: task.used_at_ms,
                    });
                }
                tables.claim_came_to(id, CameTo::Task(Arc::clone(&task.key.id)));
                tables.insert(task)
            }
            Change::Touch(key, used_at_ms, state) => {
                tables.touch(&key, used_at_ms, state);
                0
            }
            Change::Settle(row) => {
                tables.touch(&row.task, row.ended_at_ms, TaskState::Final);
                tables.settle(*row);
                0
            }
            // Asked for at a start only, and this store ends with the process.
            Change::GoodKey(..) | Change::NoGoodKey(_) | Change::Refused(_) => 0,
            Change::BadKeyAnswer { id, at_ms } => {
                tables.bad_key_answers.insert(id, at_ms);
                tables
                    .bad_key_answers
                    .retain(|&older, _| older > id - BAD_KEY_ANSWERS_KEPT);
                0
            }
            Change::ForgetTasks {
                unused_since_ms,
                limit,
            } => tables.forget_tasks(unused_since_ms, limit),
            Change::ForgetUncertain { before_ms, limit } => {
                let old: Vec<_> = tables
                    .uncertain
                    .iter()
                    .filter(|(_, row)| row.intent.at_ms < before_ms)
                    .map(|(id, _)| *id)
                    .take(limit)
                    .collect();
                for id in &old {
                    tables.uncertain.remove(id);
                }
                old.len() as u64
            }
            Change::ForgetClaims {
                before_ms,
                most,
                limit,
            } => tables.forget_claims(before_ms, most, limit),
            Change::GiveBack { .. } | Change::Nothing => 0,
        }
    }

    pub(super) fn task(&self, key: &TaskKey) -> Option<TaskRecord> {
        self.lock().tasks.get(key).cloned()
    }

    pub(super) fn claim(&self, scope: &[u8; 32]) -> Option<Claimed> {
        self.lock().claims.get(scope).map(|row| row.claimed.clone())
    }

    pub(super) fn uncertain(&self, limit: usize) -> Vec<UncertainRow> {
        let tables = self.lock();
        tables
            .uncertain
            .values()
            .rev()
            .take(limit)
            .cloned()
            .collect()
    }

    pub(super) fn bad_key_answers(&self, since_ms: i64) -> Vec<i64> {
        let tables = self.lock();
        let mut at: Vec<_> = tables.bad_key_answers.values().copied().collect();
        at.retain(|&at_ms| at_ms >= since_ms);
        at.sort_unstable();
        at
    }

    pub(super) fn running_tasks(&self, used_since_ms: i64, limit: usize) -> Vec<TaskRecord> {
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

    pub(super) fn settled(
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
        }
    }

    pub(super) fn replaced(&self) -> u64 {
        self.lock().replaced
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
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

    fn settle(&mut self, row: UsageRow) {
        let place = (row.task.clone(), row.submitted_at_ms);
        let settled = self.usage.get(&place);
        if settled.is_none_or(|old| old.ended == Ended::Expired) {
            self.usage.insert(place, row);
        }
        if self.usage.len() > self.most_tasks {
            self.usage.pop_first();
        }
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

/// SECURITY: clients decide how many tasks there are. About 500 bytes each; then the least recently used one goes.
pub(super) const MAX_TASKS: usize = 200_000;

/// The oldest goes. Each of these was an alarm; nobody reads the ten-thousandth.
const MAX_UNCERTAIN: usize = 10_000;
