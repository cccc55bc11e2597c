//! What can be changed by hand. Each change is a log line, and stands in the audit log.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::api::{self, Clocks};
use crate::keys::health::Health;
use crate::keys::key::{Key, Standing};
use crate::live::Snapshot;
use crate::live::reload::{Asks, NotReloaded};
use crate::replicas::Subject;
use crate::request::{Server, clock};
use crate::store::OwnId;

pub(super) type Told = (StatusCode, Value);

/// A probe has 5 s and may wait for one other.
const PROBE_PATIENCE: Duration = Duration::from_secs(12);
/// Of the names that an answer lists.
pub(super) const MOST_NAMES: usize = 100;

pub(super) fn disable(server: &Server, name: &str) -> Told {
    let snapshot = server.live.load();
    let Some(key) = snapshot.keys.by_name(name) else {
        return unknown(&snapshot);
    };
    let subject = Subject::Key((&*key.name).into());
    server.replicas.switch(subject, true, clock::now_ms());
    if key.disable(Instant::now()) {
        tracing::info!(key = %key.name, "a key was disabled by hand");
    }
    let note = match server.replicas.are_there() {
        true => {
            "no new submits at any replica until it is enabled again, also after restarts; its tasks are polled to their end"
        }
        false => {
            "no new submits until it is enabled again or this program ends; its tasks are polled to their end. \
            `disabled = true` in the keys file survives restarts"
        }
    };
    done(server, key, note)
}

pub(super) fn enable(server: &Server, name: &str) -> Told {
    let snapshot = server.live.load();
    let Some(key) = snapshot.keys.by_name(name) else {
        return unknown(&snapshot);
    };
    let subject = Subject::Key((&*key.name).into());
    server.replicas.switch(subject, false, clock::now_ms());
    if key.enable(Instant::now()) {
        tracing::info!(key = %key.name, "a key was enabled by hand");
    }
    if key.standing == Standing::Disabled {
        let error = "`disabled = true` stands in the keys file: remove it there, the file is read again by itself";
        return (StatusCode::CONFLICT, json!({ "error": error }));
    }
    done(
        server,
        key,
        "if it was not healthy before, it is probed first",
    )
}

/// Waits for the outcome, which nearly always is there within a second.
pub(super) async fn probe(server: &Server, name: &str) -> Told {
    let snapshot = server.live.load();
    let Some(key) = snapshot.keys.by_name(name) else {
        return unknown(&snapshot);
    };
    tracing::info!(key = %key.name, "a probe was asked for by hand");
    key.ask_for_probe(Instant::now());
    let ended = async {
        loop {
            let news = snapshot.keys.events().next();
            tokio::pin!(news);
            news.as_mut().enable();
            if !key.look(Health::awaits_probe) {
                return;
            }
            news.await;
        }
    };
    let now = Instant::now();
    // What certainly takes longer is not waited for.
    let held_up = held_up(server, key, now);
    if held_up.is_none() && timeout(PROBE_PATIENCE, ended).await.is_ok() {
        let probed = key.describe(Instant::now()).probed;
        let outcome = probed.map(|(_, evidence)| api::outcome(&evidence));
        let answer = json!({ "probe": outcome, "key": api::describe(server, key) });
        return (StatusCode::OK, answer);
    }
    let note =
        held_up.unwrap_or_else(|| "it is under way, ask /api/keys for its outcome".to_owned());
    let answer = json!({ "probe": "waits", "note": note, "key": api::describe(server, key) });
    (StatusCode::ACCEPTED, answer)
}

/// Its client hears at its next poll that the task failed, and pays nothing.
pub(super) fn cancel(server: &Server, id: &str) -> Told {
    let own = OwnId::parse(id);
    if own.is_some_and(|own| server.parked.cancel(own, Instant::now(), clock::now_ms())) {
        tracing::info!(parked = id, "a parked submit was cancelled by hand");
        return (StatusCode::OK, json!({ "cancelled": id }));
    }
    let error = "no parked submit with this id waits: it is on its way, has ended, or never was";
    (StatusCode::NOT_FOUND, json!({ "error": error }))
}

pub(super) async fn reload(server: &Server, asks: &Asks, who: &str) -> Told {
    tracing::info!("a reload was asked for by hand");
    match asks.ask(who).await {
        Ok(()) => {
            let keys = server.live.load().keys.listed().count();
            (StatusCode::OK, json!({ "reloaded": true, "keys": keys }))
        }
        Err(why) => not_reloaded(&why),
    }
}

fn not_reloaded(why: &NotReloaded) -> Told {
    let status = match why {
        NotReloaded::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        NotReloaded::Busy | NotReloaded::Ending => StatusCode::SERVICE_UNAVAILABLE,
    };
    let note = "the last good configuration goes on serving";
    let answer = json!({ "reloaded": false, "error": why.to_string(), "note": note });
    (status, answer)
}

fn done(server: &Server, key: &Key, note: &str) -> Told {
    let answer = json!({ "note": note, "key": api::describe(server, key) });
    (StatusCode::OK, answer)
}

fn unknown(snapshot: &Snapshot) -> Told {
    let names = snapshot.keys.listed().map(|key| &*key.name);
    let names: Vec<_> = names.take(MOST_NAMES).collect();
    let error = "no key of the files has this name";
    (
        StatusCode::NOT_FOUND,
        json!({ "error": error, "names": names }),
    )
}

/// Why the probe does not go out now.
fn held_up(server: &Server, key: &Key, now: Instant) -> Option<String> {
    let clocks = Clocks::now();
    if let Some(until) = server.egress.banned_until(now) {
        let until = clocks.wall(until);
        return Some(format!("the vendor bans this address until {until}"));
    }
    if server.outage.open_until().is_some() {
        return Some("the vendor cannot be reached; the probe follows when it can".to_owned());
    }
    let next = api::next_probe(server, key, now).filter(|next| *next > now)?;
    let next = clocks.wall(next);
    Some(format!(
        "vendors ban an address after a few bad-key answers, and three came within ten minutes: the probe follows at {next}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used_are_the_askers_fault_and_others_that_wait_are_not() {
        let status = |why| not_reloaded(&why).0.as_u16();
        assert_eq!(
            status(NotReloaded::Refused("keys.toml: no".to_owned())),
            422
        );
        assert_eq!(status(NotReloaded::Busy), 503);
        assert_eq!(status(NotReloaded::Ending), 503);
    }
}
