//! What a request sees: one immutable snapshot, loaded once a request and passed down, so that no request sees two configurations.

pub mod reload;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::background::Background;
use crate::config::Loaded;
use crate::config::settings::{KeyEntry, Settings};
use crate::keys::chance;
use crate::keys::set::{KeySet, Remembered, Rules};
use crate::vendor::client::{Client, ClientError};

pub struct Snapshot {
    pub settings: Settings,
    pub keys: KeySet,
    pub client: Client,
    /// The profile's name, shared by all task keys.
    pub profile_name: Arc<str>,
    /// Host names that a client may name in an absolute-form target.
    pub hosts: Vec<String>,
    entries: Vec<KeyEntry>,
}

/// The one place that holds the current snapshot.
pub struct Live {
    current: ArcSwap<Snapshot>,
    /// One change at a time: each next snapshot is made from the current one.
    changing: Mutex<()>,
    remembered: Remembered,
    background: Background,
}

impl Live {
    pub fn new(
        loaded: Loaded,
        remembered: Remembered,
        background: &Background,
    ) -> Result<Self, ClientError> {
        let client = client(&loaded.settings, background)?;
        let snapshot = snapshot(
            &KeySet::default(),
            loaded.settings,
            loaded.keys,
            client,
            &remembered,
        );
        Ok(Self {
            current: ArcSwap::from_pointee(snapshot),
            changing: Mutex::default(),
            remembered,
            background: background.clone(),
        })
    }

    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// All that can fail happens before the one swap, which cannot. Returns the snapshot that was replaced.
    pub fn adopt(&self, loaded: Loaded) -> Result<Arc<Snapshot>, ClientError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current.load_full();
        // Connections to an unchanged vendor are kept.
        let client = if same_vendor(&old.settings, &loaded.settings) {
            old.client.clone()
        } else {
            client(&loaded.settings, &self.background)?
        };
        let next = snapshot(
            &old.keys,
            loaded.settings,
            loaded.keys,
            client,
            &self.remembered,
        );
        self.current.store(Arc::new(next));
        // New keys are there to be probed, and perhaps to be used.
        old.keys.events().happened();
        Ok(old)
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
            &old.keys,
            old.settings.clone(),
            old.entries.clone(),
            old.client.clone(),
            &self.remembered,
        );
        self.current.store(Arc::new(next));
    }
}

fn snapshot(
    old: &KeySet,
    settings: Settings,
    entries: Vec<KeyEntry>,
    client: Client,
    remembered: &Remembered,
) -> Snapshot {
    let rules = Rules {
        strategy: settings.pool.strategy,
        rates: settings.vendor.profile.limits,
        billing: settings.vendor.profile.billing,
        balance: settings.balance,
        keep: settings.poll.keep,
    };
    let keys = old.next(&entries, remembered, &rules, Instant::now(), chance);
    let profile_name = settings.vendor.profile.name.as_str().into();
    let mut hosts = settings.vendor.profile.hosts.clone();
    hosts.extend(host_of(&settings.vendor.profile.url));
    Snapshot {
        settings,
        keys,
        client,
        profile_name,
        hosts,
        entries,
    }
}

fn host_of(url: &str) -> Option<String> {
    let uri: hyper::Uri = url.parse().ok()?;
    uri.host().map(str::to_owned)
}

fn client(settings: &Settings, background: &Background) -> Result<Client, ClientError> {
    let vendor = &settings.vendor;
    Client::new(
        &vendor.profile.url,
        vendor.ca_pem.as_deref(),
        vendor.connect_timeout,
        background,
    )
}

fn same_vendor(old: &Settings, new: &Settings) -> bool {
    let of = |settings: &Settings| {
        let vendor = &settings.vendor;
        (
            vendor.profile.url.clone(),
            vendor.ca_pem.clone(),
            vendor.connect_timeout,
        )
    };
    of(old) == of(new)
}
