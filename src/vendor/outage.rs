//! The vendor's breaker: while the vendor cannot be reached, nothing is sent but one probe now and then.
//!
//! ```text
//! closed ──3 failures in a row──▶ open(until) ──until──▶ half-open: one probe ──answered──▶ closed
//!                                    ▲                           └──failed──┐
//!                                    └───────────── longer ─────────────────┘
//! ```
//! What counts as failure: a call that could not be connected, and an own probe without a usable answer. An odd answer to
//! one client's call does not count: a client could cause it. Pure: `now` and chance are parameters.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A std lock around a few instructions.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Breaker>);

#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    /// How often it opened in a row.
    openings: u32,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    since: Instant,
    until: Instant,
    probing: bool,
}

/// One lost connection is an accident, three in a row are not.
const FAILURES: u32 = 3;
const FIRST: Duration = Duration::from_secs(1);
/// Short enough that the end of an outage is noticed within a client's patience.
const LONGEST: Duration = Duration::from_secs(15);

impl Outage {
    /// True when this opens it: somebody has to probe now.
    pub fn unreached(&self, now: Instant, chance: f64) -> bool {
        let mut breaker = self.breaker();
        breaker.failures = breaker.failures.saturating_add(1);
        // While open only the probe is heard.
        let opens = breaker.open.is_none() && breaker.failures >= FAILURES;
        if opens {
            breaker.open(now, chance);
        }
        opens
    }

    /// The vendor gave a usable answer to anything.
    pub fn reached(&self) -> bool {
        let mut breaker = self.breaker();
        let was_open = breaker.open.is_some();
        *breaker = Breaker::default();
        was_open
    }

    /// While this is set, only the probe may go out.
    pub fn open_until(&self) -> Option<Instant> {
        self.breaker().open.map(|open| open.until)
    }

    pub fn since(&self) -> Option<Instant> {
        self.breaker().open.map(|open| open.since)
    }

    /// True for the one who may probe now.
    pub fn begin_probe(&self, now: Instant) -> bool {
        match &mut self.breaker().open {
            Some(open) if open.until <= now && !open.probing => {
                open.probing = true;
                true
            }
            _ => false,
        }
    }

    pub fn probe_failed(&self, now: Instant, chance: f64) {
        let mut breaker = self.breaker();
        if breaker.open.is_some_and(|open| open.probing) {
            breaker.open(now, chance);
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Breaker {
    fn open(&mut self, now: Instant, chance: f64) {
        let rest = FIRST
            .saturating_mul(1 << self.openings.min(10))
            .min(LONGEST);
        self.openings = self.openings.saturating_add(1);
        let since = self.open.map_or(now, |open| open.since);
        self.open = Some(Open {
            since,
            until: now + rest + rest.mul_f64(chance / 10.0),
            probing: false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Outage {
        let outage = Outage::default();
        (0..FAILURES).for_each(|_| {
            outage.unreached(now, 0.0);
        });
        outage
    }

    #[tokio::test(start_paused = true)]
    async fn three_failures_in_a_row_open_it_and_any_answer_closes_it() {
        let now = Instant::now();
        let outage = Outage::default();
        outage.unreached(now, 0.0);
        outage.unreached(now, 0.0);
        outage.reached();
        outage.unreached(now, 0.0);
        outage.unreached(now, 0.0);
        assert_eq!(outage.open_until(), None);
        outage.unreached(now, 0.0);
        assert_eq!(outage.open_until(), Some(now + FIRST));
        assert!(outage.reached());
        assert_eq!(outage.open_until(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_lets_one_probe_out_and_each_failure_waits_longer() {
        let mut now = Instant::now();
        let outage = opened(now);
        assert!(!outage.begin_probe(now));
        for expected in [2, 4, 8, 15, 15] {
            now = outage.open_until().unwrap();
            assert!(outage.begin_probe(now));
            assert!(!outage.begin_probe(now), "one at a time");
            outage.probe_failed(now, 0.0);
            assert_eq!(
                outage.open_until(),
                Some(now + Duration::from_secs(expected))
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_while_open_do_not_lengthen_it() {
        let now = Instant::now();
        let outage = opened(now);
        (0..100).for_each(|_| {
            outage.unreached(now, 0.0);
        });
        assert_eq!(outage.open_until(), Some(now + FIRST));
    }
}
