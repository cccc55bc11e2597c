//! Whether somebody else spends an account's money: between two answers of the vendor the balance fell by more than we used.
//! Pure: `now` is a parameter.
//!
//! Prices are mostly estimates, the vendor may book a task at its submit or a while after its end, and a refill hides what was
//! spent meanwhile. So there is some play, and only what goes beyond it in sum counts:
//!
//! - Our own use counts half as much again, except where the vendor itself said the price.
//! - All that runs, and all of which nobody knows, may be booked already.
//! - What our use would have explained and the balance did not show may be booked by the next look.
//! - What a balance rose by may be gone by the next look: two answers may come in the wrong order, and a refill hides what was
//!   spent meanwhile.
//! - Less than [`TELLING`] in sum is no sign.
//!
//! So a stranger who uses less than half of what we use stays hidden while we use it; when we rest, he shows.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::Spent;

#[derive(Debug, Default)]
pub(super) struct Beyond {
    /// Of our own since the last look, as far as the vendor may book it.
    used: i64,
    /// What did not fit since it was told last; below zero what may still be booked.
    sum: i64,
    /// All that was told, since the start.
    total: i64,
    /// The dearest task of ours: what a submit may have cost of which nobody knows the price.
    dearest: i64,
    told: Option<(Instant, i64)>,
    /// Where replicas share the account: the last balance, and what all of them had used by then.
    together: Option<(i64, Spent)>,
}

/// In micro-dollars: some tens of solves. Less is a price that was wrong, or a task of the last run.
pub(super) const TELLING: i64 = 50_000;
/// So long after it was last seen a stranger counts as one who goes on.
const RECENT: Duration = Duration::from_secs(3600);

impl Beyond {
    /// One of our tasks was paid for.
    pub(super) fn settled(&mut self, micro_usd: i64, is_said: bool) {
        let with_play = if is_said {
            micro_usd
        } else {
            half_more(micro_usd)
        };
        self.used = self.used.saturating_add(with_play);
        self.dearest = self.dearest.max(micro_usd);
    }

    pub(super) fn submitted(&mut self, micro_usd: i64) {
        self.dearest = self.dearest.max(micro_usd);
    }

    /// So many of our submits ended without anybody knowing how.
    pub(super) fn lost(&mut self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let used = half_more(self.dearest).saturating_mul(count);
        self.used = self.used.saturating_add(used);
    }

    /// The vendor's balance went down by this much since the last look. Of what runs, `unknown` submits have no price yet.
    pub(super) fn looked(&mut self, fell: i64, running: i64, unknown: usize, now: Instant) {
        self.lost(unknown);
        let explained = std::mem::take(&mut self.used).saturating_add(half_more(running));
        let sum = self.sum.saturating_add(fell).saturating_sub(explained);
        let rose = fell.saturating_neg().max(0);
        self.sum = sum.max(explained.saturating_add(rose).saturating_neg());
        if self.sum >= TELLING {
            let so_far = self.recent(now).unwrap_or(0);
            self.total = self.total.saturating_add(self.sum);
            self.told = Some((now, so_far.saturating_add(self.sum)));
            self.sum = 0;
        }
    }

    /// The same with the count of all replicas, which the store keeps. The first look of whoever leads only begins.
    pub(super) fn looked_together(&mut self, micro_usd: i64, used: Spent, now: Instant) {
        let before = self.together.replace((micro_usd, used.clone()));
        let Some((balance, before)) = before.filter(|(_, before)| before.born == used.born) else {
            self.sum = 0;
            return;
        };
        let count = |count: i64| usize::try_from(count).unwrap_or_default();
        self.dearest = self.dearest.max(used.dearest);
        self.used = half_more(used.settled.saturating_sub(before.settled));
        self.lost(count(used.lost.saturating_sub(before.lost)));
        let fell = balance.saturating_sub(micro_usd);
        self.looked(fell, used.running, count(used.unknown), now);
    }

    /// Micro-dollars since the start.
    pub(super) fn total(&self) -> i64 {
        self.total
    }

    /// What somebody else has spent, while that is news.
    pub(super) fn recent(&self, now: Instant) -> Option<i64> {
        let (at, micro_usd) = self.told?;
        (now.duration_since(at) < RECENT).then_some(micro_usd)
    }
}

fn half_more(micro_usd: i64) -> i64 {
    micro_usd.saturating_add(micro_usd / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOLVE: i64 = 3_000;

    #[tokio::test(start_paused = true)]
    async fn what_a_stranger_spends_is_told_once_and_counted() {
        let (mut beyond, now) = (Beyond::default(), Instant::now());
        beyond.looked(TELLING - 1, 0, 0, now);
        assert_eq!((beyond.total(), beyond.recent(now)), (0, None));
        beyond.looked(1, 0, 0, now);
        assert_eq!(
            (beyond.total(), beyond.recent(now)),
            (TELLING, Some(TELLING))
        );
        beyond.looked(1_000, 0, 0, now);
        assert_eq!(beyond.total(), TELLING);
        beyond.looked(TELLING, 0, 0, now);
        let total = 2 * TELLING + 1_000;
        assert_eq!((beyond.total(), beyond.recent(now)), (total, Some(total)));
        assert_eq!(beyond.recent(now + RECENT), None);
    }

    #[test]
    fn a_booking_that_comes_a_look_later_or_earlier_is_ours() {
        let (mut beyond, now) = (Beyond::default(), Instant::now());
        let many = 100 * SOLVE;
        for _ in 0..20 {
            // Settled, and booked by the next look only.
            (0..100).for_each(|_| beyond.settled(SOLVE, true));
            beyond.looked(0, 0, 0, now);
            beyond.looked(many, 0, 0, now);
            // Booked while it runs, settled later.
            beyond.looked(many, many, 0, now);
            (0..100).for_each(|_| beyond.settled(SOLVE, true));
            beyond.looked(0, 0, 0, now);
        }
        assert_eq!(beyond.total(), 0);
    }

    #[test]
    fn a_price_that_is_wrong_by_half_is_no_stranger_unless_the_vendor_said_it() {
        for (said, told) in [(false, false), (true, true)] {
            let (mut beyond, now) = (Beyond::default(), Instant::now());
            for _ in 0..100 {
                (0..10).for_each(|_| beyond.settled(SOLVE, said));
                beyond.looked(10 * SOLVE * 3 / 2, 0, 0, now);
            }
            assert_eq!(beyond.total() > 0, told);
        }
    }

    #[test]
    fn a_refill_and_submits_that_are_uncertain_say_nothing() {
        let (mut beyond, now) = (Beyond::default(), Instant::now());
        beyond.looked(-10_000_000, 0, 0, now);
        beyond.submitted(SOLVE);
        beyond.looked(30 * SOLVE, 0, 30, now);
        beyond.lost(30);
        beyond.looked(30 * SOLVE, 0, 0, now);
        assert_eq!(beyond.total(), 0);
        // The play of the last look is used up by now.
        beyond.looked(0, 0, 0, now);
        beyond.looked(30 * SOLVE, 0, 0, now);
        assert!(beyond.total() > 0);
    }

    #[test]
    fn two_answers_in_the_wrong_order_are_no_stranger() {
        let (mut beyond, now) = (Beyond::default(), Instant::now());
        beyond.settled(10 * TELLING, true);
        for fell in [10 * TELLING, -10 * TELLING, 10 * TELLING] {
            beyond.looked(fell, 0, 0, now);
        }
        assert_eq!(beyond.total(), 0);
    }

    #[test]
    fn what_other_replicas_used_is_no_stranger_and_what_none_used_is() {
        let (mut beyond, now) = (Beyond::default(), Instant::now());
        let used = |settled, lost, running| Spent {
            born: "1".into(),
            settled,
            lost,
            dearest: SOLVE,
            running,
            unknown: 0,
        };
        let usd = 1_000_000;
        // What was used before the first look is not compared.
        beyond.looked_together(5 * usd, used(9 * usd, 0, 0), now);
        beyond.looked_together(4 * usd, used(10 * usd, 0, 0), now);
        assert_eq!(beyond.total(), 0);
        // Half a dollar more than all used together, and the play is over.
        beyond.looked_together(4 * usd, used(10 * usd, 0, 0), now);
        beyond.looked_together(4 * usd - 10 * SOLVE, used(10 * usd, 10, 0), now);
        assert_eq!(beyond.total(), 0);
        beyond.looked_together(4 * usd - 10 * SOLVE, used(10 * usd, 10, 0), now);
        beyond.looked_together(3 * usd, used(10 * usd, 10, 0), now);
        assert!(beyond.total() > 9 * usd / 10, "{}", beyond.total());
        // A server that was emptied counts anew.
        let total = beyond.total();
        let mut anew = used(0, 0, 0);
        anew.born = "2".into();
        beyond.looked_together(0, anew, now);
        assert_eq!(beyond.total(), total);
    }

    proptest! {
        /// Tasks at the prices that we think, booked at their submit or at their end, balances asked whenever: no alarm.
        #[test]
        fn our_own_use_is_never_a_stranger(
            steps in prop::collection::vec((0_usize..4, 1_i64..50, any::<bool>()), 1..300),
            books_at_submit in any::<bool>(),
        ) {
            let (mut beyond, now) = (Beyond::default(), Instant::now());
            let (mut running, mut fell) = (Vec::new(), 0);
            for (what, solves, said) in steps {
                let price = solves * SOLVE;
                match what {
                    0 | 1 => {
                        beyond.submitted(price);
                        running.push(price);
                        fell += if books_at_submit { price } else { 0 };
                    }
                    2 => if let Some(price) = running.pop() {
                        beyond.settled(price, said);
                        fell += if books_at_submit { 0 } else { price };
                    },
                    _ => {
                        beyond.looked(std::mem::take(&mut fell), running.iter().sum(), 0, now);
                    }
                }
                prop_assert_eq!(beyond.total(), 0);
            }
        }
    }
}
