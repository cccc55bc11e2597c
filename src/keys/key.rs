//! One key as a request sees it: what the operator wrote, and the state that belongs to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::health::{Health, Rest};
use super::secret::Identity;
use crate::vendor::profile::CodeRule;

pub struct Key {
    pub name: Arc<str>,
    pub identity: Identity,
    pub weight: u32,
    pub priority: i32,
    pub standing: Standing,
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

/// What belongs to a key's identity and outlives reloads.
#[derive(Debug)]
pub(super) struct Life {
    /// A std lock with sections of a few instructions; never held over an await.
    health: Mutex<Health>,
    used: Mutex<Instant>,
}

impl Life {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            health: Mutex::default(),
            used: Mutex::new(now),
        }
    }
}

impl Key {
    /// The real key, for the request to the vendor and nothing else. Shares one buffer, so that a call copies nothing.
    pub fn value(&self) -> Bytes {
        self.value.clone()
    }

    pub fn is_proven(&self) -> bool {
        self.health().is_proven()
    }

    pub fn rest(&self, now: Instant) -> Option<Rest> {
        self.health().rest(now).cloned()
    }

    pub fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.health().rest(now).map(|rest| rest.until)
    }

    pub fn is_called_bad(&self) -> bool {
        self.health().is_called_bad()
    }

    pub fn accepted(&self) {
        self.health().accepted();
    }

    pub fn refused(&self, code: &str, rule: CodeRule, retry_after: Option<Duration>, now: Instant) {
        self.health().refused(code, rule, retry_after, now);
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

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
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
