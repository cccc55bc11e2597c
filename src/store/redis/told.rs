//! Which alerts were told, by whichever replica.

use std::time::Duration;

use super::meeting::millis;
use super::{Redis, StoreError};

/// An alert that is due here.
#[derive(Clone, Debug)]
pub struct Due {
    pub name: String,
    /// While it lasts.
    pub told_every: Option<Duration>,
}

impl Redis {
    /// For each that is due, whether this replica is the one to tell it. `held` were told and hold on here.
    pub async fn tell(&self, held: Vec<String>, due: Vec<Due>) -> Result<Vec<bool>, StoreError> {
        self.ask(move |connection| {
            let mut command = redis::cmd("EVAL");
            command.arg(include_str!("told.lua")).arg(0);
            command.arg(LIES_MS).arg(held.len()).arg(&held);
            for due in &due {
                let every = due.told_every.map(|every| millis(every).to_string());
                command.arg(&due.name).arg(every.unwrap_or_default());
            }
            command.query(connection)
        })
        .await
    }
}

/// Some looks of those at whom it holds: each is a sign.
const LIES_MS: i64 = 10_000;
