//! What a submit leaves in the books: its intent, its task, what nobody can know of it, and what it holds of slots and limits.
//! Of a parked submit its own row changes with them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Submitting, identical};
use crate::keys::key::Key;
use crate::request::choose::TakenSlot;
use crate::request::clock;
use crate::request::forward::Answered;
use crate::request::settle::{Ending, Solve, end};
use crate::store::{
    self, Intent, IntentId, StoreError, TaskKey, TaskRecord, TaskState, UncertainRow, Within,
    Written,
};
use crate::tasks::kind;
use crate::wire::Endpoint;

/// After that the store's trouble is not the client's any more: the id is kept in memory and relayed.
pub(in crate::request) const STORE_PATIENCE: Duration = Duration::from_secs(1);

/// Why a change is not durable.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritten {
    #[error("it takes too long")]
    Late,
    #[error(transparent)]
    Refused(StoreError),
}

impl Submitting {
    /// `solve.php` has solved: a task that had no id, and ends as it begins.
    pub(super) async fn solved_at_once(
        &self,
        intent_id: IntentId,
        intent: Intent,
        answered: &Answered,
        key: &Key,
        slot: TakenSlot,
    ) {
        let id = format!("solve-{}", intent_id.0);
        let record = self.record(intent, &id);
        self.give(slot, &record, key);
        let (server, snapshot, now_ms) = (&self.server, &self.snapshot, clock::now_ms());
        let ending = Ending::solved(None, true);
        let row = end(server, snapshot, &record, ending, now_ms);
        let solve = Solve::of(snapshot, &record, ending, row.charge_micro_usd, now_ms);
        solve.count(&server.tenants, &server.metrics);
        let store = &server.store;
        let written = store.answered(intent_id, &answered.relay.body, row);
        self.stored(written, "answer").await;
    }

    /// The mapping is durable before the id is relayed; in a store's long trouble it is kept in memory, and said loudly.
    pub(super) async fn accepted(
        &self,
        intent_id: IntentId,
        intent: Intent,
        id: &str,
        key: &Key,
        slot: TakenSlot,
    ) {
        let record = self.record(intent, id);
        self.give(slot, &record, key);
        let store = &self.server.store;
        let written = match self.parked {
            Some(parked) => store.accept_parked(parked, intent_id, record.clone()),
            None => store.accept(intent_id, record.clone()),
        };
        self.server.tasks.remember(record, Instant::now());
        #[cfg(not(sidekey_relay_before_commit))]
        self.stored(written, "task").await;
        // The negative control of the crash test: the id goes out before its record is durable.
        #[cfg(sidekey_relay_before_commit)]
        drop(written);
    }

    /// The slot and what the tenant reserved are the task's from now on.
    pub(super) fn give(&self, slot: TakenSlot, record: &TaskRecord, key: &Key) {
        let (price, now) = (key.limits.takes(record.price_micro_usd), Instant::now());
        slot.give_to(record.key.clone(), price, key, now);
        self.reservation.give_to(record.key.clone(), now);
    }

    /// Nobody knows whether there is a task.
    pub(super) fn keep(&self, slot: TakenSlot) {
        slot.keep(Instant::now());
        self.reservation.keep();
    }

    pub(super) fn record(&self, intent: Intent, id: &str) -> TaskRecord {
        TaskRecord {
            key: TaskKey {
                profile: intent.profile,
                tenant: intent.tenant,
                id: id.into(),
            },
            owner_name: intent.owner_name,
            owner_identity: intent.owner_identity,
            price_micro_usd: Some(self.snapshot.settings.prices.price(&intent.kind)),
            charge_micro_usd: self.admitted.tenant.prices.get(&*intent.kind).copied(),
            kind: intent.kind,
            project: intent.project,
            state: TaskState::Running,
            submitted_at_ms: intent.at_ms,
            used_at_ms: clock::now_ms(),
        }
    }

    pub(super) async fn uncertain(
        &self,
        intent_id: IntentId,
        intent: Intent,
        why: &str,
        key: &Key,
    ) {
        tracing::warn!(key = %key.name, why, "a submit is uncertain: it may have made a task and is not sent again");
        self.server.metrics.uncertain_submit();
        let store = &self.server.store;
        let row = UncertainRow {
            id: intent_id,
            intent,
            why: why.into(),
            parameters_hash: Some(identical(&self.admitted).digest()),
            resolved: None,
        };
        let written = match self.parked {
            Some(parked) => store.uncertain_parked(parked, row, clock::now_ms()),
            None => store.uncertain(row),
        };
        self.stored(written, "uncertain submit").await;
    }

    /// Where replicas share the account it takes one of so many slots, too.
    pub(super) fn intend(&self, intent: Intent, slots: Option<u32>) -> (IntentId, Written) {
        let store = &self.server.store;
        let within = Within {
            slots,
            reserved: self.reservation.on_server(),
        };
        match self.parked {
            Some(parked) => store.intend_parked_within(parked, intent, within),
            None => store.intend_within(intent, self.claim, within),
        }
    }

    /// The vendor refused, or nothing was sent.
    pub(super) fn forget(&self, intent_id: IntentId) {
        let store = &self.server.store;
        match self.parked {
            Some(parked) => store.forget_parked_intent(parked, intent_id, clock::now_ms()),
            None => store.forget(intent_id),
        }
    }

    pub(super) async fn stored(&self, written: Written, what: &'static str) {
        if let Err(trouble) = self.written(written).await {
            self.say(&trouble, what);
        }
    }

    /// All replicas count it against its tenant's limits. If this one dies, its intent on the server tells that it was sent.
    pub(super) fn is_counted(&self) -> bool {
        let reserved = self.reservation.on_server();
        reserved.is_some_and(|reserved| reserved.is_limited)
    }

    /// Waits until it is durable.
    pub(super) async fn written(&self, written: Written) -> Result<(), Unwritten> {
        self.written_within(STORE_PATIENCE, written).await
    }

    pub(super) async fn written_within(
        &self,
        patience: Duration,
        written: Written,
    ) -> Result<(), Unwritten> {
        // So long in all, not for every change: clients give up after five seconds.
        let trouble = self.server.store.health().since;
        let patience =
            patience.saturating_sub(trouble.map_or(Duration::ZERO, |since| since.elapsed()));
        match timeout(patience, written).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Unwritten::Refused(error)),
            Err(_) => Err(Unwritten::Late),
        }
    }

    pub(super) fn say(&self, why: &Unwritten, what: &'static str) {
        self.server.metrics.store_error();
        tracing::error!(
            what,
            %why,
            "the store is in trouble, this is kept in memory only for now"
        );
    }

    pub(super) fn intent(&self, key: &Key) -> Intent {
        Intent {
            profile: Arc::clone(&self.snapshot.profile_name),
            tenant: Arc::clone(&self.admitted.tenant.name),
            project: self.admitted.project.clone(),
            kind: kind::of(self.admitted.request.message.fields()).into(),
            endpoint: match self.admitted.request.endpoint {
                Endpoint::Solve => store::Endpoint::Solve,
                _ => store::Endpoint::Submit,
            },
            owner_name: Arc::clone(&key.name),
            owner_identity: key.identity,
            at_ms: clock::now_ms(),
        }
    }
}
