//! What hands switched off: names of keys and tenants, for all replicas. Each replica knows all changes and brings those that
//! the server lacks, so an emptied server gets them back. Of two changes of one name the later one holds.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::live::Snapshot;
use crate::store::{SeenByHand, Switch};

/// As many as there are names that a hand ever changed.
#[derive(Debug, Default)]
pub(super) struct ByHand {
    switches: BTreeMap<Subject, Switch>,
    unwritten: BTreeSet<Subject>,
    /// Of what the server had when it was looked at last.
    version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Key(Box<str>),
    Tenant(Box<str>),
}

impl ByHand {
    pub(super) fn switch(&mut self, subject: Subject, off: bool, now_ms: i64) {
        // Later than what it changes, also where that was written by a clock that is ahead.
        let before = self.switches.get(&subject).map(|switch| switch.at_ms + 1);
        let at_ms = before.map_or(now_ms, |before| before.max(now_ms));
        self.unwritten.insert(subject.clone());
        self.switches.insert(subject, Switch { at_ms, off });
    }

    pub(super) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    pub(super) fn version(&self) -> Option<&String> {
        self.version.as_ref()
    }

    pub(super) fn unwritten(&self) -> Vec<(String, Switch)> {
        let switch = |subject: &Subject| Some((subject.to_text(), *self.switches.get(subject)?));
        self.unwritten.iter().filter_map(switch).collect()
    }

    /// `written` is on the server now. `seen`: what it has, where that is not what it had.
    pub(super) fn met(&mut self, written: &[(String, Switch)], seen: Option<SeenByHand>) {
        for (text, switch) in written {
            if let Some(subject) = Subject::from_text(text)
                && self.switches.get(&subject) == Some(switch)
            {
                self.unwritten.remove(&subject);
            }
        }
        let Some(seen) = seen else {
            return;
        };
        self.version = seen.version;
        let has = |(text, switch): (String, Switch)| Some((Subject::from_text(&text)?, switch));
        let on_server: BTreeMap<_, _> = seen.switches.into_iter().filter_map(has).collect();
        for (subject, switch) in &self.switches {
            if on_server
                .get(subject)
                .is_none_or(|there| there.at_ms < switch.at_ms)
            {
                self.unwritten.insert(subject.clone());
            }
        }
        for (subject, switch) in on_server {
            let known = self.switches.get(&subject);
            if known.is_none_or(|known| known.at_ms <= switch.at_ms) {
                self.unwritten.remove(&subject);
                self.switches.insert(subject, switch);
            }
        }
    }

    /// Also names that a reload has brought.
    pub(super) fn apply(&self, snapshot: &Snapshot, now: Instant) {
        for (subject, Switch { off, .. }) in &self.switches {
            let (kind, name, changed) = match subject {
                Subject::Key(name) => {
                    let change = |key: &crate::keys::key::Key| match off {
                        true => key.disable(now),
                        false => key.enable(now),
                    };
                    let key = snapshot.keys.by_name(name);
                    ("key", name, key.is_some_and(|key| change(key)))
                }
                Subject::Tenant(name) => {
                    let tenant = snapshot.tenants.by_name(name);
                    let changed = tenant.is_some_and(|tenant| tenant.deactivate(*off));
                    ("tenant", name, changed)
                }
            };
            if changed {
                tracing::info!(kind, %name, off, "a hand changed this at another replica");
            }
        }
    }
}

impl Subject {
    /// No name holds a NUL.
    fn to_text(&self) -> String {
        match self {
            Self::Key(name) => format!("key\0{name}"),
            Self::Tenant(name) => format!("tenant\0{name}"),
        }
    }

    /// None: of a newer version.
    fn from_text(text: &str) -> Option<Self> {
        match text.split_once('\0')? {
            ("key", name) => Some(Self::Key(name.into())),
            ("tenant", name) => Some(Self::Tenant(name.into())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000;

    fn key() -> Subject {
        Subject::Key("a".into())
    }

    fn seen(by: &ByHand) -> SeenByHand {
        let all = by.switches.iter();
        SeenByHand {
            version: Some("1".to_owned()),
            switches: all.map(|(s, switch)| (s.to_text(), *switch)).collect(),
        }
    }

    #[test]
    fn of_two_changes_the_later_one_holds_whichever_is_heard_first() {
        let (mut one, mut other) = (ByHand::default(), ByHand::default());
        one.switch(key(), true, NOW);
        other.met(&[], Some(seen(&one)));
        // Its clock is behind.
        other.switch(key(), false, NOW - 500);
        one.met(&[], Some(seen(&other)));
        other.met(&[], Some(seen(&one)));
        for by in [&one, &other] {
            assert!(!by.switches[&key()].off);
        }
        let mut late = ByHand::default();
        late.switch(key(), true, NOW - 900);
        late.met(&[], Some(seen(&one)));
        assert!(!late.switches[&key()].off && !late.has_unwritten());
    }

    #[test]
    fn what_is_not_written_is_brought_and_what_an_emptied_server_lost_is_brought_again() {
        let mut by = ByHand::default();
        by.switch(key(), true, NOW);
        let brought = by.unwritten();
        assert_eq!(brought.len(), 1);
        // Changed again while that was on its way.
        by.switch(key(), false, NOW);
        by.met(&brought, None);
        let brought = by.unwritten();
        assert!(!brought[0].1.off);
        by.met(&brought, None);
        assert!(!by.has_unwritten());
        let emptied = SeenByHand {
            version: None,
            switches: Vec::new(),
        };
        by.met(&[], Some(emptied));
        assert_eq!(by.unwritten(), brought);
    }
}
