//! The vendor's books: who may call, which tasks run, what they cost. No sockets; `now` is a parameter.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use super::account::{Account, Totals};
use super::answer::Answer;
use super::config::{AccountConfig, IdShape, Mistake, SandboxConfig};
use super::limits::{Addresses, Limits, Stop, Usage};
use super::task::{LedgerTask, Task};

/// 2captcha takes a report for so long after the submit.
const REPORT_SECONDS: u64 = 15 * 60;
/// SECURITY: an account costs memory, and so does what changes later; nobody tests with more.
const MOST_ACCOUNTS: usize = 100_000;
const MOST_LATER: usize = 1000;

#[derive(Debug)]
pub(super) struct Vendor {
    config: Arc<SandboxConfig>,
    started: Instant,
    /// Removed accounts stay, without a key, so that the ledger still adds up.
    accounts: BTreeMap<Arc<str>, Account>,
    by_key: HashMap<String, Arc<str>>,
    tasks: HashMap<Arc<str>, Task>,
    /// Ids of `tasks`, oldest first.
    order: VecDeque<Arc<str>>,
    next_id: u64,
    limits: Limits,
    addresses: Addresses,
}

/// An account as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountState {
    pub name: String,
    pub key: String,
    pub enabled: bool,
    pub balance_micros: i64,
    pub price_micros: i64,
    pub threads: Option<u32>,
    pub working: usize,
    pub solve_ms: u64,
    /// The ban in force, and when it ends.
    pub ban: Option<&'static str>,
    pub ban_left_ms: u64,
}

/// A task that was just made.
pub(super) struct Made {
    pub(super) id: Arc<str>,
    pub(super) ready_at: Instant,
}

/// Why there is no task, and the limits that asking for it broke.
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) violations: Vec<&'static str>,
}

impl Vendor {
    pub(super) fn new(config: Arc<SandboxConfig>, now: Instant) -> Result<Self, Mistake> {
        config.check()?;
        let mut vendor = Self {
            next_id: config.first_id,
            started: now,
            accounts: BTreeMap::new(),
            by_key: HashMap::new(),
            tasks: HashMap::new(),
            order: VecDeque::new(),
            limits: config.limits(),
            addresses: Addresses::default(),
            config,
        };
        for account in vendor.config.accounts.clone() {
            vendor.put_account(account, now)?;
        }
        Ok(vendor)
    }

    /// Accounts as at the start, nothing else but the next id.
    pub(super) fn reset(&mut self, now: Instant) {
        self.accounts.clear();
        self.by_key.clear();
        self.tasks.clear();
        self.order.clear();
        self.set_limits(self.config.limits());
        for account in self.config.accounts.clone() {
            // They were accepted at the start.
            self.put_account(account, now).ok();
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Ends every ban and counts anew.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.addresses = Addresses::default();
        for account in self.accounts.values_mut() {
            account.usage = Usage::default();
        }
    }

    /// Adds an account, or gives one of that name new settings; its tasks and its ledger stay.
    pub(super) fn put_account(
        &mut self,
        config: AccountConfig,
        now: Instant,
    ) -> Result<(), Mistake> {
        config.check(self.config.key_length)?;
        let name: Arc<str> = config.name.as_str().into();
        if let Some(owner) = self.by_key.get(&config.key)
            && *owner != name
        {
            return Err(Mistake::SameKey(owner.to_string(), config.name));
        }
        if self.accounts.len() >= MOST_ACCOUNTS && !self.accounts.contains_key(&name) {
            return Err(Mistake::TooMany(MOST_ACCOUNTS, "accounts"));
        }
        let waiting = self.accounts.get(&name).map_or(0, Account::waiting);
        if waiting + config.later.len() > MOST_LATER {
            return Err(Mistake::TooMany(MOST_LATER, "later changes"));
        }
        self.remove_account(&name);
        self.by_key.insert(config.key.clone(), Arc::clone(&name));
        match self.accounts.get_mut(&name) {
            Some(account) => account.put(config, now),
            None => {
                self.accounts.insert(name, Account::new(config, now));
            }
        }
        Ok(())
    }

    /// The account's settings, its balance as it is now.
    pub(super) fn account_config(&mut self, name: &str, now: Instant) -> Option<AccountConfig> {
        let account = self.accounts.get_mut(name)?;
        account.settle(now);
        Some(account.config.clone())
    }

    /// The vendor no longer knows the account's key. Its tasks and its ledger stay.
    pub(super) fn remove_account(&mut self, name: &str) -> bool {
        let key = self
            .accounts
            .get(name)
            .map(|account| account.config.key.clone());
        match key {
            Some(key) if self.is_known(name) => self.by_key.remove(&key).is_some(),
            _ => false,
        }
    }

    fn is_known(&self, name: &str) -> bool {
        let key = self.accounts.get(name).map(|account| &account.config.key);
        key.and_then(|key| self.by_key.get(key))
            .is_some_and(|owner| **owner == *name)
    }

    /// Whose key this is, or what refuses it. Counts calls per account and bad keys per address.
    pub(super) fn admit(
        &mut self,
        key: Option<&str>,
        from: IpAddr,
        is_submit: bool,
        now: Instant,
    ) -> Result<Arc<str>, Stop> {
        let ban = self.limits.of_address(self.config.dialect);
        if self.addresses.is_banned(from, now) {
            return Err(Stop::code(ban.code));
        }
        let key = key.unwrap_or_default();
        let wrong_length =
            self.config.key_length > 0 && key.chars().count() != self.config.key_length;
        let owner = self.by_key.get(key).filter(|_| !wrong_length);
        if let Some(name) = owner
            && let Some(account) = self.accounts.get_mut(name)
        {
            account.settle(now);
            if account.config.enabled {
                account.usage.arrive(&self.limits, is_submit, now)?;
                return Ok(Arc::clone(name));
            }
        }
        let is_banned = self.addresses.bad_key(from, ban, now);
        Err(Stop {
            violation: is_banned.then_some(ban.code),
            ..Stop::code(if wrong_length {
                "ERROR_WRONG_USER_KEY"
            } else {
                "ERROR_KEY_DOES_NOT_EXIST"
            })
        })
    }

    /// Whose key this is, for the record: nothing is counted.
    pub(super) fn owner_of(&self, key: Option<&str>) -> Option<Arc<str>> {
        self.by_key.get(key?).cloned()
    }

    pub(super) fn submit(
        &mut self,
        account: &Arc<str>,
        content_hash: String,
        now: Instant,
    ) -> Result<Made, Refusal> {
        let Some(of) = self.accounts.get_mut(account) else {
            return Err(Refusal {
                code: "ERROR_KEY_DOES_NOT_EXIST".to_owned(),
                violations: Vec::new(),
            });
        };
        of.settle(now);
        let allowed = of.may_submit(&self.config);
        let refusal = allowed.as_ref().err().map(String::as_str);
        let violations = of.usage.submitted(&self.limits, refusal, now);
        allowed.map_err(|code| Refusal { code, violations })?;
        let id: Arc<str> = shape(self.next_id, self.config.ids).into();
        self.next_id += 1;
        let ready_at = of.start(&id, now);
        let task = Task {
            owner: Arc::clone(account),
            made_at: now,
            ready_at,
            price_micros: of.config.price_micros,
            answer: of.config.answer.as_deref().map(Into::into),
            answer_json: of.config.answer_json.as_deref().map(Into::into),
            content_hash,
            told: false,
            polls: 0,
            report: None,
        };
        self.tasks.insert(Arc::clone(&id), task);
        self.order.push_back(Arc::clone(&id));
        if self.order.len() > self.config.task_limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.tasks.remove(&oldest);
        }
        Ok(Made { id, ready_at })
    }

    /// The submit's answer went out readable.
    pub(super) fn told(&mut self, id: &str) {
        if let Some(task) = self.tasks.get_mut(id) {
            task.told = true;
        }
    }

    /// A submit that was answered with an error code.
    pub(super) fn refused(&mut self, account: &str) {
        if let Some(account) = self.accounts.get_mut(account) {
            account.totals.refused += 1;
        }
    }

    /// A submit that a fault struck before it took effect.
    pub(super) fn struck(&mut self, account: &str) {
        if let Some(account) = self.accounts.get_mut(account) {
            account.totals.struck += 1;
        }
    }

    /// `Err(())` means that the task is another account's.
    pub(super) fn poll(
        &mut self,
        account: &Arc<str>,
        id: &str,
        with_price: bool,
        now: Instant,
    ) -> Result<Answer, ()> {
        let owner_totals = |vendor: &mut Self, foreign: bool| {
            if let Some(account) = vendor.accounts.get_mut(account) {
                account.totals.polls += 1;
                account.totals.foreign += u64::from(foreign);
            }
        };
        let Some(task) = self.tasks.get_mut(id) else {
            owner_totals(self, false);
            return Ok(Answer::code("ERROR_WRONG_CAPTCHA_ID"));
        };
        if task.owner != *account {
            owner_totals(self, true);
            return Err(());
        }
        task.polls += 1;
        let answer = if now < task.ready_at {
            Answer::code("CAPCHA_NOT_READY")
        } else {
            task.final_answer(id, with_price)
        };
        owner_totals(self, false);
        Ok(answer)
    }

    /// The task's answer whether or not its time has come: for a call that waited for it.
    pub(super) fn final_answer(&self, id: &str) -> Answer {
        self.tasks.get(id).map_or_else(
            || Answer::code("ERROR_WRONG_CAPTCHA_ID"),
            |task| task.final_answer(id, false),
        )
    }

    /// `Err(())` means that the task is another account's.
    pub(super) fn report(
        &mut self,
        account: &Arc<str>,
        id: &str,
        good: bool,
        now: Instant,
    ) -> Result<Answer, ()> {
        let Some(task) = self.tasks.get_mut(id) else {
            return Ok(Answer::code("ERROR_WRONG_CAPTCHA_ID"));
        };
        let Some(of) = self.accounts.get_mut(account) else {
            return Ok(Answer::code("ERROR_KEY_DOES_NOT_EXIST"));
        };
        if task.owner != *account {
            of.totals.foreign += 1;
            return Err(());
        }
        if task.report.is_some() {
            return Ok(Answer::code("ERROR_DUPLICATE_REPORT"));
        }
        let late = now.duration_since(task.made_at).as_secs() >= REPORT_SECONDS;
        if now < task.ready_at || task.fails() || late {
            return Ok(Answer::code("ERROR_REPORT_NOT_RECORDED"));
        }
        task.report = Some(if good { "good" } else { "bad" });
        of.totals.reported_good += u64::from(good);
        of.totals.reported_bad += u64::from(!good);
        Ok(Answer::Plain("OK_REPORT_RECORDED".to_owned()))
    }

    pub(super) fn account(&mut self, name: &str, now: Instant) -> Option<AccountState> {
        let known = self.is_known(name);
        let account = self.accounts.get_mut(name)?;
        account.settle(now);
        Some(account.state(known, now))
    }

    pub(super) fn accounts(&mut self, now: Instant) -> Vec<AccountState> {
        let names: Vec<Arc<str>> = self.accounts.keys().cloned().collect();
        names
            .iter()
            .filter_map(|name| self.account(name, now))
            .collect()
    }

    pub(super) fn totals(&mut self, now: Instant) -> BTreeMap<String, Totals> {
        self.accounts
            .iter_mut()
            .map(|(name, account)| {
                account.settle(now);
                (name.to_string(), account.totals.clone())
            })
            .collect()
    }

    /// Oldest first.
    pub(super) fn tasks(&self, now: Instant) -> Vec<LedgerTask> {
        self.order
            .iter()
            .filter_map(|id| Some(self.tasks.get(id)?.entry(id, self.started, now)))
            .collect()
    }
}

fn shape(number: u64, shape: IdShape) -> String {
    match shape {
        IdShape::Decimal => number.to_string(),
        IdShape::LeadingZero => format!("0{number}"),
        IdShape::Hex => format!("{number:x}"),
        IdShape::Uuid => format!("00000000-0000-4000-8000-{:012x}", number & 0xffff_ffff_ffff),
    }
}
