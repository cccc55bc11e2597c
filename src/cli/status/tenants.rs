//! The tenants' part of the screen.

use serde::Deserialize;

use super::{coloured, in_cents};
use crate::cli::look::Look;
use crate::cli::table::span;
use crate::money::decimal;

#[derive(Deserialize)]
pub(super) struct Tenant {
    name: String,
    role: String,
    active: bool,
    pool: String,
    limits: Limits,
    solves_today: u64,
    spent_this_month_micro_usd: i64,
    running: u64,
    last_use_seconds: Option<f64>,
    why: Option<String>,
}

#[derive(Deserialize)]
struct Limits {
    daily_limit: Option<u64>,
    rate_per_minute: Option<u64>,
    monthly_budget_micro_usd: Option<i64>,
    max_tasks: Option<u64>,
}

/// Nothing in open mode.
pub(super) fn draw(tenants: &[Tenant], look: Look) -> String {
    if tenants.is_empty() {
        return String::new();
    }
    let head = HEAD.map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = [head].into_iter().chain(tenants.iter().map(row)).collect();
    let lines = coloured(&rows, look, &SPARE, |place, cells| {
        let colour = if tenants[place].active { 32 } else { 2 };
        cells[1] = format!("\x1b[{colour}m{}\x1b[0m", cells[1]);
    });
    format!("\n{lines}")
}

/// What a narrow terminal does without: A MINUTE, LAST, POOL, ROLE, RUNNING, WHY, TODAY.
const SPARE: [usize; 7] = [7, 8, 3, 2, 6, 9, 4];
const HEAD: [&str; 10] = [
    "TENANT", "STATE", "ROLE", "POOL", "TODAY", "MONTH", "RUNNING", "A MINUTE", "LAST", "WHY",
];

fn row(tenant: &Tenant) -> Vec<String> {
    let of = |used: u64, limit: Option<u64>| match limit {
        Some(limit) => format!("{used}/{limit}"),
        None => used.to_string(),
    };
    let limits = &tenant.limits;
    let mut month = format!("${}", decimal(in_cents(tenant.spent_this_month_micro_usd)));
    if let Some(budget) = limits.monthly_budget_micro_usd {
        month += &format!("/{}", decimal(budget));
    }
    vec![
        tenant.name.clone(),
        if tenant.active { "active" } else { "inactive" }.to_owned(),
        tenant.role.clone(),
        tenant.pool.clone(),
        of(tenant.solves_today, limits.daily_limit),
        month,
        of(tenant.running, limits.max_tasks),
        limits
            .rate_per_minute
            .map_or_else(|| "-".to_owned(), |rate| rate.to_string()),
        tenant.last_use_seconds.map_or_else(|| "-".to_owned(), span),
        tenant.why.clone().unwrap_or_default(),
    ]
}
