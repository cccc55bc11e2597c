//! What one tenant came to since the start, and how often its limits refused it today. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::meter::{Day, Limit};
use crate::store::Refused;

#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By type.
    pub solves: BTreeMap<&'static str, u64>,
    pub charged_micro_usd: i64,
    pub refusals: BTreeMap<Limit, u64>,
    day: i64,
    /// Of that day, also before the start, and whether the store knows it.
    today: BTreeMap<Limit, (i64, bool)>,
}

impl Tally {
    pub fn solve(&mut self, kind: &'static str, charged_micro_usd: i64) {
        *self.solves.entry(kind).or_default() += 1;
        self.charged_micro_usd = self.charged_micro_usd.saturating_add(charged_micro_usd);
    }

    pub fn refuse(&mut self, limit: Limit, now_ms: i64) {
        *self.refusals.entry(limit).or_default() += 1;
        let day = Day::of(now_ms).day;
        // What the store was not told yet of the day before is less than a second's.
        if day > self.day {
            self.day = day;
            self.today.clear();
        }
        let (count, is_stored) = self.today.entry(limit).or_default();
        *count += 1;
        *is_stored = false;
    }

    /// What the store knows of today at a start.
    pub fn restore(&mut self, refused: &Refused) {
        let limit = Limit::ALL
            .into_iter()
            .find(|limit| limit.name() == &*refused.reason);
        if let Some(limit) = limit {
            self.day = refused.day;
            self.today.insert(limit, (refused.count, true));
        }
    }

    /// What the store does not know yet; from now on it counts as known.
    pub fn take_new(&mut self, tenant: &Arc<str>, new: &mut Vec<Refused>) {
        for (limit, (count, is_stored)) in &mut self.today {
            if !std::mem::replace(is_stored, true) {
                new.push(Refused {
                    tenant: Arc::clone(tenant),
                    day: self.day,
                    reason: limit.name().into(),
                    count: *count,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn new(tally: &mut Tally) -> Vec<(i64, String, i64)> {
        let mut new = Vec::new();
        tally.take_new(&"alice".into(), &mut new);
        new.into_iter()
            .map(|refused| (refused.day, refused.reason.to_string(), refused.count))
            .collect()
    }

    #[test]
    fn refusals_of_a_day_go_on_counting_after_a_restart_and_begin_anew_at_midnight() {
        let mut tally = Tally::default();
        tally.restore(&Refused {
            tenant: "alice".into(),
            day: 7,
            reason: "daily_limit".into(),
            count: 40,
        });
        assert_eq!(new(&mut tally), [], "the store knows that");
        for _ in 0..3 {
            tally.refuse(Limit::Daily, 8 * DAY_MS - 1);
        }
        assert_eq!(new(&mut tally), [(7, "daily_limit".to_owned(), 43)]);
        assert_eq!(new(&mut tally), []);
        tally.refuse(Limit::Daily, 8 * DAY_MS);
        tally.refuse(Limit::Rate, 8 * DAY_MS);
        let expected = [
            (8, "daily_limit".to_owned(), 1),
            (8, "rate_per_minute".to_owned(), 1),
        ];
        assert_eq!(new(&mut tally), expected);
        assert_eq!(tally.refusals[&Limit::Daily], 4, "since the start");
    }
}
