//! One key as a request sees it: what the operator wrote, and the state that belongs to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::account::{Account, Limits, Slot};
use super::events::Events;
use super::health::{Accepted, Evidence, Health};
use super::secret::Identity;
use super::state::{Described, State};
use crate::money::decimal;
use crate::vendor::profile::CodeRule;

pub struct Key {
    pub name: Arc<str>,
    pub identity: Identity,
    /// As the file says; None: the default one, unless a tenant lists the key as its own.
    pub pool: Option<Arc<str>>,
    pub weight: u32,
    pub priority: i32,
    pub standing: Standing,
    pub standing_since: Instant,
    pub limits: Limits,
    /// What the name stands for: the same for every value under it.
    pub account: Arc<Account>,
    /// Outlives reloads: the same value keeps its health, whatever the file says around it.
    pub(super) life: Arc<Life>,
    /// The secret. Private, so that only `value` hands it out.
    pub(super) value: Bytes,
}

/// May new submits be sent with this key, going by the files alone?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Active,
    /// Written `disabled = true`: its tasks are polled to their end.
    Disabled,
    /// No longer in any file: likewise, while this process remembers the value.
    Draining,
}

impl Standing {
    /// What it says of a key, whatever its health.
    pub fn state(self) -> Option<State> {
        match self {
            Self::Active => None,
            Self::Disabled => Some(State::Disabled),
            Self::Draining => Some(State::Draining),
        }
    }
}

/// When a key may submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    Now,
    At(Instant),
    /// When a probe passes or a hand enables it.
    OnEvent,
    /// When one of its slots is freed. `again`: other replicas take them, too, and a try then may find a free one.
    Full {
        again: Option<Instant>,
    },
    /// When its account has money again.
    Short,
}

/// What belongs to a key's identity and outlives reloads.
#[derive(Debug)]
pub(super) struct Life {
    /// A std lock with sections of a few instructions; never held over an await.
    health: Mutex<Health>,
    used: Mutex<Instant>,
    events: Arc<Events>,
}

impl Life {
    pub(super) fn new(health: Health, now: Instant, events: &Arc<Events>) -> Self {
        Self {
            health: Mutex::new(health),
            used: Mutex::new(now),
            events: Arc::clone(events),
        }
    }
}

impl Key {
    /// The real key, for the request to the vendor and nothing else. Shares one buffer, so that a call copies nothing.
    pub fn value(&self) -> Bytes {
        self.value.clone()
    }

    /// A look at the health; it may have changed when the caller acts on it.
    pub fn look<T>(&self, look: impl FnOnce(&Health) -> T) -> T {
        look(&self.health())
    }

    pub fn is_called_bad(&self, now: Instant) -> bool {
        self.health().is_called_bad(now)
    }

    pub fn state(&self, now: Instant) -> State {
        let of_standing = self.standing.state();
        of_standing.unwrap_or_else(|| self.describe(now).state)
    }

    /// Whatever the files say of it.
    pub fn describe(&self, now: Instant) -> Described {
        let described = self.health().describe(now);
        if described.state != State::Healthy {
            return described;
        }
        let Some(shortage) = self.account.shortage(&self.limits, now) else {
            return described;
        };
        let balance = decimal(shortage.micro_usd);
        Described {
            state: State::Empty,
            since: shortage.since,
            until: self.account.refresh_due(&self.limits),
            why: Some(format!("balance {balance} is below balance.minimum")),
            probed: described.probed,
        }
    }

    pub(super) fn availability(&self, now: Instant) -> Availability {
        match self.by_health(now) {
            Availability::Now => self.account.availability(&self.limits, now),
            other => other,
        }
    }

    /// A slot for one submit, which holds it until it is refused or its task ends.
    pub(super) fn take(&self, now: Instant) -> Result<Slot, Availability> {
        match self.by_health(now) {
            Availability::Now => self.account.take(&self.limits, now),
            other => Err(other),
        }
    }

    /// Until then the vendor wants no polls of it.
    pub fn polls_rest_until(&self, now: Instant) -> Option<Instant> {
        self.health().polls_rest_until(now)
    }

    /// The right to make one call that is no submit, within the rates that the vendor allows.
    pub fn take_call(&self, now: Instant) -> bool {
        self.account.take_call(&self.limits, now)
    }

    fn by_health(&self, now: Instant) -> Availability {
        let health = self.health();
        if health.may_submit(now) {
            Availability::Now
        } else {
            health
                .cools_until(now)
                .map_or(Availability::OnEvent, Availability::At)
        }
    }

    /// True when the vendor accepts this value for the first time: worth remembering in the store.
    pub fn accepted(&self, what: Accepted, began: Instant, now: Instant) -> bool {
        self.change(now, |health| {
            let before = health.is_proven();
            health.accepted(what, began, now);
            !before && health.is_proven()
        })
    }

    pub fn refused(&self, code: &str, rule: CodeRule, retry_after: Option<Duration>, now: Instant) {
        self.change(now, |health| {
            health.refused(code, rule, retry_after, now, super::chance())
        });
    }

    /// One probe at a time: false when it wants none, or has one.
    pub fn begin_probe(&self, now: Instant) -> bool {
        let mut health = self.health();
        health.wants_probe(now) && health.begin_probe()
    }

    pub fn end_probe(&self, evidence: Evidence, now: Instant) {
        self.change(now, |health| {
            health.end_probe(evidence, now, super::chance())
        });
    }

    /// By hand, until it is enabled again or the process ends. False when it was already.
    pub fn disable(&self, now: Instant) -> bool {
        self.change(now, |health| {
            let was = health.is_disabled();
            health.disable(now);
            !was
        })
    }

    /// False when no hand had disabled it.
    pub fn enable(&self, now: Instant) -> bool {
        self.change(now, |health| {
            let was = health.is_disabled();
            health.enable(now);
            was
        })
    }

    pub fn ask_for_probe(&self, now: Instant) {
        self.change(now, Health::ask_for_probe);
    }

    /// A call was made with this key; a draining key is kept while it is used.
    pub fn touch(&self, now: Instant) {
        let mut used = self
            .life
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *used = now.max(*used);
    }

    pub(super) fn last_used(&self) -> Instant {
        *self
            .life
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait for a key, and the prober, when the change matters to them.
    fn change<T>(&self, now: Instant, change: impl FnOnce(&mut Health) -> T) -> T {
        let mut health = self.health();
        let matters = |health: &Health| {
            (
                health.may_submit(now),
                health.wants_probe(now),
                health.next_change(now),
                health.awaits_probe(),
            )
        };
        let before = matters(&health);
        let result = change(&mut health);
        let after = matters(&health);
        drop(health);
        if before != after {
            self.life.events.happened();
        }
        result
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.life
            .health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Key({} {:?} {:?})",
            self.name, self.identity, self.standing
        )
    }
}
