//! Who calls: the tenants of the file, found by the token that a client sends as its `key`.

pub mod accounts;
pub mod allowance;
pub mod meter;
pub mod restore;
pub mod shared;
pub mod tally;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::config::settings::{Mode, Prices, Role, TenantEntry, TenantLimits};
use crate::keys::egress::Egress;
use crate::keys::set::{DEFAULT_POOL, KeySet};

/// Part of the snapshot that a request sees.
#[derive(Debug)]
pub struct Tenants {
    /// None: clients are not told apart.
    by_token: Option<HashMap<TokenHash, Arc<Tenant>>>,
    by_name: BTreeMap<Arc<str>, Arc<Tenant>>,
    /// Everybody, in open mode.
    anybody: Arc<Tenant>,
}

/// SHA-256 of a token. Only this is kept, so that neither a dump nor a timing tells a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

#[derive(Debug)]
pub struct Tenant {
    /// Empty in open mode. Tasks, limits and bills go by it.
    pub name: Arc<str>,
    pub pools: Pools,
    pub limits: TenantLimits,
    /// As the file says; `is_active` also knows what a hand did.
    pub active: bool,
    pub role: Role,
    /// Where a client names none.
    pub project: Option<Arc<str>>,
    /// What it is charged for a solve, where that is not what the vendor takes.
    pub prices: BTreeMap<&'static str, i64>,
    life: Arc<Life>,
}

/// What belongs to a tenant's name and outlives reloads.
#[derive(Debug, Default)]
struct Life {
    deactivated: AtomicBool,
    /// 0: not since the start.
    used_at_ms: AtomicI64,
}

/// From which keys a tenant is served.
#[derive(Debug, PartialEq)]
pub enum Pools {
    /// Others may use the same keys, so their balance is not shown.
    Shared(Arc<str>),
    Own {
        pool: Arc<str>,
        /// Serves while none of its own keys is in any file.
        fallback: Option<Arc<str>>,
        /// Also while its own keys have no money left.
        fallback_when_empty: bool,
    },
}

impl TokenHash {
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }
}

impl Tenants {
    /// Those after a reload. What a hand did to a name is carried over.
    pub fn next(&self, mode: Mode, entries: &[TenantEntry]) -> Self {
        let tenant = |entry: &TenantEntry| {
            let before = self.by_name.get(entry.name.as_str());
            let life = before.map(|tenant| Arc::clone(&tenant.life));
            Arc::new(Tenant::new(entry, life.unwrap_or_default()))
        };
        let made: Vec<_> = entries
            .iter()
            .map(|entry| (entry.token, tenant(entry)))
            .collect();
        Self {
            by_name: made
                .iter()
                .map(|(_, tenant)| (Arc::clone(&tenant.name), Arc::clone(tenant)))
                .collect(),
            by_token: (mode == Mode::Tenants).then(|| made.into_iter().collect()),
            anybody: Arc::clone(&self.anybody),
        }
    }

    /// None: nobody has this token. In open mode it may be any, or none.
    pub fn by_token(&self, token: &[u8]) -> Option<&Arc<Tenant>> {
        let Some(tenants) = &self.by_token else {
            return Some(&self.anybody);
        };
        let sent = TokenHash::of(token);
        // SECURITY: the map compares hashes, of which a client cannot choose the bytes; the last word is in constant time.
        let (known, tenant) = tenants.get_key_value(&sent)?;
        bool::from(known.0.ct_eq(&sent.0)).then_some(tenant)
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<Tenant>> {
        if name.is_empty() && self.by_token.is_none() {
            return Some(&self.anybody);
        }
        self.by_name.get(name)
    }

    /// Those of the file, by name; none in open mode.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.by_name.values()
    }

    /// All who may call: those of the file, or everybody.
    pub fn callers(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        let anybody = (!self.are_told_apart()).then_some(&self.anybody);
        self.all().chain(anybody)
    }

    /// Of the file, by its token; nobody in open mode.
    pub fn named_by_token(&self, token: &[u8]) -> Option<&Arc<Tenant>> {
        self.by_token(token).filter(|tenant| !tenant.is_everybody())
    }

    /// Whether clients are told apart.
    pub fn are_told_apart(&self) -> bool {
        self.by_token.is_some()
    }
}

impl Default for Tenants {
    fn default() -> Self {
        Self {
            by_token: None,
            by_name: BTreeMap::new(),
            anybody: Arc::new(Tenant::anybody()),
        }
    }
}

impl Tenant {
    fn new(entry: &TenantEntry, life: Arc<Life>) -> Self {
        let shared =
            |pool: &Option<String>| Pools::Shared(pool.as_deref().unwrap_or(DEFAULT_POOL).into());
        Self {
            name: entry.name.as_str().into(),
            pools: match &entry.keys {
                None => shared(&entry.pool),
                Some(_) => Pools::Own {
                    pool: own_pool(&entry.name),
                    fallback: entry.fallback_pool.as_deref().map(Arc::from),
                    fallback_when_empty: entry.fallback_when_empty,
                },
            },
            limits: entry.limits,
            active: entry.active,
            role: entry.role,
            project: entry.project.as_deref().map(Arc::from),
            prices: entry.prices.clone(),
            life,
        }
    }

    /// Its own, or the one that it shares.
    pub fn first_pool(&self) -> &Arc<str> {
        match &self.pools {
            Pools::Shared(pool) | Pools::Own { pool, .. } => pool,
        }
    }

    /// Where its submits are served now: by its fallback when that stands in. Nothing else decides that.
    pub fn pool_now(&self, keys: &KeySet, egress: &Egress, now: Instant) -> &Arc<str> {
        match &self.pools {
            Pools::Own {
                pool,
                fallback: Some(fallback),
                fallback_when_empty,
            } => {
                let is_empty = || keys.pool(pool).is_some_and(|own| own.is_empty(egress, now));
                match keys.has_none(pool) || *fallback_when_empty && is_empty() {
                    true => fallback,
                    false => pool,
                }
            }
            Pools::Shared(pool) | Pools::Own { pool, .. } => pool,
        }
    }

    /// What a solve is expected to cost it.
    pub fn price(&self, kind: &str, usual: &Prices) -> i64 {
        let own = self.prices.get(kind).copied();
        own.unwrap_or_else(|| usual.price(kind))
    }

    /// Whether it may submit.
    pub fn is_active(&self) -> bool {
        self.active && !self.is_deactivated()
    }

    /// By hand, until it is activated again or the process ends.
    pub fn is_deactivated(&self) -> bool {
        self.life.deactivated.load(Ordering::Relaxed)
    }

    /// True when that changed something.
    pub fn deactivate(&self, deactivated: bool) -> bool {
        self.life.deactivated.swap(deactivated, Ordering::Relaxed) != deactivated
    }

    pub fn is_everybody(&self) -> bool {
        self.name.is_empty()
    }

    /// It has called.
    pub fn touch(&self, now_ms: i64) {
        self.life.used_at_ms.store(now_ms, Ordering::Relaxed);
    }

    /// None: not since the start.
    pub fn last_use_ms(&self) -> Option<i64> {
        Some(self.life.used_at_ms.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    fn anybody() -> Self {
        Self {
            name: "".into(),
            pools: Pools::Shared(DEFAULT_POOL.into()),
            limits: TenantLimits::default(),
            active: true,
            role: Role::User,
            project: None,
            prices: BTreeMap::new(),
            life: Arc::default(),
        }
    }
}

/// The pool that a tenant's own keys make. No pool of a file can have a colon in its name.
pub fn own_pool(tenant: &str) -> Arc<str> {
    format!("tenant:{tenant}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_calls_in_open_mode_and_only_those_of_the_file_otherwise() {
        let open = Tenants::default();
        assert!(open.callers().all(|tenant| tenant.is_everybody()));
        assert_eq!(open.callers().count(), 1);
        assert_eq!(open.next(Mode::Tenants, &[]).callers().count(), 0);
    }
}
