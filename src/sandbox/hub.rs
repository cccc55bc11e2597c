//! What all connections of a sandbox share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::Clock;
use super::config::{Mistake, SandboxConfig};
use super::faults::Faults;
use super::record::Recorder;
use super::vendor::Vendor;

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) config: Arc<SandboxConfig>,
    /// Held for one step of a call, never over an await.
    vendor: Mutex<Vendor>,
    pub(super) recorder: Recorder,
    pub(super) faults: Faults,
    /// A change closes all connections that wait for a request.
    pub(super) close_idle: watch::Sender<u64>,
    pub(super) clock: Clock,
}

impl Hub {
    pub(super) fn new(config: SandboxConfig) -> Result<Self, Mistake> {
        let config = Arc::new(config);
        let clock = Clock::start(config.clock_speed);
        Ok(Self {
            vendor: Mutex::new(Vendor::new(Arc::clone(&config), clock.now())?),
            recorder: Recorder::new(config.record_limit),
            faults: Faults::default(),
            close_idle: watch::Sender::new(0),
            clock,
            config,
        })
    }

    pub(super) fn vendor(&self) -> MutexGuard<'_, Vendor> {
        self.vendor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn millis_since_start(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.clock.started()).as_millis()).unwrap_or(u64::MAX)
    }

    /// Accounts as at the start; no tasks, no record, no faults, no bans. Ids go on counting, so that a client
    /// that remembers an old one does not meet it again.
    pub(super) fn reset(&self) {
        self.vendor().reset(self.clock.now());
        self.faults.clear();
        self.recorder.clear();
    }
}
