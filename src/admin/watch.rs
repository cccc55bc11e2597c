//! Sees that a key, the vendor or the submits are otherwise than a second ago, and makes events of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::events::Event;
use crate::keys::health::Health;
use crate::keys::key::Key;
use crate::keys::secret::Identity;
use crate::keys::state::State;
use crate::request::Server;

/// A look at ten thousand keys takes a millisecond.
const EVERY: Duration = Duration::from_secs(1);
/// A busy account rests and returns all day, which is no event.
const SHORT_REST: Duration = Duration::from_secs(60);
/// A file of ten thousand new keys must not push out all that was there.
const MOST_AT_ONCE: usize = 20;

/// Runs until shutdown.
pub(crate) async fn run(server: Arc<Server>) {
    let mut seen = Seen::default();
    loop {
        for event in seen.compare(look(&server, Instant::now())) {
            server.events.happened(event);
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = server.background.stopping() => return,
        }
    }
}

/// The state of the moment as plain values.
struct View {
    keys: Vec<KeyView>,
    uncertain: u64,
    is_unreachable: bool,
    is_banned: bool,
}

struct KeyView {
    identity: Identity,
    name: Arc<str>,
    /// None: it rests for a moment, and is still what it was.
    state: Option<State>,
    why: Option<String>,
}

fn look(server: &Server, now: Instant) -> View {
    let snapshot = server.live.load();
    let keys = snapshot.keys.keys().iter();
    View {
        keys: keys.map(|key| key_view(key, now)).collect(),
        uncertain: server.metrics.uncertain_so_far(),
        is_unreachable: server.outage.open_until().is_some(),
        is_banned: server.egress.banned_until(now).is_some(),
    }
}

fn key_view(key: &Key, now: Instant) -> KeyView {
    let described = key.describe(now);
    let cools_until = key.look(|health: &Health| health.cools_until(now));
    let rests_short = cools_until.is_some_and(|until| until <= now + SHORT_REST);
    KeyView {
        identity: key.identity,
        name: Arc::clone(&key.name),
        state: key
            .standing
            .state()
            .or_else(|| (!rests_short).then_some(described.state)),
        why: described.why,
    }
}

/// What was seen last.
#[derive(Default)]
struct Seen {
    keys: HashMap<Identity, (Arc<str>, State)>,
    uncertain: u64,
    is_unreachable: bool,
    is_banned: bool,
}

impl Seen {
    /// A key that is new is no event: the reload which brought it is.
    fn compare(&mut self, view: View) -> Vec<Event> {
        let mut events = Vec::new();
        let mut gone = std::mem::take(&mut self.keys);
        for key in view.keys {
            let before = gone.remove(&key.identity).map(|(_, state)| state);
            let Some(state) = key.state.or(before) else {
                continue;
            };
            if let Some(before) = before.filter(|before| *before != state) {
                let why = key.why.map(|why| format!(": {why}")).unwrap_or_default();
                let text = format!("from {before} to {state}{why}");
                events.push(event(format!("key-{state}"), &key.name, text));
            }
            self.keys.insert(key.identity, (key.name, state));
        }
        for (name, _) in gone.values() {
            let text = "its tasks have ended, and its value is forgotten";
            events.push(event("key-gone", name, text));
        }
        let more = events.len().saturating_sub(MOST_AT_ONCE);
        if more > 0 {
            events.truncate(MOST_AT_ONCE);
            let text = format!("{more} more keys changed in the same second, see /api/keys");
            events.push(event("keys-changed", "", text));
        }
        events.extend(self.vendor(view.is_unreachable, view.is_banned));
        let more = view.uncertain.saturating_sub(self.uncertain);
        if more > 0 {
            let text = format!("{more} more: the vendor may have them or not, see /api/uncertain");
            events.push(event("submits-uncertain", "", text));
        }
        self.uncertain = view.uncertain;
        events
    }

    fn vendor(&mut self, is_unreachable: bool, is_banned: bool) -> Option<Event> {
        let before = (self.is_unreachable, self.is_banned);
        (self.is_unreachable, self.is_banned) = (is_unreachable, is_banned);
        let (kind, text) = match (before, (is_unreachable, is_banned)) {
            ((_, false), (_, true)) => ("vendor-bans", "it refuses every call from this address"),
            ((_, true), (_, false)) => ("vendor-ban-ended", "calls go out again"),
            ((false, _), (true, _)) => ("vendor-unreachable", "no submit is sent until it answers"),
            ((true, _), (false, _)) => ("vendor-reached", "it answers again"),
            _ => return None,
        };
        Some(event(kind, "", text))
    }
}

fn event(
    kind: impl Into<std::borrow::Cow<'static, str>>,
    subject: &str,
    text: impl Into<String>,
) -> Event {
    Event {
        kind: kind.into(),
        subject: subject.to_owned(),
        text: text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(keys: &[(u8, &str, Option<State>)]) -> View {
        let key = |(number, name, state): &(u8, &str, Option<State>)| KeyView {
            identity: Identity([*number; 32]),
            name: (*name).into(),
            state: *state,
            why: Some("ERROR_SOMETHING".to_owned()),
        };
        View {
            keys: keys.iter().map(key).collect(),
            uncertain: 0,
            is_unreachable: false,
            is_banned: false,
        }
    }

    fn kinds(events: &[Event]) -> Vec<String> {
        let kind = |event: &Event| format!("{} {}", event.kind, event.subject);
        events.iter().map(kind).collect()
    }

    #[test]
    fn a_change_of_a_key_is_one_event_and_a_new_key_is_none() {
        let mut seen = Seen::default();
        assert_eq!(seen.compare(view(&[(1, "a", Some(State::Unproven))])), []);
        let told = seen.compare(view(&[
            (1, "a", Some(State::Healthy)),
            (2, "b", Some(State::Unproven)),
        ]));
        assert_eq!(kinds(&told), ["key-healthy a"]);
        assert_eq!(told[0].text, "from unproven to healthy: ERROR_SOMETHING");
        let same = view(&[
            (1, "a", Some(State::Healthy)),
            (2, "b", Some(State::Unproven)),
        ]);
        assert_eq!(seen.compare(same), []);
    }

    #[test]
    fn a_short_rest_is_none_and_a_key_that_is_gone_is_one() {
        let mut seen = Seen::default();
        seen.compare(view(&[(1, "a", Some(State::Healthy))]));
        assert_eq!(seen.compare(view(&[(1, "a", None)])), []);
        assert_eq!(seen.compare(view(&[(1, "a", Some(State::Healthy))])), []);
        assert_eq!(kinds(&seen.compare(view(&[]))), ["key-gone a"]);
        assert_eq!(seen.compare(view(&[])), []);
    }

    #[test]
    fn a_thousand_changes_at_once_leave_room_for_others() {
        let many = |state| -> Vec<_> { (0..200).map(|n| (n, "a", Some(state))).collect() };
        let mut seen = Seen::default();
        seen.compare(view(&many(State::Unproven)));
        let told = seen.compare(view(&many(State::Healthy)));
        assert_eq!(told.len(), MOST_AT_ONCE + 1);
        assert!(told[MOST_AT_ONCE].text.starts_with("180 more"), "{told:?}");
    }

    #[test]
    fn bans_outages_and_uncertain_submits_are_told_once_each_way() {
        let mut seen = Seen::default();
        let mut told = Vec::new();
        for (uncertain, is_unreachable, is_banned) in [
            (0, true, false),
            (2, true, false),
            (2, false, true),
            (2, false, true),
            (2, false, false),
            (2, true, false),
            (2, false, false),
        ] {
            let now = View {
                uncertain,
                is_unreachable,
                is_banned,
                ..view(&[])
            };
            told.extend(seen.compare(now));
        }
        assert_eq!(
            kinds(&told),
            [
                "vendor-unreachable ",
                "submits-uncertain ",
                "vendor-bans ",
                "vendor-ban-ended ",
                "vendor-unreachable ",
                "vendor-reached "
            ]
        );
    }
}
