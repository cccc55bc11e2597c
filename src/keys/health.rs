//! How a key is doing, judged only on what the vendor answered about it.
//!
//! ```text
//!            refused (the vendor blames the key)
//!   usable ───────────────────────────────────▶ resting(until, code)
//!      ▲                                              │
//!      └──────────────── until has passed ────────────┘
//! ```
//! Beside that a key is *proven* once the vendor accepted any call made with it. Pure: `now` is a parameter.

use std::time::Duration;

use tokio::time::Instant;

use crate::vendor::profile::{Class, CodeRule};

#[derive(Clone, Debug, Default)]
pub struct Health {
    proven: bool,
    rest: Option<Rest>,
}

/// Why a key is not chosen for new submits, and until when.
#[derive(Clone, Debug, PartialEq)]
pub struct Rest {
    pub since: Instant,
    pub until: Instant,
    pub class: Class,
    pub code: String,
}

impl Health {
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// The rest that keeps this key from new submits at `now`, if there is one.
    pub fn rest(&self, now: Instant) -> Option<&Rest> {
        self.rest.as_ref().filter(|rest| rest.until > now)
    }

    /// The vendor has called this key bad and accepted nothing since, whether it still rests or not.
    pub fn is_called_bad(&self) -> bool {
        self.rest
            .as_ref()
            .is_some_and(|rest| rest.class == Class::KeyBad)
    }

    /// The vendor accepted a call made with this key.
    pub fn accepted(&mut self) {
        self.proven = true;
        // A key that works is not bad. That it is busy or empty is not disproved by, say, an answered poll.
        if self.is_called_bad() {
            self.rest = None;
        }
    }

    /// The vendor refused a call and blamed the key. Deadlines only ever move later.
    pub fn refused(
        &mut self,
        code: &str,
        rule: CodeRule,
        retry_after: Option<Duration>,
        now: Instant,
    ) {
        if rule.class == Class::KeyBad {
            self.proven = false;
        }
        let until = now
            + rule
                .cooldown
                .max(retry_after.unwrap_or_default())
                .max(SHORTEST_REST);
        let since = self.rest(now).map_or(now, |rest| rest.since);
        if self.rest(now).is_none_or(|rest| rest.until < until) {
            self.rest = Some(Rest {
                since,
                until,
                class: rule.class,
                code: code.to_owned(),
            });
        }
    }
}

/// A profile may name none; without any rest one submit would hammer the key until its deadline.
const SHORTEST_REST: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: CodeRule = CodeRule {
        class: Class::KeyBusy,
        cooldown: Duration::from_secs(5),
    };
    const BAD: CodeRule = CodeRule {
        class: Class::KeyBad,
        cooldown: Duration::from_secs(60),
    };

    #[tokio::test(start_paused = true)]
    async fn a_refused_key_rests_and_is_usable_again() {
        let now = Instant::now();
        let mut health = Health::default();
        health.refused("ERROR_NO_SLOT_AVAILABLE", BUSY, None, now);
        assert_eq!(health.rest(now).unwrap().until, now + BUSY.cooldown);
        assert_eq!(health.rest(now + BUSY.cooldown), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_shorter_rest_does_not_shorten_the_first() {
        let now = Instant::now();
        let mut health = Health::default();
        health.refused("ERROR_KEY_DOES_NOT_EXIST", BAD, None, now);
        health.refused("ERROR_NO_SLOT_AVAILABLE", BUSY, None, now);
        let rest = health.rest(now).unwrap();
        assert_eq!(
            (rest.until, rest.class),
            (now + BAD.cooldown, Class::KeyBad)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_vendors_retry_after_is_honoured_when_it_is_longer() {
        let now = Instant::now();
        let mut health = Health::default();
        health.refused("HTTP 429", BUSY, Some(Duration::from_secs(30)), now);
        assert_eq!(
            health.rest(now).unwrap().until,
            now + Duration::from_secs(30)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_accepted_call_proves_the_key_and_ends_a_bad_key_rest_only() {
        let now = Instant::now();
        let mut health = Health::default();
        health.refused("ERROR_KEY_DOES_NOT_EXIST", BAD, None, now);
        assert!(!health.is_proven());
        health.accepted();
        assert!(health.is_proven());
        assert_eq!(health.rest(now), None);
        health.refused("ERROR_NO_SLOT_AVAILABLE", BUSY, None, now);
        health.accepted();
        assert!(health.rest(now).is_some());
    }
}
