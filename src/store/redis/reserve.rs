//! The limits of tenants, kept on the server: one look and one reservation, whichever replicas their submits come to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::usage::Settled;
use super::held::Hold;
use super::{Redis, StoreError};
use crate::config::settings::TenantLimits;
use crate::tenants::meter::{Day, Limit};

impl Redis {
    /// A number for a reservation.
    pub fn next_submit(&self) -> i64 {
        self.numbers.last_intent.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Or the limit that was reached. None: the server was emptied a moment ago, and has to be asked again.
    pub async fn reserve(
        &self,
        submit: i64,
        tenant: &Arc<str>,
        limits: &TenantLimits,
        price_micro_usd: i64,
        now_ms: i64,
    ) -> Result<Option<Result<(), Limit>>, StoreError> {
        let today = Day::of(now_ms);
        let Day { day, month } = today;
        let number = |limit: Option<i64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
        let arguments = [
            tenant.to_string(),
            submit.to_string(),
            day.to_string(),
            month.to_string(),
            HELD_MS.to_string(),
            price_micro_usd.to_string(),
            number(limits.daily.map(i64::from)),
            number(limits.budget_micro_usd),
            number(limits.max_tasks.map(i64::from)),
            number(limits.rate_per_minute.map(i64::from)),
        ];
        let (reached, solves, spent): (i64, i64, i64) = self
            .ask(move |connection| {
                redis::cmd("EVAL")
                    .arg(include_str!("reserve.lua"))
                    .arg(0)
                    .arg(&arguments)
                    .query(connection)
            })
            .await?;
        if reached < 0 {
            return Ok(None);
        }
        let used = Settled {
            solves_today: u32::try_from(solves).unwrap_or(u32::MAX),
            charged_this_month_micro_usd: spent,
        };
        self.held.used(tenant, today, used);
        Ok(Some(match reached {
            1 => Err(Limit::Daily),
            2 => Err(Limit::Budget),
            3 => Err(Limit::Tasks),
            4 => Err(Limit::Rate),
            _ => {
                let hold = Hold {
                    tenant: Arc::clone(tenant),
                    price_micro_usd,
                    uncertain_until_ms: None,
                };
                let rate = limits.rate_per_minute.map(|_| now_ms);
                self.held.reserved(submit, hold, rate);
                Ok(())
            }
        }))
    }

    /// What all replicas together have used for good, as the server said at the tenant's last submit here.
    pub fn used_together(&self, tenant: &str, now_ms: i64) -> Option<Settled> {
        self.held.used_by(tenant, Day::of(now_ms))
    }
}

/// If its replica dies. No submit is longer on its way.
const HELD_MS: i64 = 700_000;
