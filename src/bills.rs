//! What was used, as the command and the admin API show it: a month or all of them, by tenant or by something else.

use serde_json::{Value, json};

use crate::calendar::{DAY_MS, Month};
use crate::money::usd;
use crate::store::{Asked, By, Line};

/// A bill of one month, or with `By::Month` of all that are kept.
#[derive(Clone, Debug)]
pub struct Bill {
    pub by: By,
    pub month: Option<Month>,
    /// Whether today is in it.
    pub has_today: bool,
    pub lines: Vec<Line>,
    pub total: Line,
}

/// What is asked for. Without a month it is this one, or by month all.
pub fn asked(
    by: By,
    month: Option<Month>,
    tenant: Option<&str>,
    project: Option<&str>,
    now_ms: i64,
) -> Asked {
    let month = shown_month(by, month, now_ms);
    Asked {
        by,
        from_ms: month.map_or(0, Month::began_ms),
        until_ms: month.map_or(i64::MAX, Month::ends_ms),
        today_ms: now_ms - now_ms.rem_euclid(DAY_MS),
        tenant: tenant.map(Into::into),
        project: project.map(Into::into),
    }
}

fn shown_month(by: By, month: Option<Month>, now_ms: i64) -> Option<Month> {
    month.or_else(|| (by != By::Month).then(|| Month::of(now_ms)))
}

impl Bill {
    pub fn new(by: By, month: Option<Month>, lines: Vec<Line>, now_ms: i64) -> Self {
        let month = shown_month(by, month, now_ms);
        let mut total = Line {
            refused: Some(0),
            ..Line::default()
        };
        for line in &lines {
            total.solves += line.solves;
            total.charged += line.charged;
            total.cost += line.cost;
            total.today += line.today;
            total.failed += line.failed;
            total.expired += line.expired;
            total.refused = total.refused.zip(line.refused).map(|(a, b)| a + b);
            total.uncertain += line.uncertain;
        }
        Self {
            by,
            month,
            has_today: month.is_none_or(|month| month == Month::of(now_ms)),
            lines,
            total,
        }
    }

    /// `limit` is a tenant's solves a day. What the vendor takes is told only to those who pay it.
    pub fn json(&self, limit: impl Fn(&str) -> Option<u32>, with_cost: bool) -> Value {
        let line = |line: &Line| {
            let mut object = json!({
                "solves": line.solves,
                "charged_usd": usd(line.charged),
                "charged_micro_usd": line.charged,
                "today": self.has_today.then_some(line.today),
                "failed": line.failed,
                "expired": line.expired,
                "refused": line.refused,
                "uncertain": line.uncertain,
            });
            if with_cost {
                object["cost_usd"] = usd(line.cost).into();
                object["cost_micro_usd"] = line.cost.into();
            }
            object
        };
        let lines = self.lines.iter().map(|of| {
            let mut object = line(of);
            object[self.by.name()] = shown(&of.of).into();
            if self.by == By::Tenant {
                object["daily_limit"] = limit(&of.of).into();
            }
            object
        });
        json!({
            "month": self.month.map(|month| month.to_string()),
            "by": self.by.name(),
            "lines": lines.collect::<Vec<_>>(),
            "total": line(&self.total),
        })
    }
}

/// In open mode no tenant has a name, and a task may have no project.
pub fn shown(name: &str) -> &str {
    if name.is_empty() { "-" } else { name }
}
