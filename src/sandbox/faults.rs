//! Which call meets which fault. What a fault does to the answer is in `strike.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::http::HeaderValue;
use serde::{Deserialize, Serialize};

use tokio::sync::watch;

use super::config::Mistake;

/// A fault and the calls it strikes. What is left out matches everything.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// `in.php`, `res.php`, `solve.php`, `load.php`
    #[serde(default)]
    pub endpoint: Option<String>,
    /// `get`, `getbalance`, …
    #[serde(default)]
    pub action: Option<String>,
    /// The account's name.
    #[serde(default)]
    pub account: Option<String>,
    /// How many calls are struck. Left out = until removed.
    #[serde(default)]
    pub times: Option<u64>,
    /// The share of matching calls that is struck.
    #[serde(default = "always")]
    pub probability: f64,
    /// The same seed strikes the same calls.
    #[serde(default)]
    pub seed: u64,
    /// Time between the call's effect and the answer. Clearing all faults ends it.
    #[serde(default)]
    pub delay_ms: u64,
    /// Whether the call takes effect (a task is made, a report counted) although its answer is struck.
    /// Left out = no, except for faults that change the real answer.
    #[serde(default)]
    pub done: Option<bool>,
    pub fault: Fault,
}

fn always() -> f64 {
    1.0
}

impl FaultRule {
    /// Strikes every call until removed.
    pub fn new(fault: Fault) -> Self {
        Self {
            endpoint: None,
            action: None,
            account: None,
            times: None,
            probability: 1.0,
            seed: 0,
            delay_ms: 0,
            done: None,
            fault,
        }
    }

    pub fn endpoint(self, endpoint: &str) -> Self {
        Self {
            endpoint: Some(endpoint.to_owned()),
            ..self
        }
    }

    pub fn action(self, action: &str) -> Self {
        Self {
            action: Some(action.to_owned()),
            ..self
        }
    }

    pub fn account(self, account: &str) -> Self {
        Self {
            account: Some(account.to_owned()),
            ..self
        }
    }

    pub fn delay_ms(self, delay_ms: u64) -> Self {
        Self { delay_ms, ..self }
    }

    pub fn times(self, times: u64) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }

    pub fn done(self) -> Self {
        Self {
            done: Some(true),
            ..self
        }
    }

    pub(super) fn takes_effect(&self) -> bool {
        self.done.unwrap_or_else(|| self.fault.changes_answer())
    }

    fn check(&self) -> Result<(), Mistake> {
        let kind = self.fault.kind();
        if !(0.0..=1.0).contains(&self.probability) {
            return Err(Mistake::Probability(self.probability));
        }
        if self.fault.strikes_connections() {
            if self.endpoint.is_some() || self.action.is_some() || self.account.is_some() {
                return Err(Mistake::Unread(kind));
            }
            if self.times.is_none() && self.probability >= 1.0 {
                return Err(Mistake::Endless(kind));
            }
        }
        if self.fault.changes_answer() && self.done == Some(false) {
            return Err(Mistake::NotDone(kind));
        }
        match &self.fault {
            Fault::Status { status, .. }
            | Fault::Html { status }
            | Fault::Redirect { status, .. }
                if !(200..600).contains(status) =>
            {
                Err(Mistake::Status(*status))
            }
            Fault::Redirect { location, .. } if HeaderValue::from_str(location).is_err() => {
                Err(Mistake::HeaderValue(location.clone()))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// A new connection is reset before a byte is read.
    ResetConnect,
    /// A new connection is closed before a byte is read.
    CloseConnect,
    /// The connection is reset after the request was read.
    Reset,
    /// The connection is closed after the request was read.
    Close,
    /// The real answer, later: for use with `delay_ms`.
    Slow,
    /// An HTTP status with a short page.
    Status {
        status: u16,
        /// Seconds, as the `Retry-After` header.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// A web page where an answer is expected.
    Html {
        #[serde(default = "ok")]
        status: u16,
    },
    /// Status 200 and nothing.
    Empty,
    /// Any code, in the format the client asked for.
    Code { code: String },
    /// Any body, as it is.
    Body { text: String },
    /// Somewhere else. `{key}` in the location is replaced by the key.
    Redirect {
        location: String,
        #[serde(default = "found")]
        status: u16,
    },
    /// Bytes that are not HTTP, then the end of the connection.
    NotHttp { text: String },
    /// The first bytes of the real answer's head, then close or reset.
    TruncateHead {
        bytes: usize,
        #[serde(default)]
        reset: bool,
    },
    /// The whole head and the first bytes of the real body, then close or reset.
    TruncateBody {
        bytes: usize,
        #[serde(default)]
        reset: bool,
    },
    /// The real answer, then bytes nobody asked for; the connection stays open.
    Extra { text: String },
    /// The real answer, with the key added.
    EchoKey { place: Place },
    /// The real answer between these texts: a BOM, blanks, a newline.
    Decorate {
        #[serde(default)]
        before: String,
        #[serde(default)]
        after: String,
    },
    /// The real answer with another id: `{id}` is replaced by the real one. Goes into JSON without quotes.
    Id { template: String },
}

fn ok() -> u16 {
    200
}

fn found() -> u16 {
    302
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    Body,
    Header,
}

impl Fault {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ResetConnect => "reset-connect",
            Self::CloseConnect => "close-connect",
            Self::Reset => "reset",
            Self::Close => "close",
            Self::Slow => "slow",
            Self::Status { .. } => "status",
            Self::Html { .. } => "html",
            Self::Empty => "empty",
            Self::Code { .. } => "code",
            Self::Body { .. } => "body",
            Self::Redirect { .. } => "redirect",
            Self::NotHttp { .. } => "not-http",
            Self::TruncateHead { .. } => "truncate-head",
            Self::TruncateBody { .. } => "truncate-body",
            Self::Extra { .. } => "extra",
            Self::EchoKey { .. } => "echo-key",
            Self::Decorate { .. } => "decorate",
            Self::Id { .. } => "id",
        }
    }

    pub(super) fn strikes_connections(&self) -> bool {
        matches!(self, Self::ResetConnect | Self::CloseConnect)
    }

    fn changes_answer(&self) -> bool {
        matches!(
            self,
            Self::Slow
                | Self::TruncateHead { .. }
                | Self::TruncateBody { .. }
                | Self::Extra { .. }
                | Self::EchoKey { .. }
                | Self::Decorate { .. }
                | Self::Id { .. }
        )
    }

    /// Whether the client can still read the real answer.
    pub(super) fn hides_answer(&self) -> bool {
        !matches!(
            self,
            Self::Slow | Self::Extra { .. } | Self::EchoKey { .. } | Self::Decorate { .. }
        )
    }
}

/// A rule as it stands now.
#[derive(Clone, Debug, Serialize)]
pub struct ActiveFault {
    pub id: u64,
    #[serde(serialize_with = "inner")]
    pub rule: Arc<FaultRule>,
    /// Calls that will still be struck.
    pub left: Option<u64>,
    pub struck: u64,
    #[serde(skip)]
    random: u64,
}

fn inner<S: serde::Serializer>(rule: &Arc<FaultRule>, serializer: S) -> Result<S::Ok, S::Error> {
    rule.serialize(serializer)
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Mutex<Rules>,
    /// Lets a call pass without the lock while there is no rule.
    active: AtomicUsize,
    cleared: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Rules {
    list: Vec<ActiveFault>,
    last_id: u64,
}

const MOST_RULES: usize = 1000;

impl Faults {
    pub(super) fn add(&self, rule: FaultRule) -> Result<u64, Mistake> {
        rule.check()?;
        let mut rules = self.lock();
        if rules.list.len() >= MOST_RULES {
            return Err(Mistake::TooMany(MOST_RULES, "faults"));
        }
        rules.last_id += 1;
        let id = rules.last_id;
        let (left, random) = (rule.times, rule.seed);
        if left != Some(0) {
            rules.list.push(ActiveFault {
                id,
                rule: Arc::new(rule),
                left,
                struck: 0,
                random,
            });
        }
        self.active.store(rules.list.len(), Ordering::Release);
        Ok(id)
    }

    pub(super) fn remove(&self, id: u64) -> bool {
        self.retain(|fault| fault.id != id)
    }

    pub(super) fn clear(&self) {
        self.retain(|_| false);
        self.cleared.send_modify(|n| *n += 1);
    }

    /// Changes when all faults are cleared.
    pub(super) fn cleared(&self) -> watch::Receiver<u64> {
        self.cleared.subscribe()
    }

    pub(super) fn list(&self) -> Vec<ActiveFault> {
        self.lock().list.clone()
    }

    pub(super) fn for_connection(&self) -> Option<Arc<FaultRule>> {
        self.first(|rule| rule.fault.strikes_connections())
    }

    pub(super) fn for_call(
        &self,
        endpoint: &str,
        action: &str,
        account: Option<&str>,
    ) -> Option<Arc<FaultRule>> {
        let fits = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == is)
        };
        self.first(|rule| {
            !rule.fault.strikes_connections()
                && fits(&rule.endpoint, Some(endpoint))
                && fits(&rule.action, Some(action))
                && fits(&rule.account, account)
        })
    }

    /// The oldest rule that fits and whose dice say so.
    fn first(&self, fits: impl Fn(&FaultRule) -> bool) -> Option<Arc<FaultRule>> {
        if self.active.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut rules = self.lock();
        let at = rules.list.iter_mut().position(|fault| {
            fits(&fault.rule) && roll(&mut fault.random) < fault.rule.probability
        })?;
        let fault = &mut rules.list[at];
        fault.struck += 1;
        fault.left = fault.left.map(|left| left - 1);
        let rule = Arc::clone(&fault.rule);
        if fault.left == Some(0) {
            rules.list.remove(at);
            self.active.store(rules.list.len(), Ordering::Release);
        }
        Some(rule)
    }

    fn retain(&self, keep: impl Fn(&ActiveFault) -> bool) -> bool {
        let mut rules = self.lock();
        let before = rules.list.len();
        rules.list.retain(keep);
        self.active.store(rules.list.len(), Ordering::Release);
        rules.list.len() < before
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SplitMix64: small, and the same on every machine. The result is below 1.
fn roll(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // The upper 53 bits are what a double holds exactly.
    (z >> 11) as f64 / (1u64 << 53) as f64
}
