//! What all replicas together used of an account.

use std::sync::Arc;

use super::look_ups::BEHIND_MS;
use super::{Redis, StoreError};

/// Money in micro-dollars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Since when it is counted: another start cannot be compared.
    pub born: Box<str>,
    /// The price of all that was solved.
    pub settled: i64,
    /// Tasks that ended of which nobody knows whether they were paid.
    pub lost: i64,
    pub dearest: i64,
    /// The price of what runs.
    pub running: i64,
    /// Submits on their way, and uncertain ones.
    pub unknown: i64,
}

impl Redis {
    /// None: some replica may have used what the server does not know yet.
    pub async fn spent(&self, account: &Arc<str>) -> Result<Option<Spent>, StoreError> {
        let account = Arc::clone(account);
        type Row = (String, i64, i64, i64, i64, i64);
        let row: Option<Row> = self
            .ask(move |connection| {
                let row: redis::Value = redis::cmd("EVAL")
                    .arg(include_str!("spent.lua"))
                    .arg((0, &*account, BEHIND_MS))
                    .query(connection)?;
                Ok(redis::from_redis_value(row).ok())
            })
            .await?;
        let spent = |(born, settled, lost, dearest, running, unknown): Row| Spent {
            born: born.into(),
            settled,
            lost,
            dearest,
            running,
            unknown,
        };
        Ok(row.map(spent))
    }
}
