//! Ids that nobody knows: each account is asked, one at a time, and the one that answers is remembered.
//!
//! A client polls every few seconds anyway, so each of its polls pays for one question. Between questions it hears
//! "not ready". Asking costs the accounts' poll limits, so it is slow, and misses are remembered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::keys::secret::Identity;
use crate::store::TaskKey;

/// All unknown ids together, whoever asks.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(1);
const MISS_REMEMBERED: Duration = Duration::from_secs(600);
pub const MOST_ACCOUNTS: usize = 5;
/// SECURITY: bounds the memory of a client that polls made-up ids.
const MOST_IDS: usize = 10_000;

#[derive(Default)]
pub struct Asking {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    ids: HashMap<TaskKey, Search>,
    asked_last: Option<Instant>,
}

struct Search {
    began: Instant,
    /// Accounts that answered "no such task"; the others may still have it.
    ruled_out: Vec<Identity>,
    /// Accounts that were asked in this round, so that each has its turn.
    asked: Vec<Identity>,
}

#[derive(Debug, PartialEq)]
pub enum Next {
    /// Ask this account now.
    Ask(Identity),
    /// Too early for another question.
    Later,
    /// No account has it.
    Miss,
}

impl Asking {
    /// Which of `accounts` (proven ones only, at most `MOST_ACCOUNTS`) to ask for `task`, if any.
    pub fn next(&self, task: &TaskKey, accounts: &[Identity], now: Instant) -> Next {
        let mut inner = self.inner();
        let fresh = |search: &Search| now.duration_since(search.began) < MISS_REMEMBERED;
        if inner.ids.get(task).is_some_and(|search| !fresh(search)) {
            inner.ids.remove(task);
        }
        if !inner.ids.contains_key(task) && inner.ids.len() >= MOST_IDS {
            inner.ids.retain(|_, search| fresh(search));
            if inner.ids.len() >= MOST_IDS {
                return Next::Later;
            }
        }
        let too_early = inner
            .asked_last
            .is_some_and(|last| now.duration_since(last) < BETWEEN_QUESTIONS);
        let search = inner.ids.entry(task.clone()).or_insert_with(|| Search {
            began: now,
            ruled_out: Vec::new(),
            asked: Vec::new(),
        });
        let left: Vec<_> = accounts
            .iter()
            .take(MOST_ACCOUNTS)
            .filter(|account| !search.ruled_out.contains(account))
            .collect();
        let Some(first) = left.first() else {
            // Nobody to ask is no answer: the accounts may only be out of reach.
            return if accounts.is_empty() {
                Next::Later
            } else {
                Next::Miss
            };
        };
        if too_early {
            return Next::Later;
        }
        let unasked = left.iter().find(|account| !search.asked.contains(account));
        let account = **unasked.unwrap_or(first);
        if unasked.is_none() {
            search.asked.clear();
        }
        search.asked.push(account);
        inner.asked_last = Some(now);
        Next::Ask(account)
    }

    /// That account does not have it. True while another of `accounts` may.
    pub fn rule_out(&self, task: &TaskKey, account: Identity, accounts: &[Identity]) -> bool {
        let mut inner = self.inner();
        let Some(search) = inner.ids.get_mut(task) else {
            return false;
        };
        search.ruled_out.push(account);
        accounts
            .iter()
            .take(MOST_ACCOUNTS)
            .any(|account| !search.ruled_out.contains(account))
    }

    pub fn found(&self, task: &TaskKey) {
        self.inner().ids.remove(task);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str) -> TaskKey {
        TaskKey {
            profile: "p".into(),
            tenant: "".into(),
            id: id.into(),
        }
    }

    const A: Identity = Identity([1; 32]);
    const B: Identity = Identity([2; 32]);

    #[tokio::test(start_paused = true)]
    async fn accounts_are_asked_in_turn_one_question_a_second_until_all_are_ruled_out() {
        let asking = Asking::default();
        let now = Instant::now();
        assert_eq!(asking.next(&task("1"), &[A, B], now), Next::Ask(A));
        assert!(asking.rule_out(&task("1"), A, &[A, B]));
        assert_eq!(asking.next(&task("1"), &[A, B], now), Next::Later);
        assert_eq!(
            asking.next(&task("2"), &[A, B], now),
            Next::Later,
            "one question a second over all ids"
        );
        let later = now + BETWEEN_QUESTIONS;
        assert_eq!(asking.next(&task("1"), &[A, B], later), Next::Ask(B));
        assert!(!asking.rule_out(&task("1"), B, &[A, B]));
        assert_eq!(asking.next(&task("1"), &[A, B], later), Next::Miss);
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_says_not_ready_is_asked_again_after_the_others() {
        let asking = Asking::default();
        let mut now = Instant::now();
        let mut asked = Vec::new();
        for _ in 0..4 {
            asked.push(asking.next(&task("1"), &[A, B], now));
            now += BETWEEN_QUESTIONS;
        }
        assert_eq!(
            asked,
            [Next::Ask(A), Next::Ask(B), Next::Ask(A), Next::Ask(B)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_miss_is_remembered_ten_minutes() {
        let asking = Asking::default();
        let now = Instant::now();
        asking.next(&task("1"), &[A], now);
        asking.rule_out(&task("1"), A, &[A]);
        assert_eq!(
            asking.next(&task("1"), &[A], now + Duration::from_secs(599)),
            Next::Miss
        );
        assert_eq!(
            asking.next(&task("1"), &[A], now + MISS_REMEMBERED),
            Next::Ask(A)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_ids_do_not_fill_the_memory() {
        let asking = Asking::default();
        let now = Instant::now();
        for id in 0..MOST_IDS {
            asking.next(&task(&id.to_string()), &[A], now);
        }
        assert_eq!(
            asking.next(&task("one more"), &[A], now + BETWEEN_QUESTIONS),
            Next::Later
        );
    }
}
