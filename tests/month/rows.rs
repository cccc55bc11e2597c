//! As many rows as a busy month has, each written twice and over restarts: the report adds them up exactly, and fast.

use std::collections::BTreeMap;
use std::path::Path;

use sidekey::calendar::DAY_MS;
use sidekey::config::settings::Sync;
use sidekey::store::{Ended, Store, TaskKey, UsageRow};
use tokio::time::Instant;

use crate::{DAYS, TENANTS, say};

/// 2026-11-01T00:00:00Z.
const BEGAN: i64 = 1_793_491_200_000;
const RESTARTS: usize = 5;

/// Charged, by tenant.
pub(crate) async fn write(path: &Path, rows: usize) -> BTreeMap<String, i64> {
    let mut charged = BTreeMap::new();
    for part in 0..RESTARTS {
        let store = Store::open(path, Sync::Process).unwrap().0;
        // The last row before a restart once more after it, as a task that is followed again.
        let from = (part * rows / RESTARTS).saturating_sub(1);
        for number in from..(part + 1) * rows / RESTARTS {
            let row = row(number, rows);
            if number >= part * rows / RESTARTS {
                let tenant = row.task.tenant.to_string();
                *charged.entry(tenant).or_default() += row.charge_micro_usd;
            }
            store.settle(row.clone());
            if number % 5 == 0 {
                store.settle(row);
            }
            if number % 1000 == 0 {
                store.flush().await.unwrap();
            }
        }
        store.close().await.unwrap();
    }
    charged
}

pub(crate) async fn add_up(place: &Path, rows: usize) {
    let path = place.join("sidekey.db");
    let charged = write(&path, rows).await;
    // As while the program runs.
    let store = Store::open(&path, Sync::Process).unwrap().0;
    for by in ["tenant", "day", "type"] {
        let began = Instant::now();
        let bill = crate::bill_of(&path, BEGAN + DAY_MS, by);
        let took = began.elapsed();
        assert_eq!(bill["total"]["solves"], rows);
        let total: i64 = charged.values().sum();
        assert_eq!(bill["total"]["charged_micro_usd"], total);
        if by == "tenant" {
            for line in bill["lines"].as_array().unwrap() {
                let tenant = line["tenant"].as_str().unwrap();
                assert_eq!(line["charged_micro_usd"], charged[tenant]);
            }
        }
        say(&format!(
            "the report of {rows} solves by {by} took {took:?}"
        ));
        assert!(took.as_secs_f64() < 1.0, "{took:?}");
    }
    store.close().await.unwrap();
}

fn row(number: usize, rows: usize) -> UsageRow {
    let at = (number as i64) * (DAYS as i64 * DAY_MS) / rows as i64;
    let price = crate::PRICES[usize::from(number >= rows / 2)];
    UsageRow {
        task: TaskKey {
            profile: "2captcha".into(),
            tenant: TENANTS[number % TENANTS.len()].into(),
            // In no order, as with many accounts.
            id: (number.wrapping_mul(2_654_435_761) % 1_000_000_007)
                .to_string()
                .as_str()
                .into(),
        },
        submitted_at_ms: BEGAN + at,
        ended_at_ms: BEGAN + at,
        ended: Ended::Solved,
        project: Some("shop".into()),
        kind: ["recaptcha_v2", "image", "turnstile"][number % 3].into(),
        owner_name: "account-1".into(),
        cost_micro_usd: price,
        charge_micro_usd: price,
    }
}
