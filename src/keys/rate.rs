//! How often the vendor lets an account call, as it counts itself. Pure: `now` is a parameter.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// At most so many calls within any such time. A count of 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub count: u32,
    pub within: Duration,
}

/// The times of the last calls: exact over any window, where a bucket would let twice the limit through at its edge.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<Instant>);

impl Window {
    /// When the next call may go out; `None` is now.
    pub(super) fn next_at(&self, limit: Limit, now: Instant) -> Option<Instant> {
        if limit.count == 0 {
            return None;
        }
        let oldest = self.0.len().checked_sub(limit.count as usize)?;
        // Calls that left evenly may arrive bunched: our window is a tenth longer than the vendor's.
        let free = *self.0.get(oldest)? + limit.within + limit.within / 10;
        (free > now).then_some(free)
    }

    pub(super) fn note(&mut self, limit: Limit, now: Instant) {
        if limit.count == 0 {
            self.0.clear();
            return;
        }
        self.0.push_back(now);
        while self.0.len() > limit.count as usize {
            self.0.pop_front();
        }
    }
}

/// "Too many res.php requests: R > C*20 + 1200": so many calls to begin with, and some more for each task. No credit is
/// saved beyond the first allowance, so that it holds over any period the vendor may count in.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    used: u32,
    since: Option<Instant>,
}

/// 0 calls to begin with are no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollLimit {
    pub base: u32,
    pub per_task: u32,
}

/// The vendor does not say over which period it counts. A day is the longest that anybody counts in.
const PERIOD: Duration = Duration::from_secs(86_400);

impl Allowance {
    pub(super) fn take(&mut self, limit: PollLimit, now: Instant) -> bool {
        if limit.base == 0 {
            return true;
        }
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= PERIOD {
            *self = Self {
                used: 0,
                since: Some(now),
            };
        }
        let free = self.used < limit.base;
        self.used += u32::from(free);
        free
    }

    /// Whether half of what there is without any task would be left: the rest is for polls.
    pub(super) fn has_to_spare(&self, limit: PollLimit, now: Instant) -> bool {
        let over = |since: Instant| now.duration_since(since) >= PERIOD;
        limit.base == 0 || self.used < limit.base / 2 || self.since.is_some_and(over)
    }

    pub(super) fn earn(&mut self, limit: PollLimit) {
        self.used = self.used.saturating_sub(limit.per_task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBMITS: Limit = Limit {
        count: 60,
        within: Duration::from_secs(3),
    };

    #[tokio::test(start_paused = true)]
    async fn no_window_of_the_vendors_length_ever_holds_more_than_the_limit() {
        let start = Instant::now();
        let (mut window, mut sent) = (Window::default(), Vec::new());
        let mut now = start;
        while now < start + Duration::from_secs(30) {
            // Far more than is allowed, in irregular bursts.
            for _ in 0..7 {
                if window.next_at(SUBMITS, now).is_none() {
                    window.note(SUBMITS, now);
                    sent.push(now);
                }
            }
            now += Duration::from_millis(1 + sent.len() as u64 % 13);
        }
        for (index, first) in sent.iter().enumerate() {
            let within = sent[index..]
                .iter()
                .take_while(|time| **time < *first + SUBMITS.within);
            assert!(within.count() <= 60);
        }
        assert!(sent.len() >= 480, "the limit is used: {}", sent.len());
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_the_next_call_is_when_it_may_go_out() {
        let now = Instant::now();
        let limit = Limit {
            count: 1,
            within: Duration::from_secs(1),
        };
        let mut window = Window::default();
        assert_eq!(window.next_at(limit, now), None);
        window.note(limit, now);
        let next = window.next_at(limit, now).unwrap();
        assert!(next > now + limit.within);
        assert_eq!(window.next_at(limit, next), None);
    }

    #[tokio::test(start_paused = true)]
    async fn polls_never_exceed_the_base_and_what_tasks_earned() {
        let limit = PollLimit {
            base: 1200,
            per_task: 20,
        };
        let now = Instant::now();
        let mut allowance = Allowance::default();
        let take = |allowance: &mut Allowance, tries: u32| {
            (0..tries).filter(|_| allowance.take(limit, now)).count()
        };
        assert_eq!(take(&mut allowance, 2000), 1200);
        allowance.earn(limit);
        assert_eq!(take(&mut allowance, 100), 20);
        for _ in 0..1000 {
            allowance.earn(limit);
        }
        assert_eq!(take(&mut allowance, 5000), 1200, "no credit is saved");
        assert!(allowance.take(limit, now + PERIOD));
    }
}
