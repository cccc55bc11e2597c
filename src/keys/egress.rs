//! What the vendor thinks of the address that our calls come from, which all keys share.
//!
//! An answer that calls a *proven* key bad is only an accusation: a client's own parameters may have caused it, and then the
//! key is not what the vendor counts. It is held against the budget until our probe has decided, and given back if the
//! probe passes; otherwise a client could use the budget up and keep every suspect key from being cleared.
//!
//! SECURITY: vendors ban the address after 5 calls with a bad key (2captcha: `ERROR: 1004`, ten minutes for every key
//! behind that address). So keys are probed one at a time, and after 3 bad-key answers within
//! 10 minutes, of whatever call, unproven keys wait. The count is kept in the store: restarting does not reset it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::secret::Identity;

/// Two below the five that vendors ban at: a bad key may be in other calls that are already on their way.
pub const BAD_KEY_ANSWERS: usize = 3;
pub const BAD_KEY_WINDOW: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub struct Egress {
    bad_answers: Mutex<BadAnswers>,
    /// The vendor refuses every call from this address until then.
    banned_until: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct BadAnswers {
    /// Answers that certainly were about a bad key.
    proven: VecDeque<Instant>,
    /// Accusations that wait for a probe. SECURITY: a bound, should a client accuse without end.
    open: VecDeque<(Identity, Instant)>,
}

const MOST_OPEN: usize = 1000;

impl Egress {
    /// `earlier` are the bad-key answers that the store remembers, oldest first.
    pub fn new(earlier: impl IntoIterator<Item = Instant>) -> Self {
        Self {
            bad_answers: Mutex::new(BadAnswers {
                proven: earlier.into_iter().collect(),
                ..BadAnswers::default()
            }),
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

    pub fn bad_answer(&self, now: Instant) {
        self.bad_answers().count(now);
    }

    /// The vendor called a proven key bad.
    pub fn accused(&self, key: Identity, now: Instant) {
        let mut answers = self.bad_answers();
        if answers.open.len() >= MOST_OPEN {
            answers.open.pop_front();
        }
        answers.open.push_back((key, now));
    }

    /// A probe has decided about an accused key. Returns how many accusations turned out to be bad-key answers.
    pub fn decided(&self, key: Identity, is_bad: bool) -> usize {
        let mut answers = self.bad_answers();
        let (its, others) = std::mem::take(&mut answers.open)
            .into_iter()
            .partition(|(accused, _)| *accused == key);
        answers.open = others;
        let its: VecDeque<(Identity, Instant)> = its;
        if is_bad {
            its.iter().for_each(|(_, at)| answers.count(*at));
            its.len()
        } else {
            0
        }
    }

    /// Set when unproven keys must wait: the time at which the oldest answer that counts no longer does.
    pub fn exhausted_until(&self, now: Instant) -> Option<Instant> {
        let answers = self.bad_answers();
        let open = answers.open.iter().map(|(_, at)| *at);
        oldest_of(
            BAD_KEY_ANSWERS,
            answers.proven.iter().copied().chain(open),
            now,
        )
    }

    /// The same for a key that was proven once. Open accusations do not count: a probe is what decides about them. Only
    /// after two that were true the others are likely to be, and then the next probe may be the fifth call.
    pub fn exhausted_for_suspects_until(&self, now: Instant) -> Option<Instant> {
        let answers = self.bad_answers();
        let proven = || answers.proven.iter().copied();
        let open = answers.open.iter().map(|(_, at)| *at);
        let are_likely = oldest_of(BAD_KEY_ANSWERS - 1, proven(), now).is_some();
        let with_open = oldest_of(BAD_KEY_ANSWERS + 1, proven().chain(open), now);
        oldest_of(BAD_KEY_ANSWERS, proven(), now).max(with_open.filter(|_| are_likely))
    }

    fn bad_answers(&self) -> MutexGuard<'_, BadAnswers> {
        self.bad_answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl BadAnswers {
    fn count(&mut self, at: Instant) {
        self.proven.push_back(at);
        // Bounded: only the newest three decide.
        while self.proven.len() > BAD_KEY_ANSWERS {
            self.proven.pop_front();
        }
    }
}

/// When the oldest of the newest `count` is forgotten, if there are so many.
fn oldest_of(
    count: usize,
    answers: impl Iterator<Item = Instant>,
    now: Instant,
) -> Option<Instant> {
    let mut ends: Vec<_> = answers
        .map(|at| at + BAD_KEY_WINDOW)
        .filter(|end| *end > now)
        .collect();
    let oldest = ends.len().checked_sub(count)?;
    ends.sort_unstable();
    ends.get(oldest).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn accusations_of_proven_keys_are_given_back_when_the_probe_passes_and_counted_when_not()
    {
        let now = Instant::now();
        let [a, b] = [Identity([1; 32]), Identity([2; 32])];
        let egress = Egress::new([]);
        for _ in 0..BAD_KEY_ANSWERS {
            egress.accused(a, now);
        }
        assert!(egress.exhausted_until(now).is_some());
        assert!(
            egress.exhausted_for_suspects_until(now).is_none(),
            "the probe that clears it may go out"
        );
        assert_eq!(egress.decided(a, false), 0);
        assert!(egress.exhausted_until(now).is_none());
        egress.accused(a, now);
        egress.accused(b, now);
        assert_eq!(egress.decided(a, true), 1);
        egress.bad_answer(now);
        assert!(
            egress.exhausted_until(now).is_some()
                && egress.exhausted_for_suspects_until(now).is_none()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn after_two_true_accusations_the_fifth_call_is_not_made() {
        let now = Instant::now();
        let [a, b, c, d] = [1, 2, 3, 4].map(|n| Identity([n; 32]));
        let egress = Egress::new([]);
        for key in [a, b, c, d] {
            egress.accused(key, now);
        }
        assert_eq!(egress.decided(a, false), 0);
        assert!(egress.exhausted_for_suspects_until(now).is_none());
        assert_eq!(egress.decided(b, true), 1);
        egress.bad_answer(now);
        let until = Some(now + BAD_KEY_WINDOW);
        assert_eq!(egress.exhausted_for_suspects_until(now), until);
        assert_eq!(egress.decided(c, false), 0);
        assert!(egress.exhausted_for_suspects_until(now).is_none());
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
    async fn three_bad_answers_count_for_ten_minutes_also_from_before_a_restart() {
        let now = Instant::now();
        let egress = Egress::new([now]);
        egress.bad_answer(now + Duration::from_secs(1));
        assert_eq!(egress.exhausted_until(now + Duration::from_secs(1)), None);
        egress.bad_answer(now + Duration::from_secs(2));
        assert_eq!(
            egress.exhausted_until(now + Duration::from_secs(2)),
            Some(now + BAD_KEY_WINDOW)
        );
        assert_eq!(egress.exhausted_until(now + BAD_KEY_WINDOW), None);
    }
}
