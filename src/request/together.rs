//! One call that asks for many tasks of one account, where the vendor takes that.
//!
//! The answer is a list of pieces, and a piece has lost the shape that an answer by itself has: prices, user agents, objects. So a piece
//! only tells whether a task is still not ready; for anything else its client's own request goes out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Server;
use super::admit::Caller;
use super::forward::{Answered, Route, Sending, Unanswered, forward};
use super::poll::{Owner, POLL_PATIENCE, Relayed, hears, owner, relayed};
use super::respond::Relay;
use super::trace::Trace;
use crate::live::Snapshot;
use crate::tasks::Task;
use crate::tasks::company::{Boarded, Boarding};
use crate::tasks::course::{Heard, News, Word};
use crate::vendor::answer::{self, Asked, Reading};
use crate::vendor::profile::Profile;
use crate::wire::Hints;

/// How long a poll that is due waits for others.
const GATHER: Duration = Duration::from_millis(30);
/// How long first polls wait for others, as a part of the pace: what a task may be heard late by, it may be in parts.
const GATHER_FIRST: u32 = 4;

/// Waits for a call for many that includes this task. `None`: it must be asked for by itself.
pub(super) async fn ask(
    server: &Arc<Server>,
    snapshot: &Arc<Snapshot>,
    task: &Arc<Task>,
    came: Instant,
    deadline: Instant,
) -> Option<Word> {
    if !snapshot.settings.vendor.profile.takes.ids {
        return None;
    }
    let landed = match server.companies.board(task, Instant::now()) {
        Boarded::Alone => return None,
        Boarded::Aboard(landed, boarding) => {
            if let Some(boarding) = boarding {
                let (server, snapshot) = (Arc::clone(server), Arc::clone(snapshot));
                let background = server.background.clone();
                // Detached: it answers for others too when this client leaves.
                background.spawn(travel(server, snapshot, boarding));
            }
            landed
        }
    };
    match timeout_at(deadline, landed.cancelled()).await {
        Ok(()) => task.word_since(came),
        Err(_) => Some(Word::Trouble),
    }
}

async fn travel(server: Arc<Server>, snapshot: Arc<Snapshot>, boarding: Arc<Boarding>) {
    let rules = &snapshot.settings.poll;
    // Over when somebody hurries.
    let _ = timeout(rules.pace / GATHER_FIRST, boarding.hurries()).await;
    sleep(GATHER).await;
    let passengers = server.companies.depart(&boarding, rules, Instant::now());
    let tasks = &passengers.tasks;
    let came_to = match tasks.len() {
        // Nobody came along: the client's own request says more.
        0 | 1 => Together::Unclear,
        _ => {
            let mut trace = Trace::own();
            let deadline = Instant::now() + POLL_PATIENCE;
            let route = Route::new(Caller::OWN, Asked::Poll, deadline);
            ask_vendor(&server, &snapshot, tasks, &route, &mut trace).await
        }
    };
    let news = |place: usize| match &came_to {
        Together::Pieces(pieces) if is_not_ready(&pieces[place]) => Some(News::NotReady),
        Together::Pieces(_) | Together::Unclear => Some(News::AskAlone),
        Together::Trouble => Some(News::Trouble),
        Together::NotNow | Together::NotAsked => None,
    };
    for (place, task) in tasks.iter().enumerate() {
        if let Some(news) = news(place) {
            hears(&server, &snapshot, task, news, None);
        }
    }
}

pub(super) enum Together {
    /// One for each task.
    Pieces(Vec<String>),
    /// The vendor answered, but nobody can tell which piece belongs to which task: answers may contain the separator.
    Unclear,
    Trouble,
    /// Their account may not be asked now.
    NotNow,
    /// No key may be used for them now.
    NotAsked,
}

fn is_not_ready(piece: &str) -> bool {
    matches!(piece, "CAPCHA_NOT_READY" | "CAPTCHA_NOT_READY")
}

/// The tasks must be those of one account, and few enough for one call.
pub(super) async fn ask_vendor(
    server: &Server,
    snapshot: &Snapshot,
    tasks: &[Arc<Task>],
    route: &Route<'_>,
    trace: &mut Trace,
) -> Together {
    let Some(first) = tasks.first() else {
        return Together::NotAsked;
    };
    let ids: Vec<&str> = tasks.iter().map(|task| &*task.record.key.id).collect();
    let ids = ids.join(",");
    let mut came_to = Together::NotAsked;
    // Twice at most, as a poll of one task.
    for _ in 0..2 {
        let key = match owner(server, &snapshot.keys, first, Instant::now()) {
            Owner::Ask(key) => key,
            Owner::Later => break,
            // Each by itself is told that its key is gone.
            Owner::Gone => return Together::Unclear,
        };
        trace.uses(key);
        // JSON, because the text form of this answer is documented nowhere.
        let sending = Sending::own(
            key,
            &[("action", b"get"), ("ids", ids.as_bytes()), ("json", b"1")],
        );
        let answered = match forward(server, snapshot, sending, route, trace).await {
            Ok(answered) => answered,
            Err(Unanswered::NotNow) => return Together::NotNow,
            Err(Unanswered::Failed(_)) => return Together::Trouble,
        };
        if answered.reading == Reading::Final {
            let pieces = answer::pieces(&answered.relay.body);
            let pieces = pieces.filter(|pieces| pieces.len() == tasks.len());
            return pieces.map_or(Together::Unclear, Together::Pieces);
        }
        came_to = match relayed(answered, route.caller.hints) {
            Relayed::KeyBad => {
                came_to = Together::Trouble;
                continue;
            }
            // A code about the request: this vendor does not take `ids=` after all.
            Relayed::Answer(..) => Together::Unclear,
            Relayed::Trouble | Relayed::NotNow | Relayed::NotAsked | Relayed::Gone => {
                Together::Trouble
            }
        };
        break;
    }
    came_to
}

/// As an answer by itself: only those about the task or the request are told, all else is trouble on the way.
pub(super) fn read_piece(profile: &Profile, text: &str) -> (Heard, News) {
    let answered = Answered {
        reading: answer::read_piece(profile, text),
        relay: Relay {
            body: text.to_owned().into(),
            content_type: None,
            allow_origin: None,
        },
    };
    match relayed(answered, Hints::default()) {
        Relayed::Answer(heard, news) => (heard, news),
        Relayed::Trouble
        | Relayed::KeyBad
        | Relayed::NotNow
        | Relayed::NotAsked
        | Relayed::Gone => (Heard::Word(Word::Trouble), News::Trouble),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_judged_by_the_profile_like_an_answer_by_itself() {
        let profile = Profile::builtin("2captcha").unwrap();
        let read = |text: &str| read_piece(&profile, text);
        let relay = |text: &'static str| {
            Heard::Relay(Relay {
                body: text.into(),
                content_type: None,
                allow_origin: None,
            })
        };
        for text in ["solved-7", "ERRORS ARE HUMAN", "IP_BANNED_"] {
            assert_eq!(read(text), (relay(text), News::Final(None)));
        }
        let not_ready = "CAPCHA_NOT_READY";
        assert_eq!(read(not_ready), (relay(not_ready), News::NotReady));
        let unsolvable = "ERROR_CAPTCHA_UNSOLVABLE";
        let ended = News::Final(Some(unsolvable.into()));
        assert_eq!(read(unsolvable), (relay(unsolvable), ended));
        let unknown = "ERROR_NEVER_HEARD_OF";
        let news = News::Code(unknown.into());
        assert_eq!(read(unknown), (relay(unknown), news));
        for trouble in [
            "ERROR_KEY_DOES_NOT_EXIST",
            "IP_BANNED",
            "ERROR_SERVER_ERROR",
        ] {
            assert_eq!(read(trouble), (Heard::Word(Word::Trouble), News::Trouble));
        }
    }
}
