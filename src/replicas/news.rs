//! What one replica learnt and all want to know. Keys go by their identity, accounts by their name.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::keys::account::Account;
use crate::keys::health::{Condition, Evidence, Health};
use crate::keys::key::Key;
use crate::keys::secret::Identity;
use crate::live::Snapshot;
use crate::request::Server;
use crate::request::prober::settle_as_told;
use crate::store::OwnId;
use crate::vendor::account::Threads;
use crate::vendor::profile::{Class, CodeRule};

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum News {
    /// A probe has decided.
    Probed {
        key: [u8; 32],
        verdict: Verdict,
    },
    /// A client's call made it suspect, or empty and its rest is over: nobody uses it until the leader has probed it.
    Suspect {
        key: [u8; 32],
    },
    Balance {
        account: Box<str>,
        micro_usd: i64,
    },
    Threads {
        account: Box<str>,
        total: u32,
        working: u32,
    },
    /// A client waits for this parked submit.
    Polled {
        parked: i64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Verdict {
    Passed,
    Bad { code: Box<str>, rests_ms: u64 },
    Empty { code: Box<str>, rests_ms: u64 },
}

impl Verdict {
    /// None: the probe said nothing that holds for longer than itself.
    pub fn of(evidence: &Evidence) -> Option<Self> {
        let Evidence::Refused { code, rule } = evidence else {
            return (*evidence == Evidence::Passed).then_some(Self::Passed);
        };
        let code = code.as_str().into();
        let rests_ms = u64::try_from(rule.cooldown.as_millis()).unwrap_or(u64::MAX);
        match rule.class {
            Class::KeyBad => Some(Self::Bad { code, rests_ms }),
            Class::KeyEmpty => Some(Self::Empty { code, rests_ms }),
            Class::KeyBusy
            | Class::EgressIp
            | Class::Request
            | Class::NoTask
            | Class::Task
            | Class::Server => None,
        }
    }

    fn evidence(self) -> Evidence {
        let (class, code, rests_ms) = match self {
            Self::Passed => return Evidence::Passed,
            Self::Bad { code, rests_ms } => (Class::KeyBad, code, rests_ms),
            Self::Empty { code, rests_ms } => (Class::KeyEmpty, code, rests_ms),
        };
        Evidence::Refused {
            code: code.into(),
            rule: CodeRule {
                class,
                cooldown: Duration::from_millis(rests_ms),
                // Only busy keys rest from polls, and of those nothing is told.
                polls: false,
            },
        }
    }
}

impl News {
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("news are text and numbers"))
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Keys that wait for a probe which only the leader makes, and of which it may know nothing, because the client's call came here.
/// Said at every meeting until it has.
pub(super) fn suspects(snapshot: &Snapshot, now: Instant) -> Vec<News> {
    let keys = snapshot.keys.keys().iter();
    let waits = |health: &Health| match health.condition(now) {
        Condition::Suspect => true,
        Condition::Empty => health.wants_probe(now),
        _ => false,
    };
    keys.filter(|key| key.look(waits))
        .take(SUSPECTS_AT_ONCE)
        .map(|key| News::Suspect {
            key: key.identity.0,
        })
        .collect()
}

pub(super) fn take_in(server: &Server, snapshot: &Snapshot, news: News, now: Instant) {
    let keys = &snapshot.keys;
    match news {
        News::Probed { key, verdict } => {
            if let Some(key) = keys.by_identity(&Identity(key)) {
                settle_as_told(server, key, verdict.evidence());
            }
        }
        News::Suspect { key } => {
            if let Some(key) = keys.by_identity(&Identity(key))
                && key.look(|health| {
                    !health.awaits_probe() && health.condition(now) != Condition::Empty
                })
                && !was_probed_just_now(key, now)
            {
                // Each replica that went on with it could bring one more bad-key answer.
                if key.look(|health| health.condition(now) == Condition::Healthy) {
                    key.refused(ELSEWHERE, ACCUSED, None, now);
                }
                if server.replicas.leads() {
                    key.ask_for_probe(now);
                }
            }
        }
        News::Balance { account, micro_usd } => {
            if let Some(account) = keys.account(&account) {
                account.learn_balance(micro_usd, now);
                was_asked(server, account, now);
            }
        }
        News::Threads {
            account,
            total,
            working,
        } => {
            if let Some(account) = keys.account(&account) {
                account.learn_threads(Threads { total, working }, now);
                was_asked(server, account, now);
            }
        }
        News::Polled { parked } => server.parked.polled(OwnId(parked), now),
    }
}

/// The leader's turns are all replicas': one that takes the lead over goes on where it was, and does not begin with a question for
/// every account.
fn was_asked(server: &Server, account: &Account, now: Instant) {
    if !server.replicas.leads() {
        account.refresh_asked(now);
    }
}

/// Then the verdict is on its way to whoever asked.
fn was_probed_just_now(key: &Key, now: Instant) -> bool {
    let probed = key.describe(now).probed;
    probed.is_some_and(|(at, _)| now.duration_since(at) < ON_ITS_WAY)
}

const ELSEWHERE: &str = "another replica's call was refused";
/// Until its probe.
const ACCUSED: CodeRule = CodeRule {
    class: Class::KeyBad,
    cooldown: Duration::ZERO,
    polls: false,
};
/// With ten thousand accounts that are empty the others have their turn at later meetings.
const SUSPECTS_AT_ONCE: usize = 100;
const ON_ITS_WAY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_the_same_when_they_arrive() {
        let verdict = Verdict::Bad {
            code: "ERROR_WRONG_USER_KEY".into(),
            rests_ms: 7,
        };
        assert_eq!(
            Verdict::of(&verdict.clone().evidence()),
            Some(verdict.clone())
        );
        for news in [
            News::Probed {
                key: [7; 32],
                verdict,
            },
            News::Suspect { key: [8; 32] },
            News::Balance {
                account: "a".into(),
                micro_usd: i64::MAX,
            },
        ] {
            assert_eq!(News::from_text(&news.to_text()), Some(news));
        }
        // Of a newer version.
        assert_eq!(News::from_text("{\"Later\":1}"), None);
        let more = "{\"Polled\":{\"parked\":7,\"later\":1}}";
        assert_eq!(News::from_text(more), Some(News::Polled { parked: 7 }));
    }
}
