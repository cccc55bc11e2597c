//! What vendors do to those who call too much: per account, and per address that brings bad keys.
//! Rules only: no sockets, no clock; `now` is a parameter.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::config::Dialect;

/// What a sandbox enforces; it may be changed while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    pub bans: Vec<Ban>,
    /// Requests of one account in a second before the next is an HTTP 429. 0 = any number.
    pub requests_per_second: u32,
    /// Bad keys from one address until that address is banned. 0 = never.
    pub ban_after: u32,
    /// 0 = as long as the dialect's vendor says.
    pub ban_ms: u64,
}

/// A ban of an account. Its name everywhere is the code that the banned are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Ban {
    /// More than 60 submits in 3 s: no submits for 10 s.
    #[serde(rename = "MAX_USER_TURN")]
    MaxUserTurn,
    /// 120 times `ERROR_NO_SLOT_AVAILABLE` in a minute: nothing for 600 s.
    #[serde(rename = "ERROR: 1001")]
    E1001,
    /// 120 times `ERROR_ZERO_BALANCE` in a minute: nothing for 300 s.
    #[serde(rename = "ERROR: 1002")]
    E1002,
    /// Three times as many `ERROR_NO_SLOT_AVAILABLE` as tasks, and at least 120: nothing for 30 s.
    #[serde(rename = "ERROR: 1003")]
    E1003,
    /// More requests to `res.php` than 20 for each task and 1,200 beside: nothing for 300 s.
    #[serde(rename = "ERROR: 1005")]
    E1005,
}

/// Its body beside HTTP 429.
pub(super) const TOO_MUCH: &str = "ERROR_TOO_MUCH_REQUESTS";

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const TURN: Duration = Duration::from_secs(3);
const MOST_IN_A_TURN: usize = 60;
const MOST_REFUSALS: usize = 120;
/// SECURITY: an address costs memory; nobody tests with more.
const MOST_ADDRESSES: usize = 10_000;

/// Why a call is refused before it does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) code: &'static str,
    /// An HTTP 429, and for how long.
    pub(super) retry_after: Option<Duration>,
    /// The limit that this very call broke. Calls during a ban break none.
    pub(super) violation: Option<&'static str>,
}

/// What an account has called.
#[derive(Debug, Default)]
pub(super) struct Usage {
    requests: Window,
    submits: Window,
    no_slot: Window,
    zero_balance: Window,
    /// Since the last 1003. The vendors name no span for this count and for the next.
    no_slot_in_all: u64,
    tasks_beside_no_slot: u64,
    /// Since the last 1005.
    results: u64,
    tasks_beside_results: u64,
    banned: Option<(Ban, Instant)>,
}

impl Limits {
    pub(super) fn of_address(&self, dialect: Dialect) -> AddressBan {
        let (code, documented) = match dialect {
            Dialect::Captchaai => ("IP_BANNED", Duration::from_secs(300)),
            Dialect::Twocaptcha => ("ERROR: 1004", Duration::from_secs(600)),
        };
        AddressBan {
            code,
            after: self.ban_after,
            lasts: match self.ban_ms {
                0 => documented,
                ms => Duration::from_millis(ms),
            },
        }
    }

    fn has(&self, ban: Ban) -> bool {
        self.bans.contains(&ban)
    }
}

impl Usage {
    /// Counts a call that arrives, and says whether it may go on.
    pub(super) fn arrive(
        &mut self,
        limits: &Limits,
        is_submit: bool,
        now: Instant,
    ) -> Result<(), Stop> {
        if let Some((ban, _)) = self.ban(now)
            && (is_submit || ban != Ban::MaxUserTurn)
        {
            return Err(Stop::code(ban.code()));
        }
        let most = limits.requests_per_second as usize;
        // A refused one is not counted, or who never pauses would never be let in again.
        if most > 0 && self.requests.count(SECOND, now) >= most {
            return Err(Stop {
                retry_after: self.requests.first_leaves(SECOND, now),
                ..Stop::violation(TOO_MUCH)
            });
        }
        if most > 0 {
            self.requests.add(now);
        }
        let exceeded = if is_submit {
            self.submit_arrives(limits, now)
        } else {
            self.result_arrives(limits)
        };
        match exceeded {
            Some(ban) => {
                self.start(ban, now);
                Err(Stop::violation(ban.code()))
            }
            None => Ok(()),
        }
    }

    /// Counts the answer of a submit that went on: a task, or the code that refused it. Which limits that broke.
    pub(super) fn submitted(
        &mut self,
        limits: &Limits,
        refusal: Option<&str>,
        now: Instant,
    ) -> Vec<&'static str> {
        let mut exceeded = Vec::new();
        match refusal {
            None => {
                self.tasks_beside_no_slot += 1;
                self.tasks_beside_results += 1;
            }
            Some("ERROR_NO_SLOT_AVAILABLE") => {
                if limits.has(Ban::E1001)
                    && self.no_slot.add_and_count(MINUTE, now) >= MOST_REFUSALS
                {
                    exceeded.push(Ban::E1001);
                }
                self.no_slot_in_all += 1;
                if limits.has(Ban::E1003)
                    && self.no_slot_in_all >= MOST_REFUSALS as u64
                    && self.no_slot_in_all >= 3 * self.tasks_beside_no_slot
                {
                    exceeded.push(Ban::E1003);
                }
            }
            Some("ERROR_ZERO_BALANCE")
                if limits.has(Ban::E1002)
                    && self.zero_balance.add_and_count(MINUTE, now) >= MOST_REFUSALS =>
            {
                exceeded.push(Ban::E1002);
            }
            Some(_) => {}
        }
        for ban in &exceeded {
            self.start(*ban, now);
        }
        exceeded.into_iter().map(Ban::code).collect()
    }

    /// The ban in force, and its end.
    pub(super) fn ban(&self, now: Instant) -> Option<(Ban, Instant)> {
        self.banned.filter(|(_, until)| now < *until)
    }

    fn submit_arrives(&mut self, limits: &Limits, now: Instant) -> Option<Ban> {
        (limits.has(Ban::MaxUserTurn) && self.submits.add_and_count(TURN, now) > MOST_IN_A_TURN)
            .then_some(Ban::MaxUserTurn)
    }

    fn result_arrives(&mut self, limits: &Limits) -> Option<Ban> {
        self.results += 1;
        (limits.has(Ban::E1005) && self.results > self.tasks_beside_results * 20 + 1200)
            .then_some(Ban::E1005)
    }

    /// What led to the ban is forgotten with it. Of two bans the one that ends later is in force.
    fn start(&mut self, ban: Ban, now: Instant) {
        match ban {
            Ban::MaxUserTurn => self.submits = Window::default(),
            Ban::E1001 => self.no_slot = Window::default(),
            Ban::E1002 => self.zero_balance = Window::default(),
            Ban::E1003 => (self.no_slot_in_all, self.tasks_beside_no_slot) = (0, 0),
            Ban::E1005 => (self.results, self.tasks_beside_results) = (0, 0),
        }
        let until = now + ban.lasts();
        if self.ban(now).is_none_or(|(_, end)| end < until) {
            self.banned = Some((ban, until));
        }
    }
}

impl Ban {
    pub const ALL: [Self; 5] = [
        Self::MaxUserTurn,
        Self::E1001,
        Self::E1002,
        Self::E1003,
        Self::E1005,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::MaxUserTurn => "MAX_USER_TURN",
            Self::E1001 => "ERROR: 1001",
            Self::E1002 => "ERROR: 1002",
            Self::E1003 => "ERROR: 1003",
            Self::E1005 => "ERROR: 1005",
        }
    }

    fn lasts(self) -> Duration {
        Duration::from_secs(match self {
            Self::MaxUserTurn => 10,
            Self::E1001 => 600,
            Self::E1002 | Self::E1005 => 300,
            Self::E1003 => 30,
        })
    }
}

impl Stop {
    pub(super) fn code(code: &'static str) -> Self {
        Self {
            code,
            retry_after: None,
            violation: None,
        }
    }

    fn violation(code: &'static str) -> Self {
        Self {
            violation: Some(code),
            ..Self::code(code)
        }
    }
}

/// When the last things happened. Its rule bounds it: at the limit a ban empties it.
#[derive(Debug, Default)]
struct Window {
    times: VecDeque<Instant>,
}

impl Window {
    fn add(&mut self, now: Instant) {
        self.times.push_back(now);
    }

    /// How many are not older than `span`.
    fn count(&mut self, span: Duration, now: Instant) -> usize {
        while self.times.front().is_some_and(|time| *time + span <= now) {
            self.times.pop_front();
        }
        self.times.len()
    }

    fn add_and_count(&mut self, span: Duration, now: Instant) -> usize {
        self.add(now);
        self.count(span, now)
    }

    fn first_leaves(&self, span: Duration, now: Instant) -> Option<Duration> {
        self.times
            .front()
            .map(|time| (*time + span).saturating_duration_since(now))
    }
}

/// The addresses that brought bad keys.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    bad_keys: HashMap<IpAddr, BadKeys>,
}

#[derive(Debug, Default)]
struct BadKeys {
    count: u32,
    banned_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct AddressBan {
    pub(super) code: &'static str,
    after: u32,
    lasts: Duration,
}

impl Addresses {
    pub(super) fn is_banned(&mut self, from: IpAddr, now: Instant) -> bool {
        match self.bad_keys.get(&from).and_then(|bad| bad.banned_until) {
            Some(until) if now < until => true,
            Some(_) => {
                self.bad_keys.remove(&from);
                false
            }
            None => false,
        }
    }

    /// Whether this bad key gets the address banned.
    pub(super) fn bad_key(&mut self, from: IpAddr, ban: AddressBan, now: Instant) -> bool {
        let is_full = self.bad_keys.len() >= MOST_ADDRESSES && !self.bad_keys.contains_key(&from);
        if ban.after == 0 || is_full {
            return false;
        }
        let bad = self.bad_keys.entry(from).or_default();
        bad.count += 1;
        if bad.count < ban.after {
            return false;
        }
        bad.banned_until = Some(now + ban.lasts);
        true
    }
}
