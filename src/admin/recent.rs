//! What happened of late, as this process remembers it: events, calls, and the course of the balances.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::api::Clocks;
use super::changes::Told;
use super::history::{pairs, wrong};
use super::{calls, events};
use crate::keys::account::Account;
use crate::keys::history::KEPT;
use crate::money::usd;
use crate::request::Server;

/// Of one answer: some megabytes.
const MOST_POINTS: usize = 50_000;
const FEWEST_POINTS: usize = 2;
const HOURS_KEPT: usize = (KEPT.as_secs() / 3600) as usize;

/// `limit=N`, the newest first.
pub(super) fn events(server: &Server, query: &str) -> Told {
    match one_number(query, "limit", events::MOST) {
        Ok(limit) => (StatusCode::OK, server.events.json(limit)),
        Err(told) => told,
    }
}

/// `limit=N`, the newest first.
pub(super) fn calls(server: &Server, query: &str) -> Told {
    match one_number(query, "limit", calls::MOST) {
        Ok(limit) => (StatusCode::OK, server.calls.json(limit)),
        Err(told) => told,
    }
}

/// `hours=N`, up to now; points oldest first.
pub(super) fn balances(server: &Server, query: &str) -> Told {
    let hours = match one_number(query, "hours", HOURS_KEPT) {
        Ok(hours) => hours,
        Err(told) => return told,
    };
    let clocks = Clocks::now();
    // A machine that is not up for so long has nothing older.
    let from = clocks
        .now
        .checked_sub(Duration::from_secs(hours as u64 * 3600));
    let snapshot = server.live.load();
    let most = MOST_POINTS / snapshot.keys.accounts().count().max(1);
    let row = |account: &Account| -> Value {
        let points = thinned(account.history(from), most.max(FEWEST_POINTS));
        let point = |(at, micro_usd)| json!({ "at": clocks.wall(at), "usd": usd(micro_usd) });
        let points: Vec<_> = points.into_iter().map(point).collect();
        json!({ "account": &*account.name, "points": points })
    };
    let rows: Vec<_> = snapshot
        .keys
        .accounts()
        .map(|account| row(account))
        .collect();
    (StatusCode::OK, json!({ "balances": rows }))
}

/// At most so many, evenly, with the last one.
fn thinned<T>(points: Vec<T>, most: usize) -> Vec<T> {
    let len = points.len();
    let step = len.div_ceil(most).max(1);
    let is_kept = |at: usize| (len - 1 - at).is_multiple_of(step);
    let kept = points
        .into_iter()
        .enumerate()
        .filter(|(at, _)| is_kept(*at));
    kept.map(|(_, point)| point).collect()
}

/// `name=N`, from 1 to `most`, which is what is meant where it is left out.
fn one_number(query: &str, name: &str, most: usize) -> Result<usize, Told> {
    let mut number = most;
    for (given, value) in pairs(query) {
        match value.parse() {
            Ok(asked) if given == name && (1..=most).contains(&asked) => number = asked,
            _ => return Err(wrong(&format!("this takes {name}=N, from 1 to {most}"))),
        }
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_points_end_with_the_same_last_one() {
        assert_eq!(thinned((0..10).collect(), 4), [0, 3, 6, 9]);
        assert_eq!(thinned((0..11).collect(), 4), [1, 4, 7, 10]);
        assert_eq!(thinned((0..3).collect(), 4), [0, 1, 2]);
        assert!(thinned(Vec::<u8>::new(), 4).is_empty());
    }

    #[test]
    fn a_number_out_of_bounds_or_of_another_name_is_refused() {
        assert_eq!(one_number("", "hours", 24).unwrap(), 24);
        assert_eq!(one_number("hours=3", "hours", 24).unwrap(), 3);
        for query in ["hours=0", "hours=25", "hours=", "hours=-1", "limit=3", "x"] {
            let (status, _) = one_number(query, "hours", 24).unwrap_err();
            assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        }
    }
}
