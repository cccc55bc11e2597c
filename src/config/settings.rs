//! What was meant: every option resolved, so that a request never meets an `Option` that start-up could have settled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;

use crate::alerts::webhook::Webhook;
use crate::keys::secret::Secret;
use crate::otlp::collector::Collector;
use crate::store::Address;
use crate::tasks::kind;
use crate::tenants::TokenHash;
use crate::vendor::profile::{Billing, Profile};
use crate::vendor::way::Way;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub listen: Listen,
    pub admin: Admin,
    pub vendor: Vendor,
    pub submit: Submit,
    pub poll: Poll,
    /// The default one first.
    pub pools: Vec<Pool>,
    pub balance: Balance,
    pub alerts: Alerts,
    pub prices: Prices,
    pub clients: Clients,
    pub state: State,
    pub log: Log,
}

/// An address to listen on. A default one is skipped with a warning when its family is missing; a written one must bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    pub address: SocketAddr,
    pub written: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    pub http: Vec<ListenAddress>,
    pub https: Vec<ListenAddress>,
    /// Certificate chain and private key, PEM; both present when `https` is not empty.
    pub tls: Option<TlsFiles>,
    pub max_connections: usize,
    pub max_body: usize,
    pub max_body_total: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub listen: Vec<ListenAddress>,
    pub token: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Vendor {
    /// With the overrides of the configuration applied; `url` resolved too, never empty.
    pub profile: Profile,
    /// PEM certificates trusted besides the system's roots, read when the configuration was read.
    pub ca_pem: Option<Vec<u8>>,
    pub connect_timeout: Duration,
    pub way: Way,
}

impl Vendor {
    /// Host names by which clients may call it.
    pub fn hosts(&self) -> Vec<String> {
        let url: Option<Uri> = self.profile.url.parse().ok();
        let own = url.and_then(|url| url.host().map(str::to_owned));
        let mut hosts = self.profile.hosts.clone();
        hosts.extend(own);
        hosts
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Submit {
    pub deadline: Duration,
    pub max_keys: usize,
    pub when_busy: WhenBusy,
    pub when_empty: WhenEmpty,
    pub wait: Duration,
    pub park_for: Duration,
    pub park_max: usize,
}

/// Every key is full or rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenBusy {
    Wait,
    Fail,
    Park,
}

/// No key has money left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenEmpty {
    Fail,
    Park,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    pub name: String,
    pub strategy: Strategy,
}

/// How a key is chosen among equals of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    RoundRobin,
    /// The one with the smallest part of its slots taken.
    LeastBusy,
    /// In proportion to the money on each account.
    Balance,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poll {
    /// How often the vendor is asked about one task.
    pub pace: Duration,
    /// Younger tasks are not asked about at all.
    pub first: Duration,
    pub hide_outage: Duration,
    pub unknown_task: UnknownTask,
    pub keep: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownTask {
    Ask,
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// How often every account is asked.
    pub refresh: Duration,
    /// Below it an account gets no new submits.
    pub minimum_micro_usd: i64,
    /// Below it somebody is told.
    pub low_micro_usd: i64,
}

/// What a solve costs where the vendor does not say it, in micro-dollars, by the type of the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices(pub BTreeMap<&'static str, i64>);

impl Prices {
    pub fn price(&self, kind: &str) -> i64 {
        let price = self.0.get(kind).or_else(|| self.0.get(kind::OTHER));
        price.copied().unwrap_or_default()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Alerts {
    /// None: alerts are told in the log and in metrics only.
    pub webhook: Option<Webhook>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Clients {
    pub mode: Mode,
    /// What a tenant without a limit hears as its balance in a shared pool.
    pub nominal_balance_micro_usd: i64,
    /// Browser origins that may call, as browsers write them: `https://app.example.com`.
    pub origins: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Any token or none: clients are not told apart.
    Open,
    /// The token must be a tenant's.
    Tenants,
}

#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub store: StoreKind,
    pub path: PathBuf,
    /// Somebody asked for this path: it must work, or the start fails.
    pub path_written: bool,
    pub sync: Sync,
    /// Of the Redis server.
    pub url: Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    Memory,
    Sqlite,
    /// Shared by replicas.
    Redis,
}

/// What a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Power loss.
    Full,
    /// `kill -9`.
    Process,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
    /// Where traces go.
    pub otlp: Option<Collector>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// One key as the operator gave it, from whatever source.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyEntry {
    pub name: String,
    pub value: Secret,
    pub pool: Option<String>,
    pub weight: u32,
    /// Lower is tried first.
    pub priority: i32,
    pub disabled: bool,
    /// Slots of the account; without it they are learnt from the vendor where it says.
    pub max_tasks: Option<u32>,
    /// Submits and polls together.
    pub max_requests_per_second: Option<u32>,
    /// None: as the vendor bills usually.
    pub billing: Option<Billing>,
}

/// One tenant as the operator gave it, with what it does not say filled in from `[tenant_defaults]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantEntry {
    pub name: String,
    pub token: TokenHash,
    pub pool: Option<String>,
    /// Its own keys, by name. None: it has none, and shares a pool.
    pub keys: Option<Vec<String>>,
    pub fallback_pool: Option<String>,
    pub fallback_when_empty: bool,
    pub limits: TenantLimits,
    pub active: bool,
    pub role: Role,
    pub project: Option<String>,
    /// What it is billed for a solve, where that is not what the vendor takes.
    pub prices: BTreeMap<&'static str, i64>,
}

/// None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// Solves a UTC day.
    pub daily: Option<u32>,
    /// Submits in any sixty seconds, failed ones too.
    pub rate_per_minute: Option<u32>,
    /// Of a UTC month.
    pub budget_micro_usd: Option<i64>,
    /// Tasks at the same time.
    pub max_tasks: Option<u32>,
}

impl TenantLimits {
    pub fn are_there(&self) -> bool {
        *self != Self::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// May use the admin API with its token.
    Admin,
    User,
    /// A program: like a user.
    Service,
}
