//! What can be asked of parked submits.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{Connection, RedisResult};

use super::super::parked::{OwnId, ParkedRecord, ParkedRequest, ParkedState, Parking};
use super::super::rows::Change;
use super::look_ups::{INCOMPLETE, PAGE, is_complete};
use super::{Redis, StoreError, rows};

impl Redis {
    /// Those that are this process's to send: its own, and from now on those whose replicas have ended.
    pub(in super::super) async fn waiting_parked(&self) -> Result<Vec<ParkedRecord>, StoreError> {
        let run = self.run;
        let waiting = self
            .ask(move |connection| waiting_parked(connection, run))
            .await?;
        let is_news = |record: &&ParkedRecord| {
            let known = self.mirror.parked(record.id, &record.tenant);
            known.is_none()
        };
        let taken_over: Vec<_> = waiting.iter().filter(is_news).cloned().collect();
        for records in taken_over.chunks(REQUESTS) {
            self.remember_parked(records.to_vec()).await?;
        }
        Ok(waiting)
    }

    /// As if this process had parked them: it is the one that remembers them now.
    async fn remember_parked(&self, records: Vec<ParkedRecord>) -> Result<(), StoreError> {
        type Found = (HashMap<String, Vec<u8>>, Option<i64>);
        let looked = records.clone();
        let found = self
            .ask(move |connection| {
                let mut look = redis::pipe();
                for ParkedRecord { id, tenant, .. } in &looked {
                    look.cmd("HGETALL")
                        .arg(format!("sidekey:parked_request:{id}"));
                    let prices = format!("sidekey:tenant:{tenant}:prices");
                    look.cmd("HGET").arg((prices, format!("p{id}")));
                }
                let found: Vec<redis::Value> = look.query(connection)?;
                let pairs = found.chunks_exact(2).map(|pair| -> RedisResult<Found> {
                    let request = redis::from_redis_value(pair[0].clone())?;
                    Ok((request, redis::from_redis_value(pair[1].clone())?))
                });
                pairs.collect::<RedisResult<Vec<_>>>()
            })
            .await?;
        for (record, (request, price)) in records.into_iter().zip(found) {
            if let Some(price_micro_usd) = price {
                let tenant = Arc::clone(&record.tenant);
                self.held.parked(record.id, tenant, price_micro_usd);
            }
            if let Some(request) = rows::read_request(request) {
                self.mirror.apply(Change::Park(Box::new(Parking {
                    record,
                    request,
                    claim: None,
                })));
            }
        }
        Ok(())
    }

    pub(in super::super) async fn parked(
        &self,
        id: OwnId,
        tenant: &str,
    ) -> Result<Option<ParkedRecord>, StoreError> {
        let (run, asked) = (self.run, tenant.to_owned());
        let found = self
            .ask(move |connection| parked(connection, id, &asked, run))
            .await;
        let mirror = || self.mirror.parked(id, tenant);
        match found {
            Ok(Some(Some(record))) => Ok(Some(record)),
            Ok(Some(None)) => Ok(mirror()),
            Ok(None) => match mirror() {
                Some(record) => Ok(Some(record)),
                None => Err(StoreError::Unreadable(INCOMPLETE.to_owned())),
            },
            Err(error) => mirror().map(Some).ok_or(error),
        }
    }

    pub(in super::super) async fn parked_request(
        &self,
        id: OwnId,
    ) -> Result<Option<ParkedRequest>, StoreError> {
        self.ask(move |connection| {
            let fields: HashMap<String, Vec<u8>> = redis::cmd("HGETALL")
                .arg(format!("sidekey:parked_request:{id}"))
                .query(connection)?;
            Ok(rows::read_request(fields))
        })
        .await
    }
}

fn waiting_parked(connection: &mut Connection, run: i64) -> RedisResult<Vec<ParkedRecord>> {
    let mut ids: Vec<i64> = redis::cmd("EVAL")
        .arg(include_str!("adopt.lua"))
        .arg((0, run))
        .query(connection)?;
    ids.sort_unstable();
    let mut waiting = Vec::with_capacity(ids.len());
    for ids in ids.chunks(PAGE) {
        let mut look = redis::pipe();
        for id in ids {
            look.cmd("HMGET")
                .arg(format!("sidekey:parked:{id}"))
                .arg(&rows::PARKED_FIELDS);
        }
        let found: Vec<rows::ParkedFields> = look.query(connection)?;
        let records = ids.iter().zip(found);
        waiting.extend(
            records
                .filter_map(|(id, fields)| rows::read_parked(OwnId(*id), fields))
                .filter(|record| record.state == ParkedState::Waiting),
        );
    }
    Ok(waiting)
}

fn parked(
    connection: &mut Connection,
    id: OwnId,
    tenant: &str,
    run: i64,
) -> RedisResult<Option<Option<ParkedRecord>>> {
    let fields: Option<rows::ParkedFields> = redis::cmd("EVAL")
        .arg((OF_TENANT, 0, id.0, tenant))
        .arg(&rows::PARKED_FIELDS)
        .query(connection)?;
    Ok(match fields {
        // One that a newer version wrote, and that this one cannot read, is not unknown.
        Some(fields) => rows::read_parked(id, fields).map(Some),
        None => is_complete(connection, run)?.then_some(None),
    })
}

/// SECURITY: another tenant's row does not leave the server, and is missed by the same steps as one that nobody has: its reply
/// would be longer, and the time tells.
const OF_TENANT: &str = "local place = 'sidekey:parked:' .. ARGV[1]
if redis.call('HGET', place, 'tenant') ~= ARGV[2] then return false end
return redis.call('HMGET', place, unpack(ARGV, 3))";

/// Requests of parked submits in one command: of a hundred kilobytes each some are enough.
const REQUESTS: usize = 20;
