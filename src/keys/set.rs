//! All keys that this process knows: those in the files, and those that left them while their tasks still run.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use tokio::time::Instant;

use super::account::{Account, Bill, Limits};
use super::events::Events;
use super::health::Health;
use super::key::{Key, Life, Standing};
use super::pool::Pool;
use super::rate::{Limit, PollLimit};
use super::secret::{Identity, Salt};
use super::values::Values;
use crate::config::settings::{Balance, KeyEntry, Strategy};
use crate::store::TaskKey;
use crate::vendor::profile::{Billing, Rates};

/// Part of the snapshot that a request sees. Immutable; a reload makes the next one out of it.
///
/// Its names and identities are the operator's, so the maps need not be hashed against attacks; three of them are asked
/// at each poll.
#[derive(Debug, Default)]
pub struct KeySet {
    /// In the order of the files; draining keys last, latest first.
    keys: Vec<Arc<Key>>,
    by_identity: HashMap<Identity, Arc<Key>>,
    /// Only keys that stand in a file: a name's current value.
    by_name: HashMap<Arc<str>, Arc<Key>>,
    /// Of all keys above, and of names that left the files while their tasks run.
    accounts: HashMap<Arc<str>, Arc<Account>>,
    /// By name. Those that a tenant's own keys make are named by `own_pool`.
    pools: HashMap<Arc<str>, Pool>,
    /// By the name of a key that stands in a file: its pools, one that it shares first.
    pools_of: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// Of all keys above.
    values: Values,
    /// Of all sets of this process: a reload does not part those who wait from what they wait for.
    events: Arc<Events>,
}

/// What the store knows of keys.
#[derive(Clone, Debug)]
pub struct Remembered {
    pub salt: Salt,
    /// Accepted by the vendor in an earlier run: trusted until it says otherwise, so that a restart costs no probe.
    pub good_keys: HashSet<Identity>,
}

/// What a reload decides besides the keys themselves.
#[derive(Clone, Debug)]
pub struct Rules {
    pub pools: Vec<PoolRule>,
    pub rates: Rates,
    /// Where a key does not say it.
    pub billing: Billing,
    pub balance: Balance,
    /// A key that left is let go when nobody used it for this long.
    pub keep: Duration,
    /// Replicas use the same accounts.
    pub shared: bool,
}

#[derive(Clone, Debug)]
pub struct PoolRule {
    pub name: Arc<str>,
    pub strategy: Strategy,
    pub members: Members,
}

#[derive(Clone, Debug)]
pub enum Members {
    /// Keys that name this pool, or no pool while no tenant lists them as its own.
    Default { except: HashSet<String> },
    /// Keys that name this pool.
    Naming,
    /// These keys, in whatever pool they are besides.
    Listed(Vec<String>),
}

/// Where keys are that name no pool.
pub const DEFAULT_POOL: &str = "default";

/// Bounds the memory of an operator who replaces keys without end.
const MAX_DRAINING: usize = 10_000;

impl KeySet {
    /// The set after a reload. What belongs to an identity or a name is carried over; a key that left drains.
    pub fn next(
        &self,
        entries: &[KeyEntry],
        remembered: &Remembered,
        rules: &Rules,
        now: Instant,
        mut random: impl FnMut() -> f64,
    ) -> Self {
        let mut keys: Vec<_> = entries
            .iter()
            .map(|entry| Arc::new(self.key(entry, remembered, rules, now)))
            .collect();
        let by_name: HashMap<Arc<str>, Arc<Key>> = keys
            .iter()
            .map(|key| (Arc::clone(&key.name), Arc::clone(key)))
            .collect();
        let listed: HashSet<_> = keys.iter().map(|key| key.identity).collect();
        let left = self
            .keys
            .iter()
            .filter(|key| !listed.contains(&key.identity))
            .filter(|key| {
                key.standing != Standing::Draining
                    || now.duration_since(key.last_used()) < rules.keep
            })
            .map(|key| Arc::new(key.draining(now)))
            .take(MAX_DRAINING);
        keys.extend(left);
        let by_identity = keys
            .iter()
            .map(|key| (key.identity, Arc::clone(key)))
            .collect();
        let values = Values::new(keys.iter().map(|key| key.value()));
        let used = self.accounts.values().filter(|account| account.is_used());
        let accounts = keys
            .iter()
            .map(|key| &key.account)
            .chain(used)
            .map(|account| (Arc::clone(&account.name), Arc::clone(account)))
            .collect();
        let mut naming: HashMap<Option<&str>, Vec<Arc<Key>>> = HashMap::default();
        for key in keys.iter().filter(|key| key.standing != Standing::Draining) {
            let pool = key.pool.as_deref();
            naming.entry(pool).or_default().push(Arc::clone(key));
        }
        let empty = Pool::default();
        let mut pools_of: HashMap<Arc<str>, Vec<Arc<str>>> = HashMap::default();
        let pools = rules.pools.iter().map(|rule| {
            let mut members = naming.get(&Some(&*rule.name)).cloned().unwrap_or_default();
            match &rule.members {
                Members::Naming => {}
                Members::Default { except } => {
                    let unnamed = naming.get(&None).into_iter().flatten();
                    members.extend(unnamed.filter(|key| !except.contains(&*key.name)).cloned());
                }
                Members::Listed(names) => {
                    members = names
                        .iter()
                        .filter_map(|name| by_name.get(name.as_str()))
                        .cloned()
                        .collect();
                }
            }
            for key in &members {
                let pools = pools_of.entry(Arc::clone(&key.name)).or_default();
                pools.push(Arc::clone(&rule.name));
            }
            let previous = self.pools.get(&rule.name).unwrap_or(&empty);
            let pool = Pool::new(members, previous, rule.strategy, now, &mut random);
            (Arc::clone(&rule.name), pool)
        });
        let pools = pools.collect();
        Self {
            keys,
            by_identity,
            by_name,
            accounts,
            pools,
            pools_of,
            values,
            events: Arc::clone(&self.events),
        }
    }

    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.get(name)
    }

    /// The names of all pools, also of those without keys.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pools.keys()
    }

    /// The names of the pools that a key is in.
    pub fn pools_of(&self, key: &str) -> &[Arc<str>] {
        self.pools_of
            .get(key)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Whether no active key of any file is in this pool.
    pub fn has_none(&self, pool: &str) -> bool {
        self.in_pool(pool).next().is_none()
    }

    /// Its active keys.
    pub fn in_pool(&self, pool: &str) -> impl Iterator<Item = &Arc<Key>> {
        self.pool(pool).into_iter().flat_map(Pool::keys)
    }

    pub fn values(&self) -> &Values {
        &self.values
    }

    pub fn events(&self) -> &Events {
        &self.events
    }

    pub fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    pub fn by_identity(&self, identity: &Identity) -> Option<&Arc<Key>> {
        self.by_identity.get(identity)
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<Key>> {
        self.by_name.get(name)
    }

    pub fn account(&self, name: &str) -> Option<&Arc<Account>> {
        self.accounts.get(name)
    }

    /// The vendor says that the task still runs: it holds its slot on.
    pub fn task_runs(&self, owner: &str, task: &TaskKey, now: Instant) {
        if let Some(account) = self.account(owner) {
            account.task_runs(task, now);
        }
    }

    /// The final answer of a task was heard.
    pub fn task_ended(&self, owner: &str, task: &TaskKey, bill: Bill) {
        if let Some(account) = self.account(owner) {
            account.task_ended(task, bill);
        }
    }

    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    /// Keys that stand in a file, disabled ones too.
    pub fn listed(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys
            .iter()
            .filter(|key| key.standing != Standing::Draining)
    }

    /// Whether `next` would let a draining key go.
    pub fn has_drained(&self, keep: Duration, now: Instant) -> bool {
        let drains = |key: &&Arc<Key>| key.standing == Standing::Draining;
        self.keys
            .iter()
            .filter(drains)
            .any(|key| now.duration_since(key.last_used()) >= keep)
    }

    fn key(&self, entry: &KeyEntry, remembered: &Remembered, rules: &Rules, now: Instant) -> Key {
        let identity = Identity::of(&entry.value, &remembered.salt);
        let standing = if entry.disabled {
            Standing::Disabled
        } else {
            Standing::Active
        };
        let old = self.by_identity(&identity);
        let stands = old.filter(|old| old.standing == standing);
        let life = match old {
            Some(old) => Arc::clone(&old.life),
            None => {
                let mut health = if remembered.good_keys.contains(&identity) {
                    Health::known_good(now)
                } else {
                    Health::new(now)
                };
                // A hand meant the name: a new value under it does not undo that.
                let before = self.by_name(&entry.name);
                if before.is_some_and(|key| key.look(Health::is_disabled)) {
                    health.disable(now);
                }
                Arc::new(Life::new(health, now, &self.events))
            }
        };
        let name: Arc<str> = entry.name.as_str().into();
        let account = self.account(&name).map_or_else(
            || Arc::new(Account::new(Arc::clone(&name), &self.events)),
            Arc::clone,
        );
        Key {
            name,
            identity,
            pool: entry.pool.as_deref().map(Arc::from),
            weight: entry.weight,
            priority: entry.priority,
            standing,
            standing_since: stands.map_or(now, |old| old.standing_since),
            limits: limits(entry, rules),
            account,
            life,
            value: entry.value.expose_bytes(),
        }
    }
}

impl Key {
    fn draining(&self, now: Instant) -> Self {
        let mut since = self.standing_since;
        if self.standing != Standing::Draining {
            self.touch(now);
            since = now;
        }
        Self {
            name: Arc::clone(&self.name),
            identity: self.identity,
            pool: self.pool.clone(),
            weight: self.weight,
            priority: self.priority,
            standing: Standing::Draining,
            standing_since: since,
            limits: self.limits,
            account: Arc::clone(&self.account),
            life: Arc::clone(&self.life),
            value: self.value.clone(),
        }
    }
}

fn limits(entry: &KeyEntry, rules: &Rules) -> Limits {
    let rates = &rules.rates;
    Limits {
        max_tasks: entry.max_tasks,
        requests: Limit {
            count: entry.max_requests_per_second.unwrap_or(0),
            within: Duration::from_secs(1),
        },
        submits: Limit {
            count: rates.submits,
            within: rates.submits_in,
        },
        polls: PollLimit {
            base: rates.polls,
            per_task: rates.polls_per_task,
        },
        billing: entry.billing.unwrap_or(rules.billing),
        minimum_micro_usd: rules.balance.minimum_micro_usd,
        refresh: rules.balance.refresh,
        shared: rules.shared,
    }
}
