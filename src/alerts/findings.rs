//! What holds now, found in a view of the state. Pure.
//!
//! The texts are for whoever is woken by them: they say what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cause::Cause;
use crate::config::settings::Balance;
use crate::keys::health::Condition;
use crate::keys::set::DEFAULT_POOL;
use crate::money::decimal;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub cause: Cause,
    /// The name of a key, a pool or a tenant: the same trouble of the same subject is told once.
    pub subject: Arc<str>,
    pub text: String,
}

/// All that alerts are about, as plain values.
#[derive(Clone, Debug)]
pub struct View {
    /// From which somebody is served now. Of others nobody misses anything.
    pub pools: BTreeSet<Arc<str>>,
    /// Those that stand in a file and are not disabled there.
    pub keys: Vec<KeyView>,
    pub balance: Balance,
    pub vendor: Reach,
}

#[derive(Clone, Debug)]
pub struct KeyView {
    pub name: Arc<str>,
    pub pools: Vec<Arc<str>>,
    pub condition: Condition,
    pub disabled: bool,
    /// The vendor's word for the condition.
    pub why: Option<String>,
    pub sells_threads: bool,
    /// Never of a thread plan, which no balance judges. None: nobody knows yet.
    pub micro_usd: Option<i64>,
    /// It rests, and for longer than a client waits.
    pub rests_long: bool,
    /// Every slot is taken, by our count or by the vendor's word.
    pub is_full: bool,
    /// Of a balance plan: what somebody else has spent lately.
    pub spent_by_others: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Reached,
    OutOfReach,
    /// It refuses all calls from our address.
    Banned,
}

/// `is_active` says what was told already: what is over is over by some distance, not by a hair.
pub fn find(view: &View, is_active: impl Fn(Cause, &str) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |cause, subject: &Arc<str>, text| {
        found.push(Finding {
            cause,
            subject: Arc::clone(subject),
            text,
        });
    };
    for key in view.keys.iter().filter(|key| !key.disabled) {
        let name = &key.name;
        if let Some(text) = nothing_left(key, &view.balance) {
            add(Cause::BalanceCritical, name, text);
        }
        let low = view.balance.low_micro_usd;
        let enough = match is_active(Cause::BalanceLow, name) {
            // A tenth more: tasks that fail give their price back, which is no refill.
            true => low.saturating_add(low / 10),
            false => low,
        };
        if let Some(money) = key.micro_usd.filter(|money| *money < enough) {
            let text = format!(
                "{name} has ${} left, below balance.low (${}): refill it or add a key",
                dollars(money),
                dollars(low)
            );
            add(Cause::BalanceLow, name, text);
        }
        if key.condition == Condition::Revoked {
            let text = format!(
                "{name} is refused by the vendor ({}) and no longer used: replace its value where it is written, or renew the account",
                why(key)
            );
            add(Cause::KeyRevoked, name, text);
        }
        if let Some(spent) = key.spent_by_others {
            let text = format!(
                "${} of {name} was spent by somebody else: another program uses this key, or it leaked; if nobody knows of it, replace the key at the vendor",
                dollars(spent)
            );
            add(Cause::SpendBeyondLedger, name, text);
        }
    }
    if let Some(text) = no_vendor(view.vendor) {
        // Once, however many pools miss it.
        add(Cause::NoUsableKey, &DEFAULT_POOL.into(), text);
    }
    for (pool, keys) in by_pool(view) {
        let is_usable = |key: &&&KeyView| is_usable(key, &view.balance);
        let mut usable = keys.iter().filter(is_usable).peekable();
        if usable.peek().is_none() {
            if view.vendor == Reach::Reached {
                let text = no_usable_key(pool, &keys, &view.balance);
                add(Cause::NoUsableKey, pool, text);
            }
        } else if usable.all(|key| key.is_full) {
            let text = format!(
                "every slot of every usable key in pool {pool} has been taken for {} seconds: add a key or a larger plan, or submit less",
                Cause::SlotsFull.told_after().as_secs()
            );
            add(Cause::SlotsFull, pool, text);
        }
    }
    found
}

/// Also those without a key.
fn by_pool(view: &View) -> BTreeMap<&Arc<str>, Vec<&KeyView>> {
    let mut pools: BTreeMap<_, Vec<_>> = view.pools.iter().map(|pool| (pool, Vec::new())).collect();
    for key in &view.keys {
        for pool in &key.pools {
            if let Some(keys) = pools.get_mut(pool) {
                keys.push(key);
            }
        }
    }
    pools
}

fn nothing_left(key: &KeyView, limits: &Balance) -> Option<String> {
    let name = &key.name;
    if key.condition == Condition::Empty && key.sells_threads {
        let why = why(key);
        return Some(format!(
            "{name} takes no more tasks ({why}): renew its plan or add a key"
        ));
    }
    if is_spent(key, limits) {
        let left = dollars(key.micro_usd.unwrap_or_default());
        return Some(format!(
            "{name} has ${left} left and takes no more tasks: refill it or add a key"
        ));
    }
    (key.condition == Condition::Empty).then(|| {
        let why = why(key);
        format!("{name} is empty, the vendor says ({why}): refill it or add a key")
    })
}

/// By the balance alone, whatever the vendor said.
fn is_spent(key: &KeyView, limits: &Balance) -> bool {
    key.micro_usd
        .is_some_and(|money| money <= 0 || money < limits.minimum_micro_usd)
}

fn is_usable(key: &KeyView, limits: &Balance) -> bool {
    let serves = match key.condition {
        Condition::Healthy => true,
        Condition::Cooling => !key.rests_long,
        Condition::Unproven | Condition::Suspect | Condition::Empty | Condition::Revoked => false,
    };
    serves && !key.disabled && !is_spent(key, limits)
}

fn no_vendor(vendor: Reach) -> Option<String> {
    match vendor {
        Reach::Reached => None,
        Reach::Banned => Some(format!(
            "the vendor refuses every call from this address for a while, mostly after calls with bad keys: take those out of the keys file; {REFUSED}"
        )),
        Reach::OutOfReach => Some(format!(
            "the vendor cannot be reached: see whether it is down, or the network; {REFUSED}"
        )),
    }
}

fn no_usable_key(pool: &str, keys: &[&KeyView], limits: &Balance) -> String {
    if keys.is_empty() {
        return format!("there is no key in pool {pool}: add one to the keys file; {REFUSED}");
    }
    let count = |is: &dyn Fn(&KeyView) -> bool| keys.iter().filter(|key| is(key)).count();
    let are = |condition| count(&|key| !key.disabled && key.condition == condition);
    let is_spent = |key: &KeyView| {
        !key.disabled && key.condition == Condition::Healthy && is_spent(key, limits)
    };
    let counts = [
        (are(Condition::Revoked), "refused by the vendor"),
        (are(Condition::Empty) + count(&is_spent), "empty"),
        (are(Condition::Cooling), "resting"),
        (are(Condition::Suspect), "suspect"),
        (are(Condition::Unproven), "not proven yet"),
        (count(&|key| key.disabled), "disabled"),
    ];
    let counts: Vec<_> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    format!(
        "no key in pool {pool} can be used ({}): add a key or refill an account; {REFUSED}",
        counts.join(", ")
    )
}

const REFUSED: &str = "submits are refused until then";

fn why(key: &KeyView) -> &str {
    key.why.as_deref().unwrap_or("no reason given")
}

/// To the cent, downwards: $0.999 is not yet a dollar. What is less than a cent in full.
fn dollars(micro_usd: i64) -> String {
    const CENT: i64 = 10_000;
    if micro_usd.abs() < CENT {
        return decimal(micro_usd);
    }
    decimal(micro_usd.div_euclid(CENT) * CENT)
}

#[cfg(test)]
mod tests;
