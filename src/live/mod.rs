//! What a request sees: one immutable snapshot, loaded once a request and passed down, so that no request sees two configurations.

mod difference;
mod last;
pub mod reload;
mod watch;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use self::last::Last;
pub use self::last::{Refused, Reloads};
use crate::background::Background;
use crate::config::Loaded;
use crate::config::origin::Origin;
use crate::config::report::Report;
use crate::config::settings::{KeyEntry, Settings, StoreKind, Strategy, TenantEntry};
use crate::keys::chance;
use crate::keys::set::{DEFAULT_POOL, KeySet, Members, PoolRule, Remembered, Rules};
use crate::loops::Loops;
use crate::store::ParkedRecord;
use crate::tenants::{Tenants, own_pool};
use crate::vendor::client::{Client, ClientError};

pub struct Snapshot {
    pub settings: Settings,
    pub keys: KeySet,
    pub client: Client,
    /// The profile's name, shared by all task keys.
    pub profile_name: Arc<str>,
    /// Host names that a client may name in an absolute-form target.
    pub hosts: Vec<String>,
    pub tenants: Tenants,
    /// What it was read from.
    pub origin: Origin,
    entries: Vec<KeyEntry>,
    tenant_entries: Vec<TenantEntry>,
}

impl Snapshot {
    /// What a parked submit would use of its tenant's limits.
    pub fn price_of(&self, record: &ParkedRecord) -> i64 {
        let usual = &self.settings.prices;
        let tenant = self.tenants.by_name(&record.tenant);
        tenant.map_or_else(
            || usual.price(&record.kind),
            |tenant| tenant.price(&record.kind, usual),
        )
    }
}

/// The one place that holds the current snapshot.
pub struct Live {
    current: ArcSwap<Snapshot>,
    /// One change at a time: each next snapshot is made from the current one.
    changing: Mutex<()>,
    remembered: Remembered,
    loops: Loops,
    background: Background,
    last: Last,
}

impl Live {
    pub fn new(
        loaded: Loaded,
        remembered: Remembered,
        loops: Loops,
        background: &Background,
    ) -> Result<Self, ClientError> {
        let client = Client::of_vendor(&loaded.settings.vendor, &loops, background)?;
        let snapshot = snapshot(
            (&KeySet::default(), &Tenants::default()),
            loaded,
            client,
            &remembered,
        );
        Ok(Self {
            current: ArcSwap::from_pointee(snapshot),
            changing: Mutex::default(),
            remembered,
            loops,
            background: background.clone(),
            last: Last::new(),
        })
    }

    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// What became of the last looks at the configuration.
    pub fn reloads(&self) -> Reloads {
        self.last.seen()
    }

    /// All that can fail happens before the one swap, which cannot. Returns the snapshot that was replaced.
    pub fn adopt(&self, loaded: Loaded) -> Result<Arc<Snapshot>, ClientError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current.load_full();
        // Connections to an unchanged vendor are kept.
        let client = if same_vendor(&old.settings, &loaded.settings) {
            old.client.clone()
        } else {
            Client::of_vendor(&loaded.settings.vendor, &self.loops, &self.background)?
        };
        let next = snapshot((&old.keys, &old.tenants), loaded, client, &self.remembered);
        self.current.store(Arc::new(next));
        self.last.adopted();
        // New keys are there to be probed, and perhaps to be used.
        old.keys.events().happened();
        Ok(old)
    }

    /// What serves goes on serving.
    fn refused(&self, why: &str) {
        self.last.refused(why);
    }

    /// Lets go of draining keys that nobody used for `poll.keep`.
    pub fn end_drains(&self) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current.load_full();
        let keep = old.settings.poll.keep;
        if !old.keys.has_drained(keep, Instant::now()) {
            return;
        }
        let next = snapshot(
            (&old.keys, &old.tenants),
            Loaded {
                settings: old.settings.clone(),
                keys: old.entries.clone(),
                tenants: old.tenant_entries.clone(),
                warnings: Report::default(),
                origin: old.origin.clone(),
            },
            old.client.clone(),
            &self.remembered,
        );
        self.current.store(Arc::new(next));
    }
}

fn snapshot(
    (old, old_tenants): (&KeySet, &Tenants),
    loaded: Loaded,
    client: Client,
    remembered: &Remembered,
) -> Snapshot {
    let Loaded {
        settings,
        keys: entries,
        tenants: tenant_entries,
        origin,
        warnings: _,
    } = loaded;
    let rules = Rules {
        pools: pool_rules(&settings, &entries, &tenant_entries),
        rates: settings.vendor.profile.limits,
        billing: settings.vendor.profile.billing,
        balance: settings.balance,
        keep: settings.poll.keep,
        shared: settings.state.store == StoreKind::Redis,
    };
    let keys = old.next(&entries, remembered, &rules, Instant::now(), chance);
    let profile_name = settings.vendor.profile.name.as_str().into();
    let hosts = settings.vendor.hosts();
    Snapshot {
        tenants: old_tenants.next(settings.clients.mode, &tenant_entries),
        settings,
        keys,
        client,
        profile_name,
        hosts,
        origin,
        entries,
        tenant_entries,
    }
}

/// The pools of the configuration, those that only keys name, and those that tenants' own keys make.
fn pool_rules(settings: &Settings, keys: &[KeyEntry], tenants: &[TenantEntry]) -> Vec<PoolRule> {
    let own = |tenant: &TenantEntry| tenant.keys.clone();
    let claimed: HashSet<String> = tenants.iter().filter_map(own).flatten().collect();
    let strategies: HashMap<&str, Strategy> = settings
        .pools
        .iter()
        .map(|pool| (pool.name.as_str(), pool.strategy))
        .collect();
    let usual = strategies
        .get(DEFAULT_POOL)
        .copied()
        .unwrap_or(Strategy::RoundRobin);
    let named: BTreeSet<&str> = keys
        .iter()
        .filter_map(|key| key.pool.as_deref())
        .chain(strategies.keys().copied())
        .collect();
    let shared = named.into_iter().map(|name| PoolRule {
        name: name.into(),
        strategy: strategies.get(name).copied().unwrap_or(usual),
        members: match name {
            DEFAULT_POOL => Members::Default {
                except: claimed.clone(),
            },
            _ => Members::Naming,
        },
    });
    let own = tenants.iter().filter_map(|tenant| {
        Some(PoolRule {
            name: own_pool(&tenant.name),
            strategy: usual,
            members: Members::Listed(tenant.keys.clone()?),
        })
    });
    shared.chain(own).collect()
}

fn same_vendor(old: &Settings, new: &Settings) -> bool {
    let of = |settings: &Settings| {
        let vendor = &settings.vendor;
        (
            vendor.profile.url.clone(),
            vendor.ca_pem.clone(),
            vendor.connect_timeout,
            vendor.way.clone(),
        )
    };
    of(old) == of(new)
}
