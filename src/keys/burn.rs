//! How fast an account's money goes, over the last hour. Pure: `now` is a parameter.
//!
//! The vendor's own word is believed where the balance falls: it counts what others spend of the account, and its real
//! prices. Where it rises somebody has refilled it, and what was spent meanwhile is what we settled ourselves.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Burn {
    /// What was spent from one look at the balance to the next, oldest first, without gaps.
    course: VecDeque<Stretch>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: Instant,
    to: Instant,
    micro_usd: i64,
}

/// A day's rhythm shows, one large task does not.
const WINDOW: Duration = Duration::from_secs(3600);
/// Looks that follow each other faster are one stretch, so that there are never many: a client may ask all the time.
const SHORTEST_STRETCH: Duration = Duration::from_secs(60);
/// What two looks in one second saw is no rate yet.
const SHORTEST_BASE: Duration = Duration::from_secs(300);

impl Burn {
    /// The balance was this much, then `settled` was spent by our own count, and now it is that much.
    pub(super) fn looked(&mut self, then: (i64, Instant), settled: i64, now: (i64, Instant)) {
        let ((before, from), (after, to)) = (then, now);
        let fell = before.saturating_sub(after);
        let spent = if fell >= 0 { fell } else { settled.max(0) };
        match self.course.back_mut() {
            Some(last) if last.to.duration_since(last.from) < SHORTEST_STRETCH => {
                last.to = to;
                last.micro_usd = last.micro_usd.saturating_add(spent);
            }
            _ => self.course.push_back(Stretch {
                from,
                to,
                micro_usd: spent,
            }),
        }
        let is_over = |stretch: &Stretch| to.duration_since(stretch.to) >= WINDOW;
        while self.course.front().is_some_and(is_over) {
            self.course.pop_front();
        }
    }

    /// Micro-dollars an hour; `settled` is our own count since `looked`, the last look.
    pub(super) fn rate(&self, looked: Instant, settled: i64, now: Instant) -> i64 {
        let since_then = Stretch {
            from: looked,
            to: now.max(looked),
            micro_usd: settled.max(0),
        };
        let (mut spent, mut base) = (0.0, Duration::ZERO);
        for stretch in self.course.iter().chain([&since_then]) {
            let whole = stretch.to.duration_since(stretch.from);
            let recent = whole.min(WINDOW.saturating_sub(now.duration_since(stretch.to)));
            let part = if whole.is_zero() {
                1.0
            } else {
                recent.as_secs_f64() / whole.as_secs_f64()
            };
            spent += stretch.micro_usd as f64 * part;
            base += recent;
        }
        let hours = base.max(SHORTEST_BASE).as_secs_f64() / 3600.0;
        (spent / hours) as i64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOLLAR: i64 = 1_000_000;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    /// Looks every five minutes, at these balances in dollars; ours settled nothing.
    fn course(start: Instant, balances: &[i64]) -> (Burn, Instant) {
        let mut burn = Burn::default();
        let mut at = start;
        for pair in balances.windows(2) {
            let next = at + minutes(5);
            burn.looked((pair[0] * DOLLAR, at), 0, (pair[1] * DOLLAR, next));
            at = next;
        }
        (burn, at)
    }

    #[test]
    fn a_steady_fall_is_its_own_rate() {
        let (burn, now) = course(Instant::now(), &[10, 9, 8, 7]);
        assert_eq!(burn.rate(now, 0, now), 12 * DOLLAR);
    }

    #[test]
    fn a_refill_is_no_earning_and_hides_only_what_others_spent_meanwhile() {
        let (mut burn, now) = course(Instant::now(), &[10, 9, 8]);
        let later = now + minutes(5);
        burn.looked((8 * DOLLAR, now), DOLLAR, (50 * DOLLAR, later));
        assert_eq!(burn.rate(later, 0, later), 12 * DOLLAR);
    }

    #[test]
    fn what_was_spent_an_hour_ago_is_forgotten() {
        let start = Instant::now();
        let (burn, now) = course(start, &[100, 40, 40, 40]);
        assert!(burn.rate(now, 0, now) > 0);
        let later = start + minutes(65);
        assert_eq!(burn.rate(now, 0, later), 0);
        // Half of a stretch that the window cuts in two.
        let later = start + minutes(60) + minutes(5) / 2;
        assert_eq!(burn.rate(now, 0, later), 30 * DOLLAR);
    }

    #[test]
    fn two_looks_in_one_second_are_no_rate() {
        let start = Instant::now();
        let mut burn = Burn::default();
        let now = start + Duration::from_secs(1);
        burn.looked((DOLLAR, start), 0, (DOLLAR - 3_000, now));
        assert_eq!(burn.rate(now, 0, now), 12 * 3_000);
    }

    #[test]
    fn looks_that_are_a_day_apart_are_spread_over_the_day() {
        let start = Instant::now();
        let mut burn = Burn::default();
        let now = start + minutes(24 * 60);
        burn.looked((240 * DOLLAR, start), 0, (0, now));
        assert_eq!(burn.rate(now, 0, now), 10 * DOLLAR);
    }

    proptest! {
        /// Whatever the balance does, the rate is that of what was spent, and little is kept.
        #[test]
        fn the_rate_lies_between_the_slowest_and_the_fastest_spending(
            steps in prop::collection::vec((1_u64..2_000, 0_i64..5_000_000, prop::option::of(0_i64..90_000_000)), 2..200),
        ) {
            let mut now = Instant::now();
            let mut burn = Burn::default();
            let mut balance = 100 * DOLLAR;
            for (seconds, spent, refill) in &steps {
                let next = now + Duration::from_secs(*seconds);
                let after = balance - spent + refill.unwrap_or_default();
                burn.looked((balance, now), *spent, (after, next));
                (balance, now) = (after, next);
            }
            let rate = burn.rate(now, 0, now);
            let total: i64 = steps.iter().map(|(_, spent, _)| spent).sum();
            prop_assert!(rate >= 0);
            prop_assert!(rate <= total * 12 + 1, "{rate} of {total}");
            prop_assert!(burn.course.len() <= 62, "{}", burn.course.len());
        }
    }
}
