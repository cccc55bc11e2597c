//! The slots of one account: who holds each, and until when at the latest. Pure: `now` is a parameter.
//!
//! A slot is the place of a running task, not of one HTTP request. It is taken before the submit goes out and ends with
//! the task's final answer, with a refusal, or with its lease: a client that vanished must not hold it for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use foldhash::HashMap;
use tokio::time::Instant;

use crate::store::TaskKey;

/// From the submit or from the last time that the vendor called the task not ready.
pub const LEASE: Duration = Duration::from_secs(300);
/// Not at each of many polls: a second is nothing to a lease, and to put it elsewhere among the others costs.
const RENEWED_BY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Slots {
    last: u64,
    held: HashMap<u64, Held>,
    /// Those with a lease, the lease that ends first in front.
    ends: BTreeSet<(Instant, u64)>,
    tasks: HashMap<TaskKey, u64>,
    price_micro_usd: i64,
    /// Leases that ended since somebody asked.
    lapsed: usize,
}

#[derive(Debug)]
struct Held {
    /// None while a submit is on its way: that ends by itself.
    until: Option<Instant>,
    task: Option<Running>,
}

#[derive(Debug)]
struct Running {
    key: TaskKey,
    price_micro_usd: i64,
}

impl Slots {
    pub(super) fn used(&self) -> usize {
        self.held.len()
    }

    /// Held by submits that have not become tasks.
    pub(super) fn on_their_way(&self) -> usize {
        self.held.len() - self.tasks.len()
    }

    #[cfg(test)]
    pub(super) fn holds(&self, task: &TaskKey) -> bool {
        self.tasks.contains_key(task)
    }

    /// The price of all tasks that run.
    pub(super) fn price_micro_usd(&self) -> i64 {
        self.price_micro_usd
    }

    pub(super) fn take(&mut self) -> u64 {
        self.last += 1;
        let held = Held {
            until: None,
            task: None,
        };
        self.held.insert(self.last, held);
        self.last
    }

    pub(super) fn give_back(&mut self, slot: u64) -> bool {
        let Some(held) = self.held.remove(&slot) else {
            return false;
        };
        if let Some(until) = held.until {
            self.ends.remove(&(until, slot));
        }
        if let Some(running) = held.task {
            self.tasks.remove(&running.key);
            self.price_micro_usd -= running.price_micro_usd;
        }
        true
    }

    /// From now on it lasts until then, and nobody gives it back.
    pub(super) fn lease(&mut self, slot: u64, until: Instant) {
        if let Some(held) = self.held.get_mut(&slot) {
            if let Some(before) = held.until.replace(until) {
                self.ends.remove(&(before, slot));
            }
            self.ends.insert((until, slot));
        }
    }

    /// A leased slot lives as long as this task. A task that has one already keeps it, and this one is free.
    pub(super) fn give_to(&mut self, slot: u64, key: TaskKey, price_micro_usd: i64) {
        if self.tasks.contains_key(&key) {
            self.give_back(slot);
        } else if let Some(held) = self.held.get_mut(&slot) {
            self.tasks.insert(key.clone(), slot);
            self.price_micro_usd += price_micro_usd;
            held.task = Some(Running {
                key,
                price_micro_usd,
            });
        }
    }

    /// The task still runs.
    pub(super) fn renew(&mut self, task: &TaskKey, until: Instant) {
        let slot = self.tasks.get(task).copied();
        let held = slot.and_then(|slot| self.held.get(&slot));
        if let (Some(slot), Some(held)) = (slot, held)
            && held.until.is_none_or(|lasts| lasts + RENEWED_BY <= until)
        {
            self.lease(slot, until);
        }
    }

    /// The price of the task that ended, if it had a slot.
    pub(super) fn end(&mut self, task: &TaskKey) -> Option<i64> {
        let slot = *self.tasks.get(task)?;
        let running = self.held.get(&slot)?.task.as_ref()?;
        let price = running.price_micro_usd;
        self.give_back(slot).then_some(price)
    }

    /// Leases that ended. Returns how many slots that freed.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        let before = self.held.len();
        while let Some((until, slot)) = self.ends.first().copied()
            && until <= now
        {
            self.give_back(slot);
        }
        let freed = before - self.held.len();
        self.lapsed = self.lapsed.saturating_add(freed);
        freed
    }

    /// Leases that ended since this was asked last: nobody heard how those tasks and submits ended.
    pub(super) fn take_lapsed(&mut self) -> usize {
        std::mem::take(&mut self.lapsed)
    }

    /// Slots of submits that are on their way or uncertain.
    pub(super) fn without_task(&self) -> usize {
        self.held.len() - self.tasks.len()
    }
}
