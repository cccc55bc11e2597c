//! What a sandbox is told at its start. Every line can be left out.

use serde::{Deserialize, Serialize};

use super::limits::{Ban, Limits};

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxConfig {
    pub dialect: Dialect,
    pub accounts: Vec<AccountConfig>,
    /// Before every path, as at vendors that live below `/2captcha`.
    pub prefix: String,
    /// A key of another length is answered `ERROR_WRONG_USER_KEY`. 0 = any length.
    pub key_length: usize,
    /// Seconds of the sandbox in a real second: solve times, bans and all other times shrink.
    pub clock_speed: u32,
    /// Bad keys from one address until that address is banned. 0 = never. Vendors ban at 5.
    pub ban_after: u32,
    /// 0 = as long as the dialect's vendor says.
    pub ban_ms: u64,
    /// The bans of accounts that are enforced.
    pub bans: Vec<Ban>,
    /// Requests of one account in a second before the next is an HTTP 429. 0 = any number.
    pub requests_per_second: u32,
    /// What a submit is told while no thread is free. Left out = what the dialect's vendor documents.
    pub full_code: Option<String>,
    /// What a submit is told at `threads = 0`. Left out = what the dialect's vendor documents.
    pub expired_code: Option<String>,
    /// Whether `ids=1,2,3` is taken. Left out = as the dialect's vendor does.
    pub joined_ids: Option<bool>,
    pub ids: IdShape,
    pub first_id: u64,
    /// Ids of `userrecaptcha` as JSON numbers.
    pub numeric_ids: bool,
    /// `error_text` beside an error in JSON.
    pub error_text: bool,
    /// Texts that must never arrive, such as a placeholder key: a call that holds one anywhere says so in the record.
    pub forbidden: Vec<String>,
    pub max_connections: usize,
    /// Calls that are remembered; older ones are only counted.
    pub record_limit: usize,
    /// Tasks that are remembered; older ones become unknown ids.
    pub task_limit: usize,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            dialect: Dialect::Captchaai,
            accounts: Vec::new(),
            prefix: String::new(),
            key_length: 32,
            clock_speed: 1,
            ban_after: 0,
            ban_ms: 0,
            bans: Vec::new(),
            requests_per_second: 0,
            full_code: None,
            expired_code: None,
            joined_ids: None,
            ids: IdShape::Decimal,
            first_id: 73_548_291,
            numeric_ids: false,
            error_text: false,
            forbidden: Vec::new(),
            max_connections: 10_000,
            record_limit: 200_000,
            task_limit: 1_000_000,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Thread plans: `threadsinfo`, no thread free is `ERROR_ZERO_BALANCE`, no `ids=`.
    Captchaai,
    /// Prepaid balance: `ids=`, no place free is `ERROR_NO_SLOT_AVAILABLE`, no `threadsinfo`.
    #[serde(rename = "2captcha")]
    Twocaptcha,
}

/// How task ids look. They count up in every shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdShape {
    /// `73548291`
    Decimal,
    /// `073548291`
    LeadingZero,
    /// `4624203`
    Hex,
    /// `00000000-0000-4000-8000-000004624203`
    Uuid,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountConfig {
    pub name: String,
    pub key: String,
    /// Money, in millionths of a dollar.
    pub balance_micros: i64,
    /// What a solve costs. 0 = a thread plan, where the balance never falls.
    pub price_micros: i64,
    /// Tasks at the same time. 0 = no plan. Left out = no limit.
    pub threads: Option<u32>,
    pub solve_ms: u64,
    /// The same answer for every task; one that starts with `ERROR` is a failure and costs nothing.
    /// Left out = `solved-` and the task's id.
    pub answer: Option<String>,
    /// The whole JSON text of a solved poll, for vendors that answer in other shapes. `{id}` is replaced by the
    /// task's id, so that a test can see which task was answered.
    pub answer_json: Option<String>,
    /// `false`: the vendor no longer knows the key.
    pub enabled: bool,
    /// What changes by itself. Deadlines run from when this is given to the sandbox, which then keeps it: an
    /// account that is read back has none, and given again they are added to those that wait.
    pub later: Vec<Later>,
}

/// A refill, a plan that ends or is renewed, a key that dies. What is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Later {
    pub after_ms: u64,
    pub balance_micros: Option<i64>,
    pub threads: Option<u32>,
    pub enabled: Option<bool>,
}

impl Default for AccountConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            key: String::new(),
            balance_micros: 10_000_000,
            price_micros: 0,
            threads: None,
            solve_ms: 1_000,
            answer: None,
            answer_json: None,
            enabled: true,
            later: Vec::new(),
        }
    }
}

impl AccountConfig {
    pub fn new(name: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            key: key.into(),
            ..Self::default()
        }
    }
}

/// A mistake in a configuration or in a call to the control API.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Mistake {
    #[error(
        "an account has no name: give it one, it is what the record and the ledger say instead of the key"
    )]
    NoName,
    #[error("account `{0}` has no key: give it one of 32 characters")]
    NoKey(String),
    #[error(
        "account `{name}` has a key of {length} characters and `key_length` is {wanted}: every call with it would be refused"
    )]
    KeyLength {
        name: String,
        length: usize,
        wanted: usize,
    },
    #[error("accounts `{0}` and `{1}` have the same key: a vendor has one account per key")]
    SameKey(String, String),
    #[error("there are two accounts named `{0}`: rename one")]
    SameName(String),
    #[error("a probability of {0} is not between 0 and 1")]
    Probability(f64),
    #[error(
        "`{0}` strikes before a request is read, control calls included: say how often with `times`"
    )]
    Endless(&'static str),
    #[error(
        "`{0}` strikes before a request is read: it cannot know `endpoint`, `action` or `account`"
    )]
    Unread(&'static str),
    #[error("`{0}` changes the real answer, so the call has to take effect: leave out `done`")]
    NotDone(&'static str),
    #[error("there are {0} {1} already: remove some first")]
    TooMany(usize, &'static str),
    #[error("a `clock_speed` of {0} is not between 1 and {FASTEST}")]
    ClockSpeed(u32),
    #[error("there is no account named `{0}`: GET /sandbox/accounts lists them")]
    UnknownAccount(String),
    #[error("status {0} is not a final HTTP status: use 200 to 599")]
    Status(u16),
    #[error("`{0}` is not a header value: leave out line breaks and control characters")]
    HeaderValue(String),
}

/// Beyond it a solve time is shorter than the way over loopback.
const FASTEST: u32 = 10_000;

impl SandboxConfig {
    /// All that 2captcha documents, and of CaptchaAI, which documents no more, the ban of the address.
    pub fn with_documented_limits(self) -> Self {
        let bans = match self.dialect {
            Dialect::Captchaai => Vec::new(),
            Dialect::Twocaptcha => Ban::ALL.to_vec(),
        };
        Self {
            bans,
            ban_after: 5,
            ..self
        }
    }

    /// Three accounts on a thread plan, with keys that nobody takes for real ones.
    pub fn with_three_accounts(self) -> Self {
        let account = |n| AccountConfig {
            threads: Some(5),
            ..AccountConfig::new(
                format!("account-{n}"),
                format!("0000000000000000sandboxaccount0{n}"),
            )
        };
        Self {
            accounts: (1..=3).map(account).collect(),
            ..self
        }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            bans: self.bans.clone(),
            requests_per_second: self.requests_per_second,
            ban_after: self.ban_after,
            ban_ms: self.ban_ms,
        }
    }

    pub fn check(&self) -> Result<(), Mistake> {
        if !(1..=FASTEST).contains(&self.clock_speed) {
            return Err(Mistake::ClockSpeed(self.clock_speed));
        }
        for (at, account) in self.accounts.iter().enumerate() {
            account.check(self.key_length)?;
            for other in &self.accounts[..at] {
                if other.name == account.name {
                    return Err(Mistake::SameName(account.name.clone()));
                }
                if other.key == account.key {
                    return Err(Mistake::SameKey(other.name.clone(), account.name.clone()));
                }
            }
        }
        Ok(())
    }
}

impl AccountConfig {
    pub(super) fn check(&self, key_length: usize) -> Result<(), Mistake> {
        if self.name.is_empty() {
            return Err(Mistake::NoName);
        }
        if self.key.is_empty() {
            return Err(Mistake::NoKey(self.name.clone()));
        }
        let length = self.key.chars().count();
        if key_length > 0 && length != key_length {
            return Err(Mistake::KeyLength {
                name: self.name.clone(),
                length,
                wanted: key_length,
            });
        }
        Ok(())
    }
}
