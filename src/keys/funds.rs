//! The money of one account: what the vendor said last, what was spent since, and when to ask again. Pure: `now` and
//! chance are parameters.
//!
//! Only the vendor's own word puts an account out of use. What was spent since is known by estimated prices, which may be
//! wrong: they weigh accounts against each other, and make a question due earlier.

use std::time::Duration;

use tokio::time::Instant;

use super::account::Limits;
use super::burn::Burn;
use crate::vendor::profile::Billing;

#[derive(Debug, Default)]
pub(super) struct Funds {
    known: Option<Known>,
    burn: Burn,
    short_since: Option<Instant>,
    turn: Option<Turn>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    micro_usd: i64,
    at: Instant,
    /// Settled since then.
    spent: i64,
}

/// The last question, and after what part of the time between two of them the next one follows.
#[derive(Clone, Copy, Debug)]
struct Turn {
    at: Instant,
    part: f64,
}

/// What an account has left, for those who look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Money {
    /// The vendor's last word, and when that was.
    pub micro_usd: i64,
    pub at: Instant,
    /// Less what was settled since and what runs.
    pub virtual_micro_usd: i64,
    /// Of the last hour; 0 also while nobody knows yet.
    pub burn_micro_usd_per_hour: i64,
    /// None while nothing is spent.
    pub hours_left: Option<f64>,
}

/// An account below the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    pub micro_usd: i64,
    pub since: Instant,
}

/// So many refreshes missed: what was said last is no more than that nobody knows.
const STALE: u32 = 3;
/// By our own count the minimum is passed, by the vendor's last word it is not: asked before the vendor has to refuse.
const DOUBT: Duration = Duration::from_secs(10);

impl Funds {
    pub(super) fn learn(&mut self, micro_usd: i64, chance: f64, now: Instant) {
        if let Some(known) = self.known {
            let then = (known.micro_usd, known.at);
            self.burn.looked(then, known.spent, (micro_usd, now));
        }
        self.known = Some(Known {
            micro_usd,
            at: now,
            spent: 0,
        });
        self.heard(chance, now);
    }

    /// An answer that nobody's turn brought, such as that to a probe, is as good as the first turn.
    pub(super) fn heard(&mut self, chance: f64, now: Instant) {
        if self.turn.is_none() {
            self.asked(chance, now);
        }
    }

    /// The first turn is followed by the second after any part of the time, so that accounts which came together are
    /// spread over it.
    pub(super) fn asked(&mut self, chance: f64, now: Instant) {
        let part = match self.turn {
            None => chance.max(0.05),
            Some(_) => 0.9 + 0.2 * chance,
        };
        self.turn = Some(Turn { at: now, part });
    }

    /// None: never asked, so before all others. `running` is the price of what runs.
    pub(super) fn due(&self, limits: &Limits, running: i64) -> Option<Instant> {
        let turn = self.turn?;
        let regular = turn.at + limits.refresh.mul_f64(turn.part);
        let doubtful = self.known.is_some_and(|known| {
            limits.billing == Billing::Balance
                && known.micro_usd >= limits.minimum_micro_usd
                && known.less(running) < limits.minimum_micro_usd
        });
        Some(if doubtful {
            regular.min(turn.at + DOUBT)
        } else {
            regular
        })
    }

    /// The vendor's last word.
    pub(super) fn last(&self) -> Option<i64> {
        self.known.map(|known| known.micro_usd)
    }

    pub(super) fn spend(&mut self, micro_usd: i64) {
        if let Some(known) = &mut self.known {
            known.spent = known.spent.saturating_add(micro_usd);
        }
    }

    /// Without what runs. None: nobody knows, or no longer.
    pub(super) fn current(&self, limits: &Limits, now: Instant) -> Option<i64> {
        let fresh = |known: &Known| now.duration_since(known.at) < limits.refresh * STALE;
        self.known.filter(fresh).map(|known| known.less(0))
    }

    pub(super) fn money(&self, running: i64, now: Instant) -> Option<Money> {
        let known = self.known?;
        let left = known.less(running);
        let burn = self.burn.rate(known.at, known.spent, now);
        Some(Money {
            micro_usd: known.micro_usd,
            at: known.at,
            virtual_micro_usd: left,
            burn_micro_usd_per_hour: burn,
            hours_left: (burn > 0).then(|| left.max(0) as f64 / burn as f64),
        })
    }

    /// On a thread plan the balance judges nothing. A word that grew old stands until there is a newer one.
    pub(super) fn shortage(&mut self, limits: &Limits, now: Instant) -> Option<Shortage> {
        let short = self.known.filter(|known| {
            limits.billing == Billing::Balance && known.micro_usd < limits.minimum_micro_usd
        });
        let Some(known) = short else {
            self.short_since = None;
            return None;
        };
        Some(Shortage {
            micro_usd: known.micro_usd,
            since: *self.short_since.get_or_insert(now),
        })
    }
}

impl Known {
    fn less(&self, running: i64) -> i64 {
        self.micro_usd
            .saturating_sub(self.spent)
            .saturating_sub(running)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rate::{Limit, PollLimit};
    use super::*;

    const REFRESH: Duration = Duration::from_secs(300);
    const NONE: Limit = Limit {
        count: 0,
        within: REFRESH,
    };
    const LIMITS: Limits = Limits {
        max_tasks: None,
        requests: NONE,
        submits: NONE,
        polls: PollLimit {
            base: 0,
            per_task: 0,
        },
        billing: Billing::Balance,
        minimum_micro_usd: 10_000,
        refresh: REFRESH,
        shared: false,
    };
    const THREADS: Limits = Limits {
        billing: Billing::Threads,
        ..LIMITS
    };

    fn funds(micro_usd: i64, now: Instant) -> Funds {
        let mut funds = Funds::default();
        funds.learn(micro_usd, 0.5, now);
        funds
    }

    #[test]
    fn only_the_vendors_word_on_a_balance_plan_makes_an_account_short() {
        let now = Instant::now();
        let mut none = Funds::default();
        assert_eq!(none.shortage(&LIMITS, now), None);
        let mut rich = funds(10_000, now);
        rich.spend(9_999);
        assert_eq!(rich.shortage(&LIMITS, now), None);
        let mut poor = funds(9_999, now);
        let since = now;
        let short = Some(Shortage {
            micro_usd: 9_999,
            since,
        });
        assert_eq!(poor.shortage(&LIMITS, now), short);
        let much_later = now + 10 * REFRESH;
        assert_eq!(poor.shortage(&LIMITS, much_later), short);
        assert_eq!(poor.shortage(&THREADS, now), None);
        poor.learn(10_000, 0.5, much_later);
        assert_eq!(poor.shortage(&LIMITS, much_later), None);
    }

    #[test]
    fn the_first_turn_is_at_once_and_the_next_ones_are_spread() {
        let now = Instant::now();
        let mut funds = Funds::default();
        assert_eq!(funds.due(&LIMITS, 0), None);
        funds.asked(0.25, now);
        assert_eq!(funds.due(&LIMITS, 0), Some(now + REFRESH / 4));
        // The answer moves nothing.
        funds.learn(1_000_000, 0.9, now);
        assert_eq!(funds.due(&LIMITS, 0), Some(now + REFRESH / 4));
        for chance in [0.0, 0.5, 0.999] {
            funds.asked(chance, now);
            let due = funds.due(&LIMITS, 0).unwrap();
            assert!(due >= now + REFRESH.mul_f64(0.9) && due <= now + REFRESH.mul_f64(1.1));
        }
    }

    #[test]
    fn a_count_that_passes_the_minimum_is_checked_early() {
        let now = Instant::now();
        let mut funds = funds(100_000, now);
        funds.spend(50_000);
        let early = Some(now + DOUBT);
        assert!(funds.due(&LIMITS, 40_000) > early);
        assert_eq!(funds.due(&LIMITS, 40_001), early);
        assert!(funds.due(&THREADS, 40_001) > early);
        funds.learn(5_000, 0.5, now);
        assert!(funds.due(&LIMITS, 40_001) > early);
    }

    #[test]
    fn what_was_said_long_ago_is_shown_but_not_reckoned_with() {
        let now = Instant::now();
        let mut funds = funds(100_000, now);
        funds.spend(1_000);
        assert_eq!(funds.current(&LIMITS, now), Some(99_000));
        let later = now + 3 * REFRESH;
        assert_eq!(funds.current(&LIMITS, later), None);
        let money = funds.money(2_000, later).unwrap();
        assert_eq!(money.micro_usd, 100_000);
        assert_eq!(money.virtual_micro_usd, 97_000);
        // A thousandth of a dollar in a quarter of an hour.
        assert_eq!(money.burn_micro_usd_per_hour, 4_000);
        assert_eq!(money.hours_left, Some(24.25));
        assert_eq!(Funds::default().money(0, now), None);
    }
}
