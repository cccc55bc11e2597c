//! Which tenants come near to their limits or have reached them. Pure.
//!
//! Only what is used for good counts: what runs may fail and be given back, and an alert that comes and goes is none.

use std::sync::Arc;

use super::cause::Cause;
use super::findings::Finding;
use crate::config::settings::TenantLimits;
use crate::money::decimal;
use crate::tenants::meter::Used;

#[derive(Clone, Debug)]
pub struct TenantView {
    pub name: Arc<str>,
    pub limits: TenantLimits,
    pub used: Used,
}

pub(super) fn find(tenants: &[TenantView]) -> Vec<Finding> {
    tenants.iter().flat_map(of).collect()
}

fn of(tenant: &TenantView) -> Vec<Finding> {
    let TenantView { name, limits, used } = tenant;
    let mut found = Vec::new();
    let mut add = |cause, text| {
        found.push(Finding {
            cause,
            subject: Arc::clone(name),
            text,
        });
    };
    // A limit of nothing is a decision, not news.
    if let Some(limit) = limits.daily.filter(|limit| *limit > 0) {
        let solves = used.solves_today.saturating_add(used.uncertain_today);
        if solves >= limit {
            let text = format!(
                "tenant {name} has used its {limit} solves of today: its submits are refused until 00:00 UTC, or raise its daily_limit"
            );
            add(Cause::TenantDailyReached, text);
        }
        if is_low(i64::from(solves), i64::from(limit)) {
            let text = format!(
                "tenant {name} has used {solves} of its {limit} solves of today: raise its daily_limit if it will need more"
            );
            add(Cause::TenantDailyLow, text);
        }
    }
    if let Some(budget) = limits.budget_micro_usd.filter(|budget| *budget > 0) {
        let (spent, of) = (used.spent_micro_usd, decimal(budget));
        // Seldom is a budget a whole number of solves.
        if spent >= budget || used.wanted_micro_usd > budget {
            let text = format!(
                "tenant {name} has used ${} of its ${of} of this month, and what is left is too little for its submits: they are refused until the first of the month, or raise its monthly_budget",
                decimal(spent)
            );
            add(Cause::TenantBudgetReached, text);
        }
        if is_low(spent, budget) {
            let text = format!(
                "tenant {name} has used ${} of its ${of} of this month: raise its monthly_budget if it will need more",
                decimal(spent)
            );
            add(Cause::TenantBudgetLow, text);
        }
    }
    found
}

/// 80 % of it.
fn is_low(used: i64, limit: i64) -> bool {
    i128::from(used) * 5 >= i128::from(limit) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(limits: TenantLimits, used: Used) -> Vec<Cause> {
        let tenant = TenantView {
            name: "alice".into(),
            limits,
            used,
        };
        let found = find(&[tenant]);
        assert!(found.iter().all(|finding| &*finding.subject == "alice"));
        found.into_iter().map(|finding| finding.cause).collect()
    }

    #[test]
    fn a_day_is_told_at_80_percent_and_at_its_end() {
        let limits = TenantLimits {
            daily: Some(10),
            ..TenantLimits::default()
        };
        let used = |solves_today, uncertain_today, running| Used {
            solves_today,
            uncertain_today,
            running,
            ..Used::default()
        };
        assert_eq!(causes(limits, used(7, 0, 3)), []);
        assert_eq!(causes(limits, used(7, 1, 0)), [Cause::TenantDailyLow]);
        let both = [Cause::TenantDailyReached, Cause::TenantDailyLow];
        assert_eq!(causes(limits, used(9, 1, 0)), both);
        let none = TenantLimits::default();
        assert_eq!(causes(none, used(1_000_000, 0, 0)), []);
    }

    #[test]
    fn a_budget_is_used_up_when_nothing_fits_into_the_rest() {
        let limits = TenantLimits {
            budget_micro_usd: Some(10_000),
            ..TenantLimits::default()
        };
        let used = |spent_micro_usd, wanted_micro_usd| Used {
            spent_micro_usd,
            wanted_micro_usd,
            ..Used::default()
        };
        assert_eq!(causes(limits, used(7_999, 0)), []);
        assert_eq!(causes(limits, used(9_000, 0)), [Cause::TenantBudgetLow]);
        let both = [Cause::TenantBudgetReached, Cause::TenantBudgetLow];
        assert_eq!(causes(limits, used(9_000, 12_000)), both);
        assert_eq!(causes(limits, used(10_000, 0)), both);
    }
}
