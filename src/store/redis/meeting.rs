//! What replicas tell each other, a few times a second.

use std::sync::Arc;
use std::time::Duration;

use redis::{Connection, RedisResult};

use super::look_ups::take_over;
use super::{Redis, StoreError};

/// What one replica brings.
#[derive(Clone, Debug, Default)]
pub struct Brought {
    pub lead_for: Duration,
    /// Whose taken slots it wants to know.
    pub accounts: Vec<Arc<str>>,
    /// For all the others.
    pub news: Vec<String>,
    /// None: for the first time, and then news of so long ago still count.
    pub heard: Option<String>,
    pub heard_within: Duration,
    /// Bad-key answers since then.
    pub bad_since_ms: i64,
    /// Changes by hand that the server may not have, by name.
    pub by_hand: Vec<(String, Switch)>,
    /// Of the changes by hand that are known.
    pub by_hand_version: Option<String>,
    /// If this one leads: after so long without a sign a replica is dead. None: nobody can say, the server was gone.
    pub dead_after: Option<Duration>,
}

/// One change by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    pub at_ms: i64,
    pub off: bool,
}

/// All changes by hand that the server has.
#[derive(Clone, Debug)]
pub struct SeenByHand {
    pub version: Option<String>,
    pub switches: Vec<(String, Switch)>,
}

/// What it takes away.
#[derive(Clone, Debug, Default)]
pub struct Met {
    pub leads: bool,
    /// In the order of the accounts.
    pub used: Vec<u32>,
    /// Of others, the oldest first.
    pub news: Vec<String>,
    /// The place of the last news, for the next time.
    pub heard: String,
    /// By number. Those of this replica, too.
    pub bad_key_answers: Vec<(i64, i64)>,
    /// None: they are those of the version that was brought.
    pub by_hand: Option<SeenByHand>,
    /// Submits of dead replicas, which are uncertain from now on.
    pub taken_over: u64,
    /// There are parked submits whose replica has ended: `Store::waiting_parked` takes them over.
    pub orphans: bool,
}

impl Redis {
    pub async fn meet(&self, brought: Brought) -> Result<Met, StoreError> {
        let run = self.run;
        self.ask(move |connection| meet(connection, run, &brought))
            .await
    }

    /// Whether this process gave that number.
    pub fn is_own(&self, number: i64) -> bool {
        number >> 32 == self.run
    }
}

fn meet(connection: &mut Connection, run: i64, brought: &Brought) -> RedisResult<Met> {
    let mut command = redis::cmd("EVAL");
    command.arg(include_str!("meet.lua")).arg(0).arg(run);
    command.arg(millis(brought.lead_for));
    for account in &brought.accounts {
        command.arg(&**account);
    }
    let (leads, now_ms, used, orphans): (bool, i64, Vec<u32>, bool) = command.query(connection)?;
    bring_by_hand(connection, &brought.by_hand)?;
    let mut tell = redis::pipe();
    for news in &brought.news {
        tell.cmd("XADD")
            .arg((NEWS, "MAXLEN", "~", NEWS_KEPT, "*"))
            .arg((run, news))
            .ignore();
    }
    let from = match &brought.heard {
        Some(heard) => format!("({heard}"),
        None => (now_ms - millis(brought.heard_within)).max(0).to_string(),
    };
    tell.cmd("XRANGE")
        .arg((NEWS, from, "+", "COUNT", NEWS_KEPT));
    tell.cmd("ZRANGEBYSCORE").arg((
        "sidekey:bad_key_answers",
        brought.bad_since_ms,
        "+inf",
        "WITHSCORES",
    ));
    tell.cmd("GET").arg("sidekey:by_hand_version");
    type Row = (String, Vec<(i64, String)>);
    type Told = (Vec<Row>, Vec<(i64, f64)>, Option<String>);
    let (rows, bad_key_answers, version): Told = tell.query(connection)?;
    let last = rows.last().map(|(place, _)| place.clone());
    // Nothing yet: what comes from now on.
    let heard = last.or_else(|| brought.heard.clone());
    let others = |(from, news): (i64, String)| (from != run).then_some(news);
    Ok(Met {
        leads,
        used,
        news: rows
            .into_iter()
            .flat_map(|(_, news)| news)
            .filter_map(others)
            .collect(),
        heard: heard.unwrap_or_else(|| format!("{now_ms}-0")),
        bad_key_answers: bad_key_answers
            .into_iter()
            .map(|(id, at_ms)| (id, at_ms as i64))
            .collect(),
        by_hand: match version == brought.by_hand_version {
            true => None,
            false => Some(seen_by_hand(connection, version)?),
        },
        taken_over: match brought.dead_after {
            Some(silent) if leads => take_over(connection, -1, millis(silent))?,
            _ => 0,
        },
        orphans,
    })
}

fn bring_by_hand(connection: &mut Connection, brought: &[(String, Switch)]) -> RedisResult<()> {
    if brought.is_empty() {
        return Ok(());
    }
    let mut command = redis::cmd("EVAL");
    command.arg(include_str!("by_hand.lua")).arg(0);
    for (name, switch) in brought {
        let word = if switch.off { OFF } else { "on" };
        command.arg(name).arg(switch.at_ms).arg(word);
    }
    command.query(connection)
}

/// Perhaps newer than the version says, and then it is looked at once more.
fn seen_by_hand(connection: &mut Connection, version: Option<String>) -> RedisResult<SeenByHand> {
    let rows: Vec<(String, String)> = redis::cmd("HGETALL")
        .arg("sidekey:by_hand")
        .query(connection)?;
    let switch = |(name, text): (String, String)| {
        let (at_ms, word) = text.split_once(' ')?;
        let at_ms = at_ms.parse().ok()?;
        let off = word == OFF;
        Some((name, Switch { at_ms, off }))
    };
    Ok(SeenByHand {
        version,
        switches: rows.into_iter().filter_map(switch).collect(),
    })
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

const OFF: &str = "off";
const NEWS: &str = "sidekey:news";
/// Of ten thousand accounts each brings its balance once in a while.
const NEWS_KEPT: usize = 20_000;
