//! The rows of the bills as `sidekey report` and the admin port read them: on a connection of their own, so that look-ups do
//! not wait behind a long report.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{Connection, ErrorKind, RedisResult};

use super::super::bills::{Asked, Line, Solve, Sums};
use super::super::usage::{Ended, Refused, Settled, UsageRow};
use super::connection::Conversation;
use super::look_ups::{PAGE, uncertain};
use super::{Address, PATIENCE, Redis, StoreError, rows};
use crate::calendar::DAY_MS;

/// Changes nothing on the server.
pub(in super::super) struct Bills(Conversation);

impl Bills {
    /// None: the server has nothing of ours.
    pub(in super::super) fn open(address: &Address) -> RedisResult<Option<Self>> {
        let mut conversation = Conversation::new(address, PATIENCE);
        let version: Option<i64> = conversation
            .say(|connection| redis::cmd("GET").arg("sidekey:version").query(connection))?;
        match version {
            None => Ok(None),
            Some(version) if version > super::VERSION => Err((
                ErrorKind::Client,
                "a newer sidekey wrote it: ask that one for the report",
            )
                .into()),
            Some(_) => Ok(Some(Self(conversation))),
        }
    }

    /// A row that is written meanwhile may be missing, as if it had come later. Others' commands go between the pages.
    pub(in super::super) fn lines(&mut self, asked: &Asked) -> RedisResult<Vec<Line>> {
        let mut sums = Sums::new(asked);
        self.each(asked.from_ms, asked.until_ms, |row| sums.add(row))?;
        let rows = self
            .0
            .ask(|connection| uncertain(connection, MOST_UNCERTAIN))?;
        for row in rows {
            if row.resolved.is_none() {
                sums.add_uncertain(&row.intent);
            }
        }
        let (from, until) = (asked.from_ms / DAY_MS, asked.until_ms / DAY_MS);
        let days: Vec<i64> = self.0.ask(|connection| {
            redis::cmd("ZRANGEBYSCORE")
                .arg(("sidekey:refusal_days", from, format!("({until}")))
                .query(connection)
        })?;
        for day in days {
            for refused in self.0.ask(|connection| refusals(connection, day))? {
                sums.add_refused(&refused.tenant, day, refused.count);
            }
        }
        Ok(sums.lines())
    }

    /// The solves of the tenants, one tenant after the other, each in the order of time.
    pub(in super::super) fn solves(&mut self, asked: &Asked) -> RedisResult<Vec<Solve>> {
        let mut solves = Vec::new();
        self.each(asked.from_ms, asked.until_ms, |row| {
            let tenant = &row.task.tenant;
            if row.ended == Ended::Solved && asked.tenant.as_ref().is_none_or(|of| of == tenant) {
                solves.push(Solve {
                    tenant: tenant.to_string(),
                    at_ms: row.ended_at_ms,
                    id: row.task.id.to_string(),
                    kind: row.kind.to_string(),
                    charged_micro_usd: row.charge_micro_usd,
                });
            }
        })?;
        let order = |solve: &Solve| (solve.tenant.clone(), solve.at_ms, solve.id.clone());
        solves.sort_by_cached_key(order);
        Ok(solves)
    }

    fn settled(
        &mut self,
        day_began_ms: i64,
        month_began_ms: i64,
    ) -> RedisResult<HashMap<Arc<str>, Settled>> {
        let mut settled: HashMap<Arc<str>, Settled> = HashMap::new();
        self.each(month_began_ms, i64::MAX, |row| {
            if row.ended == Ended::Solved {
                let tenant = settled.entry(Arc::clone(&row.task.tenant)).or_default();
                tenant.solves_today += u32::from(row.ended_at_ms >= day_began_ms);
                tenant.charged_this_month_micro_usd += row.charge_micro_usd;
            }
        })?;
        Ok(settled)
    }

    /// The oldest first.
    fn each(
        &mut self,
        since_ms: i64,
        until_ms: i64,
        mut each: impl FnMut(&UsageRow),
    ) -> RedisResult<()> {
        let mut from = 0;
        loop {
            let page = |connection: &mut Connection| page(connection, since_ms, until_ms, from);
            let (read, rows) = self.0.ask(page)?;
            rows.iter().for_each(&mut each);
            from += read;
            if read < PAGE {
                return Ok(());
            }
        }
    }
}

impl Redis {
    pub(in super::super) async fn bill(&self, asked: Asked) -> Result<Vec<Line>, StoreError> {
        self.look_back(move |bills| bills.lines(&asked)).await
    }

    pub(in super::super) async fn settled(
        &self,
        day_began_ms: i64,
        month_began_ms: i64,
    ) -> Result<HashMap<Arc<str>, Settled>, StoreError> {
        self.look_back(move |bills| bills.settled(day_began_ms, month_began_ms))
            .await
    }

    async fn look_back<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Bills) -> RedisResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut bills = Bills(Conversation::new(&self.address, PATIENCE));
        let looked = tokio::task::spawn_blocking(move || look(&mut bills)).await;
        let looked = looked.map_err(|_| StoreError::Closed)?;
        looked.map_err(|error| StoreError::Unreadable(error.to_string()))
    }
}

/// Of all replicas together.
pub(super) fn refusals(connection: &mut Connection, day: i64) -> RedisResult<Vec<Refused>> {
    let counts: Vec<(String, i64)> = redis::cmd("HGETALL")
        .arg(format!("sidekey:refusals:{day}"))
        .query(connection)?;
    let mut sums: HashMap<(Arc<str>, Arc<str>), i64> = HashMap::new();
    for (field, count) in counts {
        let mut parts = field.split('\0').map(Arc::from);
        if let (Some(tenant), Some(reason)) = (parts.next(), parts.next()) {
            *sums.entry((tenant, reason)).or_default() += count;
        }
    }
    let refused = |((tenant, reason), count)| Refused {
        tenant,
        day,
        reason,
        count,
    };
    Ok(sums.into_iter().map(refused).collect())
}

/// How many were read, which may be more than can be understood.
fn page(
    connection: &mut Connection,
    since_ms: i64,
    until_ms: i64,
    from: usize,
) -> RedisResult<(usize, Vec<UsageRow>)> {
    let places: Vec<String> = redis::cmd("ZRANGEBYSCORE")
        .arg(("sidekey:usage_by_end", since_ms, format!("({until_ms}")))
        .arg(("LIMIT", from, PAGE))
        .query(connection)?;
    if places.is_empty() {
        return Ok((0, Vec::new()));
    }
    let texts: Vec<Option<String>> = redis::cmd("HMGET")
        .arg("sidekey:usage")
        .arg(&places)
        .query(connection)?;
    let row = |(place, text): (&String, Option<String>)| rows::read_usage(place, &text?);
    let rows = places.iter().zip(texts).filter_map(row).collect();
    Ok((places.len(), rows))
}

/// Each was an alarm.
const MOST_UNCERTAIN: usize = 100_000;
