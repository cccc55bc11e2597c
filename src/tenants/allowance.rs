//! What a tenant hears as its balance while it shares its keys with others: never the pool's money, only its own limits. Pure.

use super::Tenant;
use super::meter::Left;
use crate::config::settings::Prices;
use crate::tasks::kind;

/// What is left of the budget, else what the day still allows, else `nominal`. 0 only when nothing is left, because many
/// clients refuse to submit at 0.
pub fn balance(tenant: &Tenant, left: Left, prices: &Prices, nominal: i64) -> i64 {
    match (left.budget_micro_usd, left.solves) {
        (Some(budget), _) => budget.max(0),
        (None, Some(0)) => 0,
        (None, Some(solves)) => cheapest(tenant, prices)
            .map_or(nominal, |price| price.saturating_mul(i64::from(solves))),
        (None, None) => nominal,
    }
}

/// A client that reckons with any of its prices comes to no more solves than it may have. Types that are free say nothing.
fn cheapest(tenant: &Tenant, prices: &Prices) -> Option<i64> {
    let price = |kind: &str| {
        tenant
            .prices
            .get(kind)
            .copied()
            .unwrap_or_else(|| prices.price(kind))
    };
    kind::ALL
        .into_iter()
        .map(price)
        .filter(|price| *price > 0)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Mode, Role, TenantEntry, TenantLimits};
    use crate::tenants::{Tenants, TokenHash};

    #[test]
    fn the_balance_is_the_budget_then_the_day_then_the_nominal_one() {
        let hears = |budget_micro_usd, solves| {
            let left = Left {
                budget_micro_usd,
                solves,
            };
            balance(
                &tenant(&[]),
                left,
                &prices(&[("image", 500), ("other", 900)]),
                7,
            )
        };
        assert_eq!(hears(Some(12), Some(3)), 12);
        assert_eq!(hears(Some(-1), None), 0);
        assert_eq!(hears(None, Some(3)), 1500);
        assert_eq!(hears(None, Some(0)), 0);
        assert_eq!(hears(None, None), 7);
    }

    #[test]
    fn its_own_prices_count_and_free_types_do_not() {
        let left = Left {
            budget_micro_usd: None,
            solves: Some(2),
        };
        let hears = |own: &[(&'static str, i64)], usual| {
            balance(&tenant(own), left, &prices(&[("other", usual)]), 7)
        };
        assert_eq!(hears(&[("image", 300)], 900), 600);
        assert_eq!(hears(&[("image", 0)], 900), 1800);
        assert_eq!(hears(&[], 0), 7);
    }

    fn prices(of: &[(&'static str, i64)]) -> Prices {
        Prices(of.iter().copied().collect())
    }

    fn tenant(prices: &[(&'static str, i64)]) -> std::sync::Arc<Tenant> {
        let entry = TenantEntry {
            name: "alice".into(),
            token: TokenHash([0; 32]),
            pool: None,
            keys: None,
            fallback_pool: None,
            fallback_when_empty: false,
            limits: TenantLimits::default(),
            active: true,
            role: Role::User,
            project: None,
            prices: prices.iter().copied().collect(),
        };
        let tenants = Tenants::default().next(Mode::Tenants, &[entry]);
        std::sync::Arc::clone(tenants.by_name("alice").unwrap())
    }
}
