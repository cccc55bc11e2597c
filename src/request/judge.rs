//! What an answer does to the key that its call was made with. Faults of the vendor's host, of the network and of the client
//! do nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::{Server, clock};
use crate::keys::health::{Accepted, Health};
use crate::keys::key::Key;
use crate::replicas::News;
use crate::vendor::account;
use crate::vendor::answer::{Asked, Reading};
use crate::vendor::profile::{Class, CodeRule, Profile};

/// A call that was answered.
pub(super) struct Case<'a> {
    pub server: &'a Server,
    pub profile: &'a Profile,
    pub key: &'a Key,
    pub asked: Asked,
    /// Our own look at the key.
    pub is_probe: bool,
    pub began: Instant,
    pub now: Instant,
}

impl Case<'_> {
    pub(super) fn judge(&self, reading: &Reading, retry_after: Option<Duration>) {
        match reading {
            // Nearly any text is an answer to an action that nobody knows, so it proves nothing: a client chose it.
            Reading::Said if self.asked == Asked::Other => {}
            Reading::Accepted { .. } | Reading::Final | Reading::NotReady | Reading::Said => {
                self.accepted();
            }
            Reading::Trouble { .. } => {}
            Reading::Code { code, rule } => match rule.class {
                Class::Task => self.accepted(),
                Class::Request | Class::NoTask | Class::Server => {}
                Class::EgressIp => {
                    self.server.egress.banned(self.now + rule.cooldown);
                    tracing::warn!(
                        code,
                        seconds = rule.cooldown.as_secs(),
                        "the vendor bans this address"
                    );
                }
                Class::KeyBad | Class::KeyBusy | Class::KeyEmpty => {
                    self.refused(code, *rule, retry_after);
                }
            },
        }
    }

    fn accepted(&self) {
        let what = match self.is_submit() {
            true => Accepted::Submit,
            false => Accepted::Other,
        };
        if !self.is_probe && self.key.accepted(what, self.began, self.now) {
            self.server
                .store
                .note_good_key(self.key.identity, clock::now_ms());
        }
    }

    fn refused(&self, code: &str, rule: CodeRule, retry_after: Option<Duration>) {
        let Self { server, key, .. } = self;
        if rule.class == Class::KeyBad && !self.is_probe && key.look(Health::is_proven) {
            server.egress.accused(key.identity, self.now);
        } else if rule.class == Class::KeyBad {
            server.egress.bad_answer(self.now);
            server.store.note_bad_key_answer(clock::now_ms());
        }
        key.account.count_failure(code);
        tracing::debug!(key = %key.name, code, "the vendor refused this key");
        // What a probe brings is the prober's to judge: it knows what the key was suspected of.
        if !self.is_probe {
            key.refused(code, rule, retry_after, self.now);
        }
        if self.is_submit() && rule.class == Class::KeyBusy && self.profile.is_no_slot(code) {
            key.account.refused_for_slots();
        }
    }

    fn is_submit(&self) -> bool {
        matches!(self.asked, Asked::Submit | Asked::Solve)
    }

    /// What an account call says about the account.
    pub(super) fn learn(&self, reading: &Reading, body: &[u8]) {
        let Self { server, key, .. } = self;
        let account = || (&*key.name).into();
        match (self.asked, reading) {
            (Asked::Threads, Reading::Said) => {
                if let Some(threads) = account::threads(body) {
                    key.account.learn_threads(threads, self.now);
                    server.replicas.tell(News::Threads {
                        account: account(),
                        total: threads.total,
                        working: threads.working,
                    });
                }
            }
            (Asked::Balance, Reading::Said) => {
                if let Some(micro_usd) = account::balance(body) {
                    // Where replicas share it, whoever refreshes compares.
                    if server.store.replicas().is_none() {
                        key.account.compare(micro_usd, self.now);
                    }
                    key.account.learn_balance(micro_usd, self.now);
                    server.replicas.tell(News::Balance {
                        account: account(),
                        micro_usd,
                    });
                }
            }
            _ => {}
        }
    }
}
