//! What can be asked, by a thread with a conversation of its own: look-ups do not wait behind changes.

use std::collections::HashSet;

use redis::{Connection, RedisResult};
use tokio::sync::{mpsc, oneshot};

use super::super::audit::AuditRow;
use super::super::rows::{CameTo, Claimed, ENDED_IN_MID_SUBMIT, TaskKey, TaskRecord, UncertainRow};
use super::super::usage::Refused;
use super::connection::Conversation;
use super::ledger::refusals;
use super::{Redis, StoreError, rows};
use crate::keys::secret::Identity;

type Question = Box<dyn FnOnce(&mut Conversation) + Send>;

/// Asks the thread. `None` ends it.
pub(super) type Questions = mpsc::Sender<Option<Question>>;

pub(super) fn asker(mut conversation: Conversation) -> (Questions, impl FnOnce() + Send + 'static) {
    let (questions, mut asked) = mpsc::channel::<Option<Question>>(MAX_WAITING);
    let run = move || {
        while let Some(Some(question)) = asked.blocking_recv() {
            question(&mut conversation);
        }
    };
    (questions, run)
}

impl Redis {
    /// Waits for a place in the queue, which is bounded, and for the answer.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        mut look_up: impl FnMut(&mut Connection) -> RedisResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, answer) = oneshot::channel();
        let question: Question = Box::new(move |conversation| {
            // Whoever asked may be gone: after a while of trouble those behind him wait for nothing, and what he would have
            // reserved nobody would give back.
            if !tell.is_closed() {
                let _ = tell.send(conversation.ask(&mut look_up));
            }
        });
        let sent = self.questions.send(Some(question)).await;
        sent.map_err(|_| StoreError::Closed)?;
        let answer = answer.await.map_err(|_| StoreError::Closed)?;
        answer.map_err(|error| StoreError::Unreadable(error.to_string()))
    }

    /// What this process changed it knows also when the server does not, or does not answer.
    pub(in super::super) async fn task(
        &self,
        key: &TaskKey,
    ) -> Result<Option<TaskRecord>, StoreError> {
        let asked = key.clone();
        let (place, run) = (rows::place(key), self.run);
        let found = self
            .ask(move |connection| task(connection, &asked, &place, run))
            .await;
        match found {
            Ok(Some(Some(task))) => Ok(Some(task)),
            Ok(Some(None)) => Ok(self.mirror.task(key)),
            // Whoever knows it may not have written it yet.
            Ok(None) => match self.mirror.task(key) {
                Some(task) => Ok(Some(task)),
                None => Err(StoreError::Unreadable(INCOMPLETE.to_owned())),
            },
            Err(error) => self.mirror.task(key).map(Some).ok_or(error),
        }
    }

    pub(in super::super) async fn claim(
        &self,
        scope: &[u8; 32],
    ) -> Result<Option<Claimed>, StoreError> {
        let (asked, run) = (*scope, self.run);
        let found = self
            .ask(move |connection| claim(connection, &asked, run))
            .await;
        match found {
            Ok(Some(Some(claimed))) => Ok(Some(claimed)),
            Ok(Some(None)) => Ok(self.mirror.claim(scope)),
            Ok(None) => match self.mirror.claim(scope) {
                Some(claimed) => Ok(Some(claimed)),
                None => Err(StoreError::Unreadable(INCOMPLETE.to_owned())),
            },
            Err(error) => self.mirror.claim(scope).map(Some).ok_or(error),
        }
    }

    /// The newest first.
    pub(in super::super) async fn uncertain(
        &self,
        limit: usize,
    ) -> Result<Vec<UncertainRow>, StoreError> {
        self.ask(move |connection| uncertain(connection, limit))
            .await
    }

    pub(in super::super) async fn uncertain_open(&self) -> Result<u64, StoreError> {
        self.ask(|connection| {
            let (all, resolved): (u64, u64) = redis::pipe()
                .cmd("ZCARD")
                .arg("sidekey:uncertain_by_time")
                .cmd("HLEN")
                .arg("sidekey:resolved")
                .query(connection)?;
            Ok(all.saturating_sub(resolved))
        })
        .await
    }

    /// The latest first.
    pub(in super::super) async fn running_tasks(
        &self,
        used_since_ms: i64,
        limit: usize,
    ) -> Result<Vec<TaskRecord>, StoreError> {
        let at_ms = format!("{used_since_ms}");
        self.ask(move |connection| running(connection, "+inf", &at_ms, limit))
            .await
    }

    pub(in super::super) async fn good_keys(&self) -> Result<HashSet<Identity>, StoreError> {
        self.ask(|connection| {
            let keys: Vec<Vec<u8>> = redis::cmd("ZRANGE")
                .arg(("sidekey:good_keys", 0, -1))
                .query(connection)?;
            let identity = |key: Vec<u8>| key.try_into().ok().map(Identity);
            Ok(keys.into_iter().filter_map(identity).collect())
        })
        .await
    }

    pub(in super::super) async fn bad_key_answers(
        &self,
        since_ms: i64,
    ) -> Result<Vec<i64>, StoreError> {
        self.ask(move |connection| {
            let rows: Vec<(String, f64)> = redis::cmd("ZRANGEBYSCORE")
                .arg(("sidekey:bad_key_answers", since_ms, "+inf", "WITHSCORES"))
                .query(connection)?;
            Ok(rows.into_iter().map(|(_, at_ms)| at_ms as i64).collect())
        })
        .await
    }

    pub(in super::super) async fn refusals(&self, day: i64) -> Result<Vec<Refused>, StoreError> {
        self.ask(move |connection| refusals(connection, day)).await
    }

    pub(in super::super) async fn last_end(
        &self,
        before_ms: i64,
    ) -> Result<Option<i64>, StoreError> {
        self.ask(move |connection| {
            let last: Vec<(String, f64)> = redis::cmd("ZREVRANGEBYSCORE")
                .arg(("sidekey:usage_by_end", format!("({before_ms}"), "-inf"))
                .arg(("WITHSCORES", "LIMIT", 0, 1))
                .query(connection)?;
            Ok(last.first().map(|(_, at_ms)| *at_ms as i64))
        })
        .await
    }

    /// The newest first.
    pub(in super::super) async fn audit(&self, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let last = limit as i64 - 1;
        self.ask(move |connection| {
            let rows: Vec<String> = redis::cmd("ZREVRANGE")
                .arg(("sidekey:audit", 0, last))
                .query(connection)?;
            Ok(rows
                .iter()
                .filter_map(|row| rows::read_audit(row))
                .collect())
        })
        .await
    }
}

/// None: that the server knows nothing of this task says nothing.
fn task(
    connection: &mut Connection,
    key: &TaskKey,
    place: &str,
    run: i64,
) -> RedisResult<Option<Option<TaskRecord>>> {
    let (text, used_at_ms, runs): (Option<Vec<u8>>, Option<f64>, Option<f64>) = redis::pipe()
        .cmd("GET")
        .arg(format!("sidekey:task:{place}"))
        .cmd("ZSCORE")
        .arg(("sidekey:tasks_by_use", place))
        .cmd("ZSCORE")
        .arg(("sidekey:running", place))
        .query(connection)?;
    Ok(match text {
        Some(text) => {
            let used_at_ms = used_at_ms.unwrap_or_default() as i64;
            // One that a newer version wrote, and that this one cannot read, is not unknown.
            rows::read_task(key.clone(), &text, used_at_ms, runs.is_some()).map(Some)
        }
        None => is_complete(connection, run)?.then_some(None),
    })
}

/// Whether what is not here is nowhere. Not so while a replica that was heard of writes nothing, because it may hold what it
/// has relayed, nor just after the server was emptied.
pub(super) fn is_complete(connection: &mut Connection, run: i64) -> RedisResult<bool> {
    type Longest = Vec<(i64, f64)>;
    type Marks = (Option<Vec<u8>>, Option<String>);
    let ((seconds, micros), longest, (salt, restoring)): ((f64, f64), Longest, Marks) =
        redis::pipe()
            .cmd("TIME")
            .cmd("ZRANGE")
            .arg(("sidekey:runs", 0, 1, "WITHSCORES"))
            .cmd("MGET")
            .arg((SALT, RESTORING))
            .query(connection)?;
    let now_ms = seconds * 1000.0 + micros / 1000.0;
    let silent = |(other, at_ms): &(i64, f64)| *other != run && now_ms - at_ms > BEHIND_MS;
    Ok(salt.is_some() && restoring.is_none() && !longest.iter().any(silent))
}

fn claim(
    connection: &mut Connection,
    scope: &[u8; 32],
    run: i64,
) -> RedisResult<Option<Option<Claimed>>> {
    let place = [b"sidekey:claim:", &scope[..]].concat();
    type Row = (Option<Vec<u8>>, Option<String>, Option<Vec<u8>>);
    let row: Row = redis::cmd("HMGET")
        .arg((place, "parameters", "task", "answer"))
        .query(connection)?;
    let parameters = row.0.and_then(|bytes| bytes.try_into().ok());
    Ok(match parameters {
        Some(parameters) => Some(Some(Claimed {
            parameters,
            came_to: match (row.1, row.2) {
                (Some(id), _) => CameTo::Task(id.into()),
                (None, Some(answer)) => CameTo::Answer(answer.into()),
                (None, None) => CameTo::Unknown,
            },
        })),
        None => is_complete(connection, run)?.then_some(None),
    })
}

pub(super) fn uncertain(
    connection: &mut Connection,
    limit: usize,
) -> RedisResult<Vec<UncertainRow>> {
    let last = limit as i64 - 1;
    let ids: Vec<i64> = redis::cmd("ZREVRANGE")
        .arg(("sidekey:uncertain_by_time", 0, last))
        .query(connection)?;
    let mut rows = Vec::with_capacity(ids.len());
    for ids in ids.chunks(PAGE) {
        let (texts, resolved): (Vec<Option<Vec<u8>>>, Vec<Option<String>>) = redis::pipe()
            .cmd("HMGET")
            .arg("sidekey:uncertain")
            .arg(ids)
            .cmd("HMGET")
            .arg("sidekey:resolved")
            .arg(ids)
            .query(connection)?;
        for ((id, text), resolved) in ids.iter().zip(texts).zip(resolved) {
            rows.extend(text.and_then(|text| {
                rows::read_uncertain(*id, &text, resolved.as_deref(), ENDED_IN_MID_SUBMIT)
            }));
        }
    }
    Ok(rows)
}

/// Those used between the two times, the latest first.
fn running(
    connection: &mut Connection,
    until: &str,
    since: &str,
    limit: usize,
) -> RedisResult<Vec<TaskRecord>> {
    let places: Vec<(String, f64)> = redis::cmd("ZREVRANGEBYSCORE")
        .arg(("sidekey:running", until, since, "WITHSCORES"))
        .arg(("LIMIT", 0, limit))
        .query(connection)?;
    let mut tasks = Vec::with_capacity(places.len());
    for places in places.chunks(PAGE) {
        let mut texts = redis::cmd("MGET");
        for (place, _) in places {
            texts.arg(format!("sidekey:task:{place}"));
        }
        let texts: Vec<Option<Vec<u8>>> = texts.query(connection)?;
        for ((place, used_at_ms), text) in places.iter().zip(texts) {
            tasks.extend(
                rows::key(place)
                    .zip(text)
                    .and_then(|(key, text)| rows::read_task(key, &text, *used_at_ms as i64, true)),
            );
        }
    }
    Ok(tasks)
}

/// The submits of a run that ended are uncertain from now on. Returns how many there were.
pub(super) fn take_over(connection: &mut Connection, run: i64, silent_ms: i64) -> RedisResult<u64> {
    redis::cmd("EVAL")
        .arg(include_str!("take_over.lua"))
        .arg((0, run, silent_ms))
        .query(connection)
}

pub(super) const INCOMPLETE: &str = "not all replicas have written to the Redis server what they know, or a newer sidekey wrote what this one cannot read";
/// An id is relayed unwritten after a second of trouble, so whoever wrote later than this ago holds none.
pub(super) const BEHIND_MS: f64 = 900.0;
const SALT: &str = "sidekey:salt";
const RESTORING: &str = "sidekey:restoring";

/// Further look-ups wait for a place; their callers have deadlines.
const MAX_WAITING: usize = 64;

/// Rows in one command: the server has one thread, and others wait for it.
pub(super) const PAGE: usize = 1000;
