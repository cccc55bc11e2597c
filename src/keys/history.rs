//! The course of an account's balance over the last day, for people to look at. Pure: `now` is a parameter.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct History {
    /// Oldest first. The last one is the vendor's last word, however short a time after the one before.
    points: VecDeque<Point>,
}

/// When the vendor said it, and how many micro-dollars.
pub type Point = (Instant, i64);

pub const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// A hundred points a day draw a line; ten thousand accounts whose money moves all day take 25 MB.
const SPACING: Duration = Duration::from_secs(15 * 60);

impl History {
    pub(super) fn learn(&mut self, micro_usd: i64, now: Instant) {
        let len = self.points.len();
        let last_two = len
            .checked_sub(2)
            .map(|at| (self.points[at], self.points[at + 1]));
        // What moves within the spacing, and what stands still, needs no point between its ends.
        let spares_last = last_two.is_some_and(|(before, last)| {
            now.duration_since(before.0) < SPACING || (before.1 == last.1 && last.1 == micro_usd)
        });
        if spares_last {
            self.points.pop_back();
        }
        self.points.push_back((now, micro_usd));
        // The one before the day is the left end of the line.
        let second_is_old = |points: &VecDeque<Point>| {
            points
                .get(1)
                .is_some_and(|second| now.duration_since(second.0) >= KEPT)
        };
        while second_is_old(&self.points) {
            self.points.pop_front();
        }
    }

    /// Oldest first, of the time since `from`. What was said last before it stands for its begin.
    pub(super) fn since(&self, from: Option<Instant>) -> Vec<Point> {
        let Some(from) = from else {
            return self.points.iter().copied().collect();
        };
        let before = self.points.iter().rev().find(|point| point.0 < from);
        let after = self.points.iter().filter(|point| point.0 >= from);
        let begin = before.map(|(_, micro_usd)| (from, *micro_usd));
        begin.into_iter().chain(after.copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_last_word_is_always_there_and_a_day_is_a_hundred_points() {
        let start = Instant::now();
        let mut history = History::default();
        for minute in 0..3 * 24 * 60 {
            history.learn(i64::from(minute), start + MINUTE * minute);
            assert_eq!(history.since(None).last().unwrap().1, i64::from(minute));
        }
        let points = history.since(None);
        assert!((90..=110).contains(&points.len()), "{}", points.len());
        let steps = points.windows(2).map(|two| two[1].0 - two[0].0);
        assert!(steps.clone().all(|step| step <= SPACING + MINUTE));
    }

    #[test]
    fn what_stands_still_is_two_points_and_a_fall_after_it_is_steep() {
        let start = Instant::now();
        let mut history = History::default();
        for five in 0..100 {
            history.learn(7, start + 5 * MINUTE * five);
        }
        let still = start + 5 * MINUTE * 99;
        assert_eq!(history.since(None), [(start, 7), (still, 7)]);
        history.learn(3, still + 5 * MINUTE);
        assert_eq!(
            history.since(None),
            [(start, 7), (still, 7), (still + 5 * MINUTE, 3)]
        );
    }

    #[test]
    fn a_shorter_look_begins_with_what_was_known_then() {
        let start = Instant::now();
        let mut history = History::default();
        history.learn(9, start);
        history.learn(5, start + 60 * MINUTE);
        let from = start + 30 * MINUTE;
        assert_eq!(
            history.since(Some(from)),
            [(from, 9), (start + 60 * MINUTE, 5)]
        );
        assert_eq!(history.since(Some(start)), history.since(None));
    }

    #[test]
    fn an_account_that_is_asked_all_the_time_keeps_few_points() {
        let start = Instant::now();
        let mut history = History::default();
        for second in 0..100_000 {
            history.learn(second, start + Duration::from_secs(second as u64));
        }
        assert!(history.since(None).len() <= 110);
    }
}
