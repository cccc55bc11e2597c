//! A vendor to test against: accounts, balances, places, clocks and faults, in the words of real vendors.
//!
//! It runs inside a test (`start`) or as `sidekey sandbox`, where the control API below `/sandbox/` does what
//! the methods of [`Sandbox`] do. A call travels `serve` -> `calls` -> (`params`, `faults`, `effect`, `vendor`, `answer`,
//! `record`) -> `strike` -> `wire_io`.

mod account;
mod answer;
mod calls;
mod clock;
mod config;
mod control;
mod dump;
mod effect;
mod faults;
mod hub;
mod limits;
mod multipart;
mod params;
mod record;
mod serve;
mod strike;
mod task;
#[cfg(test)]
mod tests;
mod vendor;
mod wire_io;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use account::Totals;
pub use config::{AccountConfig, Dialect, IdShape, Later, Mistake, SandboxConfig};
pub use faults::{ActiveFault, Fault, FaultRule, Place};
pub use limits::{Ban, Limits};
pub use record::{Counts, Record, RecordedCall};
pub use task::LedgerTask;
pub use vendor::AccountState;

use crate::background::Background;
use hub::Hub;

/// Binds, then serves until `background` stops or [`Sandbox::stop`] is called.
pub async fn start(
    config: SandboxConfig,
    address: SocketAddr,
    background: &Background,
) -> io::Result<Sandbox> {
    let hub = Arc::new(Hub::new(config).map_err(io::Error::other)?);
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let stopped = CancellationToken::new();
    let accepting = serve::accept(Arc::clone(&hub), listener, stop.clone(), background.clone());
    let closed = stopped.clone().drop_guard();
    background.spawn(async move {
        accepting.await;
        drop(closed);
    });
    Ok(Sandbox {
        address,
        hub,
        stop,
        stopped,
    })
}

/// A handle; clones are handles of the same sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox {
    address: SocketAddr,
    hub: Arc<Hub>,
    stop: CancellationToken,
    stopped: CancellationToken,
}

/// What was done and what it cost, counted where it happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    pub accounts: BTreeMap<String, Totals>,
}

impl Sandbox {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, and the prefix if there is one.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.hub.config.prefix)
    }

    /// The fault's number, for `remove_fault`.
    pub fn set_fault(&self, rule: FaultRule) -> Result<u64, Mistake> {
        self.hub.faults.add(rule)
    }

    /// `false` if it has struck all its times already.
    pub fn remove_fault(&self, id: u64) -> bool {
        self.hub.faults.remove(id)
    }

    /// Calls that a fault delays are answered at once.
    pub fn clear_faults(&self) {
        self.hub.faults.clear();
    }

    pub fn faults(&self) -> Vec<ActiveFault> {
        self.hub.faults.list()
    }

    /// Closes every connection that waits for a request, without a word.
    pub fn close_idle(&self) {
        self.hub.close_idle.send_modify(|n| *n += 1);
    }

    pub fn accounts(&self) -> Vec<AccountState> {
        self.hub.vendor().accounts(self.hub.clock.now())
    }

    /// Adds an account, or gives the one of that name new settings; its tasks stay.
    pub fn put_account(&self, account: AccountConfig) -> Result<(), Mistake> {
        let now = self.hub.clock.now();
        self.hub.vendor().put_account(account, now)
    }

    /// The vendor no longer knows the key; the account's tasks and its ledger stay.
    pub fn remove_account(&self, name: &str) -> Result<(), Mistake> {
        if self.hub.vendor().remove_account(name) {
            Ok(())
        } else {
            Err(Mistake::UnknownAccount(name.to_owned()))
        }
    }

    /// Changes what `change` changes and leaves the rest.
    pub fn change_account(
        &self,
        name: &str,
        change: impl FnOnce(&mut AccountConfig),
    ) -> Result<(), Mistake> {
        let now = self.hub.clock.now();
        let mut vendor = self.hub.vendor();
        let config = vendor.account_config(name, now);
        let mut config = config.ok_or_else(|| Mistake::UnknownAccount(name.to_owned()))?;
        change(&mut config);
        config.name = name.to_owned();
        vendor.put_account(config, now)
    }

    pub fn set_balance(&self, name: &str, micros: i64) -> Result<(), Mistake> {
        self.change_account(name, |account| account.balance_micros = micros)
    }

    pub fn set_threads(&self, name: &str, threads: Option<u32>) -> Result<(), Mistake> {
        self.change_account(name, |account| account.threads = threads)
    }

    /// For tasks to come.
    pub fn set_solve_time(&self, name: &str, ms: u64) -> Result<(), Mistake> {
        self.change_account(name, |account| account.solve_ms = ms)
    }

    /// A refill, the end of a plan or its renewal, at its time.
    pub fn change_later(&self, name: &str, later: Later) -> Result<(), Mistake> {
        self.change_account(name, |account| account.later.push(later))
    }

    pub fn limits(&self) -> Limits {
        self.hub.vendor().limits().clone()
    }

    /// Ends every ban and counts anew.
    pub fn set_limits(&self, limits: Limits) {
        self.hub.vendor().set_limits(limits);
    }

    /// For tasks to come.
    pub fn set_answer(&self, name: &str, answer: Option<&str>) -> Result<(), Mistake> {
        self.change_account(name, |account| account.answer = answer.map(str::to_owned))
    }

    /// A copy of every call that is remembered.
    pub fn record(&self) -> Record {
        self.hub.recorder.copy()
    }

    pub fn counts(&self) -> Counts {
        self.hub.recorder.look(|record| record.counts.clone())
    }

    /// Returns once `holds` does; it is asked again after every call. Bound it with `tokio::time::timeout`.
    pub async fn wait_for(&self, holds: impl FnMut(&Record) -> bool) {
        self.hub.recorder.wait_for(holds).await;
    }

    pub fn ledger(&self) -> Ledger {
        Ledger {
            accounts: self.hub.vendor().totals(self.hub.clock.now()),
        }
    }

    /// Every task that is remembered, oldest first.
    pub fn tasks(&self) -> Vec<LedgerTask> {
        self.hub.vendor().tasks(self.hub.clock.now())
    }

    /// As at the start, only that ids go on counting.
    pub fn reset(&self) {
        self.hub.reset();
    }

    /// Drops every connection and returns when the address is free again.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.stopped.cancelled().await;
    }
}
