//! What the vendor thinks of the address that our calls come from, which all keys share.
//!
//! SECURITY: vendors ban the address after 5 calls with a bad key (2captcha: `ERROR: 1004`, ten minutes for every key
//! behind that address). So a file full of dead keys is tried one key at a time, and after 3 bad-key answers within
//! 10 minutes, of whatever call, unproven keys wait. The count is kept in the store: restarting does not reset it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit, futures::Notified};
use tokio::time::Instant;

/// Two below the five that vendors ban at: a bad key may be in other calls that are already on their way.
pub const BAD_KEY_ANSWERS: usize = 3;
pub const BAD_KEY_WINDOW: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub struct Egress {
    one_at_a_time: Semaphore,
    ended: Notify,
    bad_answers: Mutex<VecDeque<Instant>>,
    /// The vendor refuses every call from this address until then.
    banned_until: Mutex<Option<Instant>>,
}

/// Held while the outcome of a call with an unproven key is open.
#[derive(Debug)]
pub struct Trial<'a> {
    egress: &'a Egress,
    permit: Option<SemaphorePermit<'a>>,
}

impl Egress {
    /// `earlier` are the bad-key answers that the store remembers, oldest first.
    pub fn new(earlier: impl IntoIterator<Item = Instant>) -> Self {
        Self {
            one_at_a_time: Semaphore::new(1),
            ended: Notify::new(),
            bad_answers: Mutex::new(earlier.into_iter().collect()),
            banned_until: Mutex::default(),
        }
    }

    /// The vendor said that it bans this address. No key is to blame, and no key helps.
    pub fn banned(&self, until: Instant) {
        let mut banned_until = self
            .banned_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *banned_until = (*banned_until).max(Some(until));
    }

    pub fn banned_until(&self, now: Instant) -> Option<Instant> {
        let banned_until = *self
            .banned_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        banned_until.filter(|until| *until > now)
    }

    /// The right to try an unproven key, unless another one is on trial or too many were bad of late.
    pub fn begin(&self, now: Instant) -> Option<Trial<'_>> {
        if self.exhausted_until(now).is_some() {
            return None;
        }
        let permit = self.one_at_a_time.try_acquire().ok()?;
        Some(Trial {
            egress: self,
            permit: Some(permit),
        })
    }

    pub fn is_trying(&self) -> bool {
        self.one_at_a_time.available_permits() == 0
    }

    /// Resolves at the end of a trial that runs now or begins later. Create it before looking at the keys, so that no end is missed.
    pub fn trial_ended(&self) -> Notified<'_> {
        self.ended.notified()
    }

    pub fn bad_answer(&self, now: Instant) {
        let mut answers = self
            .bad_answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        answers.push_back(now);
        // Bounded: only the newest three decide.
        while answers.len() > BAD_KEY_ANSWERS {
            answers.pop_front();
        }
    }

    /// Set when the budget of bad-key answers is used up: the time at which the oldest of them no longer counts.
    pub fn exhausted_until(&self, now: Instant) -> Option<Instant> {
        let answers = self
            .bad_answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let oldest = *answers
            .len()
            .checked_sub(BAD_KEY_ANSWERS)
            .and_then(|i| answers.get(i))?;
        Some(oldest + BAD_KEY_WINDOW).filter(|until| *until > now)
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        // First the permit, then the news: whoever wakes must be able to begin the next trial.
        drop(self.permit.take());
        self.egress.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_key_is_on_trial_at_a_time() {
        let egress = Egress::new([]);
        let now = Instant::now();
        let first = egress.begin(now);
        assert!(first.is_some());
        assert!(egress.begin(now).is_none());
        drop(first);
        assert!(egress.begin(now).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn after_three_bad_answers_no_trial_begins_for_ten_minutes() {
        let egress = Egress::new([]);
        let now = Instant::now();
        for second in 0..3 {
            assert!(egress.begin(now).is_some());
            egress.bad_answer(now + Duration::from_secs(second));
        }
        assert!(egress.begin(now + Duration::from_secs(3)).is_none());
        assert_eq!(
            egress.exhausted_until(now + Duration::from_secs(3)),
            Some(now + BAD_KEY_WINDOW)
        );
        assert!(egress.begin(now + BAD_KEY_WINDOW).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_ban_ends_when_it_was_said_to_end_and_is_never_shortened() {
        let egress = Egress::new([]);
        let now = Instant::now();
        egress.banned(now + Duration::from_secs(600));
        egress.banned(now + Duration::from_secs(300));
        assert_eq!(
            egress.banned_until(now),
            Some(now + Duration::from_secs(600))
        );
        assert_eq!(egress.banned_until(now + Duration::from_secs(600)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_from_before_a_restart_count() {
        let now = Instant::now();
        let egress = Egress::new([now, now, now]);
        assert!(egress.begin(now).is_none());
    }
}
