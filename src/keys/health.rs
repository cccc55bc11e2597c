//! How a key is doing, judged only on what the vendor answered about it.
//!
//! ```text
//!               probe passed                      busy code
//!   unproven ───────────────▶ healthy ──────────────────────────▶ cooling(until)
//!      │                      ▲ │ │ ▲                                  │
//!      │                      │ │ │ └──────────── until ───────────────┘
//!      │   probe: has money   │ │ │ bad-key code        probe passed (and doubted from then on)
//!      │ ┌────────────────────┘ │ └─────────▶ suspect ─────────────────▶ healthy
//!      │ │         empty code   │                │
//!      │ empty(next probe) ◀────┘                │ probe: bad
//!      │                                         ▼
//!      └────────── probe: bad ───────────▶ revoked(next probe)
//! ```
//! An accepted call leads from anywhere but cooling and empty back to healthy: the vendor took the key. A key that was
//! refused as bad again although its probe had passed (*doubted*) cools for long instead of being probed once more.
//! Disabled by hand lies over all of it, and a probe may be asked for by hand at any time. Pure: `now` and chance are parameters.

use std::time::Duration;

use tokio::time::Instant;

use super::state::{Described, State};
use crate::vendor::profile::{Class, CodeRule};

#[derive(Clone, Debug)]
pub struct Health {
    condition: Condition,
    since: Instant,
    /// When cooling ends, or when the next probe is due. Within one condition it only ever moves later.
    until: Instant,
    polls_rest_until: Instant,
    /// The vendor's word that led here.
    code: Option<String>,
    proven: bool,
    doubted: bool,
    disabled: bool,
    probing: bool,
    /// A hand wants a probe, due or not.
    asked: bool,
    probed: Option<(Instant, Evidence)>,
    /// Refusals or probes in a row that brought nothing; lengthens what comes next.
    streak: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The vendor has not accepted it yet.
    Unproven,
    Healthy,
    /// Refused for the time being.
    Cooling,
    /// Called bad by an answer to a client's call, which that client may be to blame for.
    Suspect,
    Empty,
    /// Called bad by an answer to our own probe.
    Revoked,
}

/// What our own probe of a key brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    Passed,
    Refused {
        code: String,
        rule: CodeRule,
    },
    /// No usable answer: says nothing about the key.
    Nothing,
}

/// What the vendor accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    Submit,
    /// A poll, a report, an account call: the key is good, but may be busy or empty.
    Other,
}

impl Health {
    pub fn new(now: Instant) -> Self {
        Self {
            condition: Condition::Unproven,
            since: now,
            until: now,
            polls_rest_until: now,
            code: None,
            proven: false,
            doubted: false,
            disabled: false,
            probing: false,
            asked: false,
            probed: None,
            streak: 0,
        }
    }

    /// A key of which the store remembers that the vendor accepted it.
    pub fn known_good(now: Instant) -> Self {
        Self {
            condition: Condition::Healthy,
            proven: true,
            ..Self::new(now)
        }
    }

    pub fn is_proven(&self) -> bool {
        self.proven
    }

    pub fn is_disabled(&self) -> bool {
        self.disabled
    }

    pub fn condition(&self, now: Instant) -> Condition {
        match self.condition {
            Condition::Cooling if self.until <= now && self.proven => Condition::Healthy,
            Condition::Cooling if self.until <= now => Condition::Unproven,
            condition => condition,
        }
    }

    pub fn may_submit(&self, now: Instant) -> bool {
        !self.disabled && self.condition(now) == Condition::Healthy
    }

    /// When cooling ends by itself.
    pub fn cools_until(&self, now: Instant) -> Option<Instant> {
        (!self.disabled && self.condition(now) == Condition::Cooling).then_some(self.until)
    }

    /// Set while the vendor wants no polls of this account. No answer to a submit ends that.
    pub fn polls_rest_until(&self, now: Instant) -> Option<Instant> {
        Some(self.polls_rest_until).filter(|until| *until > now)
    }

    /// Polls with such a key would be further bad-key answers.
    pub fn is_called_bad(&self, now: Instant) -> bool {
        matches!(self.condition(now), Condition::Suspect | Condition::Revoked)
    }

    pub fn wants_probe(&self, now: Instant) -> bool {
        let is_due = self.is_probed_by_itself(now) && self.until <= now;
        (is_due || self.asked) && !self.probing
    }

    /// A hand wants one that has not begun.
    pub fn is_asked(&self) -> bool {
        self.asked
    }

    /// One is asked for or under way.
    pub fn awaits_probe(&self) -> bool {
        self.asked || self.probing
    }

    /// The next time at which `wants_probe` or `may_submit` changes by itself.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        let cools = !self.disabled && self.condition(now) == Condition::Cooling;
        let waits = !self.probing && (cools || self.is_probed_by_itself(now));
        (waits && self.until > now).then_some(self.until)
    }

    /// When a probe is due, unless one is under way.
    pub fn next_probe(&self, now: Instant) -> Option<Instant> {
        let waits = self.asked || self.is_probed_by_itself(now);
        let due = if self.asked { now } else { self.until.max(now) };
        (waits && !self.probing).then_some(due)
    }

    fn is_probed_by_itself(&self, now: Instant) -> bool {
        match self.condition(now) {
            Condition::Healthy | Condition::Cooling => false,
            // Its tasks wait for the outcome, also while it is disabled.
            Condition::Suspect => true,
            Condition::Unproven | Condition::Empty | Condition::Revoked => !self.disabled,
        }
    }

    /// One probe at a time: false when one is under way.
    pub fn begin_probe(&mut self) -> bool {
        let begins = !std::mem::replace(&mut self.probing, true);
        self.asked &= !begins;
        begins
    }

    /// `chance` is in [0, 1).
    pub fn end_probe(&mut self, evidence: Evidence, now: Instant, chance: f64) {
        self.probing = false;
        self.probed = Some((now, evidence.clone()));
        let stays = matches!(self.condition(now), Condition::Healthy | Condition::Cooling);
        match evidence {
            // A probe asked for by hand ends no rest that the vendor demands.
            Evidence::Passed if self.condition(now) == Condition::Cooling => self.proven = true,
            Evidence::Passed if self.must_rest_empty(now) => {
                self.proven = true;
                self.until = self.since + SHORTEST_EMPTY;
            }
            Evidence::Passed => {
                self.doubted = self.condition == Condition::Suspect;
                self.proven = true;
                self.enter(Condition::Healthy, now, now, None);
            }
            Evidence::Refused { code, rule } => match rule.class {
                Class::KeyBad => {
                    self.proven = false;
                    let rest =
                        lengthened(REVOKED, LONGEST_REVOKED, self.streak_in(Condition::Revoked));
                    self.enter(
                        Condition::Revoked,
                        now,
                        now + jittered(rest, chance),
                        Some(code),
                    );
                }
                Class::KeyEmpty => self.empty(code, rule, now, chance),
                Class::KeyBusy => {
                    let until = now + jittered(rule.cooldown.max(PROBE_PAUSE), chance);
                    self.until = self.until.max(until);
                    self.rest_polls(rule, rule.cooldown, now, chance);
                }
                Class::EgressIp | Class::Request | Class::NoTask | Class::Task | Class::Server => {
                    self.probe_again(now, chance);
                }
            },
            Evidence::Nothing if stays => {}
            Evidence::Nothing => self.probe_again(now, chance),
        }
    }

    /// `began` is when the call was sent: an answer to an earlier call does not refute what was said since.
    pub fn accepted(&mut self, what: Accepted, began: Instant, now: Instant) {
        if self.is_called_bad(now) && began < self.since {
            return;
        }
        self.proven = true;
        let back = match self.condition(now) {
            Condition::Unproven | Condition::Suspect | Condition::Revoked => true,
            Condition::Cooling | Condition::Empty => what == Accepted::Submit,
            Condition::Healthy => false,
        };
        if back {
            self.enter(Condition::Healthy, now, now, None);
        }
        if what == Accepted::Submit {
            self.streak = 0;
            self.doubted = false;
        }
    }

    /// The vendor refused a client's call and blamed the key.
    pub fn refused(
        &mut self,
        code: &str,
        rule: CodeRule,
        retry_after: Option<Duration>,
        now: Instant,
        chance: f64,
    ) {
        let rest = retry_after.unwrap_or(rule.cooldown);
        self.rest_polls(rule, rest, now, chance);
        match rule.class {
            Class::KeyBad if self.is_called_bad(now) => {}
            Class::KeyBad if self.doubted => {
                let rest = lengthened(DOUBTED, LONGEST_DOUBTED, self.streak);
                self.cool(code.to_owned(), rest, now, chance);
            }
            Class::KeyBad => self.enter(Condition::Suspect, now, now, Some(code.to_owned())),
            // Several calls that were under way together bring one refusal each: only the first counts.
            Class::KeyEmpty if self.condition(now) == Condition::Empty => {
                self.until = self.until.max(now + rest);
            }
            Class::KeyEmpty => self.empty(
                code.to_owned(),
                CodeRule {
                    cooldown: rest,
                    ..rule
                },
                now,
                chance,
            ),
            Class::KeyBusy => self.cool(code.to_owned(), rest, now, chance),
            Class::EgressIp | Class::Request | Class::NoTask | Class::Task | Class::Server => {}
        }
    }

    /// By hand: no new submits until it is enabled again, or until the process ends.
    pub fn disable(&mut self, now: Instant) {
        if !self.disabled {
            self.disabled = true;
            self.since = now;
        }
    }

    /// By hand: goes on where it was. What was not healthy is probed at once.
    pub fn enable(&mut self, now: Instant) {
        if self.disabled {
            self.disabled = false;
            self.since = now;
            self.asked |= self.condition(now) != Condition::Healthy;
        }
    }

    /// By hand: one more probe now. A healthy key goes on working meanwhile.
    pub fn ask_for_probe(&mut self) {
        self.asked = true;
    }

    pub fn describe(&self, now: Instant) -> Described {
        let condition = self.condition(now);
        let state = match condition {
            _ if self.disabled => State::Disabled,
            Condition::Unproven => State::Unproven,
            Condition::Healthy => State::Healthy,
            Condition::Cooling => State::Cooling,
            Condition::Suspect => State::Suspect,
            Condition::Empty => State::Empty,
            Condition::Revoked => State::Revoked,
        };
        let settled = self.disabled || condition == Condition::Healthy;
        Described {
            state,
            since: self.since,
            until: (!settled).then_some(self.until),
            why: self.code.clone().filter(|_| !settled),
            probed: self.probed.clone(),
        }
    }

    /// Refused for want of money so short a time ago that no probe counts.
    fn must_rest_empty(&self, now: Instant) -> bool {
        self.condition == Condition::Empty && now < self.since + SHORTEST_EMPTY
    }

    fn cool(&mut self, code: String, rest: Duration, now: Instant, chance: f64) {
        // Several calls that were under way together bring one refusal each: only the first counts.
        let again = self.condition(now) != Condition::Cooling;
        let streak = if again {
            self.streak
        } else {
            self.streak.saturating_sub(1)
        };
        let rest = lengthened(rest.max(SHORTEST_REST), rest.max(LONGEST_COOLING), streak);
        let until = now + jittered(rest, chance);
        if again {
            self.streak = self.streak.saturating_add(1);
            // From suspect, empty and revoked only a probe or the vendor leads away.
            if matches!(
                self.condition(now),
                Condition::Unproven | Condition::Healthy
            ) {
                self.enter(Condition::Cooling, now, until, Some(code));
            }
        } else if until > self.until {
            self.until = until;
            self.code = Some(code);
        }
    }

    /// Not lengthened by repeats: the streak counts refused submits, and a task that is solved must not be heard of late.
    fn rest_polls(&mut self, rule: CodeRule, rest: Duration, now: Instant, chance: f64) {
        if rule.polls {
            let until = now + jittered(rest.max(SHORTEST_REST), chance);
            self.polls_rest_until = self.polls_rest_until.max(until);
        }
    }

    fn empty(&mut self, code: String, rule: CodeRule, now: Instant, chance: f64) {
        let rest = rule.cooldown.max(SHORTEST_EMPTY);
        let rest = lengthened(rest, LONGEST_EMPTY, self.streak_in(Condition::Empty));
        let until = now + jittered(rest, chance);
        self.enter(Condition::Empty, now, until, Some(code));
    }

    fn probe_again(&mut self, now: Instant, chance: f64) {
        let pause = lengthened(PROBE_PAUSE, LONGEST_PROBE_PAUSE, self.streak);
        self.streak = self.streak.saturating_add(1);
        self.until = now + jittered(pause, chance);
    }

    /// How often this condition was confirmed in a row, this time included.
    fn streak_in(&mut self, condition: Condition) -> u32 {
        let before = if self.condition == condition {
            self.streak
        } else {
            0
        };
        self.streak = before.saturating_add(1);
        before
    }

    fn enter(&mut self, condition: Condition, now: Instant, until: Instant, code: Option<String>) {
        if self.condition != condition {
            self.since = now;
            self.until = until;
        } else {
            self.until = self.until.max(until);
        }
        if condition == Condition::Healthy {
            self.until = now;
        }
        self.condition = condition;
        self.code = code;
    }
}

/// Doubled for each time in a row.
fn lengthened(first: Duration, longest: Duration, streak: u32) -> Duration {
    first.saturating_mul(1 << streak.min(10)).min(longest)
}

/// Up to a tenth longer, so that keys which failed together do not return together. Never shorter: a ban is a ban.
fn jittered(rest: Duration, chance: f64) -> Duration {
    rest + rest.mul_f64(chance.clamp(0.0, 1.0) / 10.0)
}

/// A profile may name none; without any rest one submit would hammer the key until its deadline.
const SHORTEST_REST: Duration = Duration::from_millis(250);
/// Longer than that a busy key is not left alone by our own doubling; a vendor's own longer time stands.
const LONGEST_COOLING: Duration = Duration::from_secs(60);
/// "Set the timeout to 60 seconds" (2captcha), whatever a probe says.
const SHORTEST_EMPTY: Duration = Duration::from_secs(60);
const LONGEST_EMPTY: Duration = Duration::from_secs(600);
/// An account may be renewed; asking costs one of three bad-key answers in ten minutes.
const REVOKED: Duration = Duration::from_secs(600);
const LONGEST_REVOKED: Duration = Duration::from_secs(3600);
const DOUBTED: Duration = Duration::from_secs(600);
const LONGEST_DOUBTED: Duration = Duration::from_secs(3600);
/// After a probe that brought nothing.
const PROBE_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PROBE_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
