//! What becomes of a poll. Pure: the clock is a parameter, and nothing here waits.
//!
//! ```text
//!        an answer is kept for this view, or a final code ──────► Kept
//!        a call in this view is on its way ─────────────────────► Join
//! poll   the task is younger than `poll.first` ─────────────────► Say not-ready
//!        the vendor spoke less than `poll.pace` ago, and
//!            after this poll came, or clients poll that often ──► Say the same again
//!            else ──────────────────────────────────────────────► Wait for the pace to end
//!        else ──────────────────────────────────────────────────► Ask
//! ```
//! Whoever asks less often than once a pace is never answered from memory: it would hear late by its own long pause.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::settings::Poll as Rules;
use crate::vendor::relay::Relay;

/// How long a task counts as alive after its submit or its last not-ready.
pub const LEASE: Duration = Duration::from_secs(300);
/// Clients pause 20 s at most. A task that none has polled for this long is followed by Sidekey itself.
pub const ABANDONED: Duration = Duration::from_secs(30);
/// Clients wait 600 s at most. A vendor that says not-ready for ever is not asked for ever.
pub const LONGEST_FOLLOWED: Duration = Duration::from_secs(1800);

/// Answers are the same only for polls that ask for the same thing in the same form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub action: Action,
    pub json: bool,
    pub header_acao: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    None,
    Get,
    Get2,
    /// A piece of the answer to `ids=`.
    Piece,
}

/// What a client hears of its task.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// The vendor's own bytes.
    Relay(Relay),
    Word(Word),
}

/// What can be said in any form.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    NotReady,
    Code(Arc<str>),
    /// The vendor gave no usable answer.
    Trouble,
    /// No key is known any more that could ask for the task.
    Gone,
}

/// What an answer of the vendor's says about the task.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    NotReady,
    /// A code that ends nothing.
    Code(Arc<str>),
    /// The end, with the code if it is one.
    Final(Option<Arc<str>>),
    /// Something is there, or nobody can tell from the answer for many: it must be asked for by itself.
    AskAlone,
    Trouble,
}

/// One poll of a client, as long as it waits.
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    pub came: Instant,
    /// The one before it came at most a pace earlier.
    often: bool,
}

/// What to do with a poll now.
#[derive(Debug)]
pub enum Step {
    Kept(Heard),
    Say(Word),
    Join(Flight),
    Wait(Instant),
    Ask(watch::Sender<Option<Heard>>),
}

/// The waiting side of a call in one view. Closed without an answer when the client that asked has left.
pub type Flight = watch::Receiver<Option<Heard>>;

/// Where a task stands.
#[derive(Debug)]
pub(super) struct Course {
    submitted: Instant,
    /// The last poll or report of a client.
    used: Instant,
    /// When the store was told last that the task is in use.
    noted: Instant,
    polled: Option<Instant>,
    often: bool,
    leased: Instant,
    finished: bool,
    /// Finished by the end of its lease: an answer that comes after all still counts.
    expired: bool,
    final_code: Option<Arc<str>>,
    /// At most one for each view, of which there are few.
    kept: Vec<(View, Relay)>,
    /// The vendor's last word, unless it is better asked again.
    last: Option<(Instant, Word)>,
    asked: Option<Instant>,
    ask_alone: bool,
    flights: Vec<(View, Flight)>,
    /// The answer for many that this task waits for.
    travel: Option<CancellationToken>,
    /// Whether it stands among its account's travellers.
    pub(super) is_listed: bool,
    trouble_since: Option<Instant>,
}

impl Course {
    pub(super) fn new(submitted: Instant, used: Instant, now: Instant, finished: bool) -> Self {
        Self {
            submitted,
            used,
            noted: now,
            polled: None,
            often: false,
            leased: used.max(submitted),
            finished,
            expired: false,
            final_code: None,
            kept: Vec::new(),
            last: None,
            asked: None,
            ask_alone: false,
            flights: Vec::new(),
            travel: None,
            is_listed: false,
            trouble_since: None,
        }
    }

    /// A poll of a client has come.
    pub(super) fn arrive(&mut self, rules: &Rules, now: Instant) -> Poll {
        let since = self.polled.map(|polled| now.duration_since(polled));
        self.often = since.is_some_and(|since| since <= rules.pace);
        self.polled = Some(now);
        self.used = now;
        Poll {
            came: now,
            often: self.often,
        }
    }

    pub(super) fn step(&mut self, view: View, poll: Poll, rules: &Rules, now: Instant) -> Step {
        if let Some(heard) = self.kept(view) {
            return Step::Kept(heard);
        }
        let flight = self.flights.iter().find(|(out, _)| *out == view);
        if let Some((_, flight)) = flight {
            return Step::Join(flight.clone());
        }
        if !self.finished && now < self.submitted + rules.first {
            return Step::Say(Word::NotReady);
        }
        if let Some((at, word)) = &self.last
            && now < *at + rules.pace
        {
            return if poll.often || *at > poll.came {
                Step::Say(word.clone())
            } else {
                Step::Wait(*at + rules.pace)
            };
        }
        let (pilot, flight) = watch::channel(None);
        self.flights.push((view, flight));
        Step::Ask(pilot)
    }

    /// What memory says to a poll that does not wait.
    pub(super) fn recall(
        &self,
        view: View,
        poll: Poll,
        rules: &Rules,
        now: Instant,
    ) -> Option<Heard> {
        let said = self.last.as_ref().filter(|(at, _)| now < *at + rules.pace);
        let said = said.filter(|_| poll.often).map(|(_, word)| word.clone());
        let early = !self.finished && now < self.submitted + rules.first;
        self.kept(view)
            .or_else(|| early.then_some(Heard::Word(Word::NotReady)))
            .or_else(|| said.map(Heard::Word))
    }

    fn kept(&self, view: View) -> Option<Heard> {
        let kept = self.kept.iter().find(|(kept, _)| *kept == view);
        let code = || self.final_code.clone().map(Word::Code).map(Heard::Word);
        kept.map(|(_, relay)| Heard::Relay(relay.clone()))
            .or_else(code)
    }

    /// True when the task has come to its end by this.
    pub(super) fn hear(&mut self, news: News, now: Instant) -> bool {
        self.asked = Some(now);
        if news != News::Trouble {
            self.trouble_since = None;
        }
        let mut word = None;
        match news {
            News::NotReady => {
                self.leased = now;
                word = Some(Word::NotReady);
            }
            News::Code(code) => word = Some(Word::Code(code)),
            News::Trouble => word = Some(Word::Trouble),
            News::AskAlone => {}
            News::Final(code) => {
                self.final_code = code;
                return self.end();
            }
        }
        self.ask_alone = word.is_none();
        // A straggler's not-ready does not bring an ended task back.
        self.last = word.filter(|_| !self.finished).map(|word| (now, word));
        false
    }

    fn end(&mut self) -> bool {
        self.last = None;
        self.ask_alone = false;
        let was_finished = std::mem::replace(&mut self.finished, true);
        !was_finished || std::mem::take(&mut self.expired)
    }

    pub(super) fn expire(&mut self) {
        self.expired = self.end();
    }

    pub(super) fn keep(&mut self, view: View, relay: Relay) {
        self.let_go(view);
        self.kept.push((view, relay));
    }

    pub(super) fn let_go(&mut self, view: View) {
        self.kept.retain(|(kept, _)| *kept != view);
    }

    pub(super) fn land(&mut self, view: View) {
        self.flights.retain(|(out, _)| *out != view);
    }

    /// The vendor's last word, if it came after `since`.
    pub(super) fn word_since(&self, since: Instant) -> Option<Word> {
        let last = self.last.as_ref().filter(|(at, _)| *at >= since);
        last.map(|(_, word)| word.clone())
    }

    pub(super) fn must_ask_alone(&self) -> bool {
        self.ask_alone || self.finished
    }

    /// The vendor has never been asked.
    pub(super) fn is_fresh(&self) -> bool {
        self.asked.is_none()
    }

    pub(super) fn travel(&self) -> Option<CancellationToken> {
        self.travel.clone()
    }

    pub(super) fn set_travel(&mut self, landed: Option<CancellationToken>) {
        self.travel = landed;
    }

    /// Nobody waits for it now, but somebody will soon, and then it would need a call: it may as well travel with others.
    pub(super) fn rides_along(&self, rules: &Rules, now: Instant) -> bool {
        let within =
            |at: Option<Instant>, time| at.is_some_and(|at| now.duration_since(at) <= time);
        let spoke = self.last.as_ref().map(|(at, _)| *at);
        self.often
            && within(self.polled, rules.pace)
            && spoke.is_some()
            && !within(spoke, rules.pace / 2)
            && self.travel.is_none()
            && self.flights.is_empty()
            && !self.must_ask_alone()
    }

    pub(super) fn is_polled(&self, now: Instant) -> bool {
        !self.finished && now.duration_since(self.used) < ABANDONED
    }

    /// Whether nobody but Sidekey itself asks for the task.
    pub(super) fn follow_up(&self, between: Duration, now: Instant) -> FollowUp {
        let waited_for = !self.flights.is_empty() || self.travel.is_some();
        if self.finished || waited_for || now.duration_since(self.used) < ABANDONED {
            return FollowUp::No;
        }
        let given_up = now.duration_since(self.used) >= LONGEST_FOLLOWED;
        if given_up || now.duration_since(self.leased) >= LEASE {
            return FollowUp::End;
        }
        match self.asked {
            Some(asked) if now.duration_since(asked) < between => FollowUp::No,
            asked => FollowUp::Ask(asked),
        }
    }

    pub(super) fn is_forgettable(&self, remember: Duration, now: Instant) -> bool {
        let unused = now.duration_since(self.used);
        unused >= remember && self.kept.is_empty() && (self.finished || unused >= LONGEST_FOLLOWED)
    }

    pub(super) fn unused_for(&self, now: Instant) -> Duration {
        now.duration_since(self.used)
    }

    pub(super) fn use_now(&mut self, now: Instant) {
        self.used = now;
    }

    /// Seldom: the store's time only has to be right within a part of `keep`, and while the task runs of its lease, because
    /// after a restart it has its slot until then. Other replicas must hear sooner.
    pub(super) fn is_to_be_noted(&mut self, within: Duration, now: Instant) -> bool {
        let every = if self.finished {
            within
        } else {
            within.min(LEASE / 4)
        };
        let due = now.duration_since(self.noted) >= every;
        if due {
            self.noted = now;
        }
        due
    }

    /// A client polls it at another replica, which hears what the vendor says.
    pub(super) fn used_elsewhere(&mut self, used: Instant) {
        self.used = self.used.max(used);
        self.leased = self.leased.max(used);
    }

    /// Another replica has settled it, or the store has not heard of it yet: an answer that comes here is settled all the
    /// same, which changes nothing where it was.
    pub(super) fn ended_elsewhere(&mut self) {
        self.finished = true;
        self.expired = true;
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(super) fn trouble(&mut self, now: Instant) -> Instant {
        *self.trouble_since.get_or_insert(now)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FollowUp {
    No,
    /// With the time of the last asking.
    Ask(Option<Instant>),
    /// Its lease is over.
    End,
}

#[cfg(test)]
mod tests;
