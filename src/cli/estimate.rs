//! `sidekey estimate`: what so many solves cost, and whether there is money, or how many threads, for them.

use std::io::{self, Write};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::{Deserialize, Serialize};

use super::admin::{AdminError, Client, Where};
use super::check::Format;
use super::table::shortened;
use crate::config::environment::Environment;
use crate::keys::state::State;
use crate::money::decimal;
use crate::tasks::kind;

const ENOUGH: u8 = 0;
const NOT_ENOUGH: u8 = 1;
const WRONG_USAGE: u8 = 64;

/// Say what so many solves cost, and whether the pool can pay for them
///
/// Prices, balances and times come from the running sidekey. On a thread plan the answer is in hours. Exit code 0: there is
/// enough. 1: not. 64: no key is in that pool. 69: the running sidekey cannot be reached.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey estimate --type recaptcha_v2 --count 10000
  sidekey estimate --type image --count 50000 --format json
  sidekey estimate --type turnstile --count 5000 || echo \"refill first\"")]
pub struct Args {
    /// What is to be solved; what has no name here, as hCaptcha, is `other`
    #[arg(long = "type", value_name = "TYPE", value_parser = types())]
    pub kind: String,
    /// How many solves
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST))]
    pub count: u64,
    /// Whose keys; those of a tenant's own are `tenant:NAME`
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub pool: String,
    #[command(flatten)]
    pub place: Where,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// What people ask for that has no name here: clap's guess for it misleads.
fn types() -> impl TypedValueParser<Value = String> {
    let types = kind::ALL.map(|kind| match kind {
        kind::OTHER => PossibleValue::new(kind).aliases(["hcaptcha", "funcaptcha"]),
        _ => PossibleValue::new(kind),
    });
    PossibleValuesParser::new(types).map(|name| kind::named(&name).to_owned())
}

/// So that no sum of prices overflows.
const MOST: u64 = 1_000_000_000;

pub async fn run(
    args: &Args,
    environment: Environment,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    let (keys, types) = match ask(args, &environment).await {
        Ok(answers) => answers,
        Err(error) => {
            writeln!(err, "sidekey: {error}")?;
            return Ok(error.exit_code());
        }
    };
    let Some(estimate) = Estimate::of(args, &keys.keys, &types.types) else {
        let mut pools: Vec<_> = keys.keys.iter().flat_map(|key| &key.pools).collect();
        pools.sort_unstable();
        pools.dedup();
        let pools: Vec<_> = pools.into_iter().map(String::as_str).collect();
        let pools = shortened(&pools.join(", "), 200);
        writeln!(
            err,
            "sidekey: no key is in the pool `{}`; pools with keys: {pools}",
            args.pool
        )?;
        return Ok(WRONG_USAGE);
    };
    match args.format {
        Format::Text => write!(out, "{}", estimate.text())?,
        Format::Json => writeln!(out, "{}", serde_json::json!(estimate))?,
    }
    Ok(if estimate.enough { ENOUGH } else { NOT_ENOUGH })
}

async fn ask(args: &Args, environment: &Environment) -> Result<(Keys, Types), AdminError> {
    let client = Client::new(&args.place, environment)?;
    Ok((
        client.get("/api/keys").await?,
        client.get("/api/types").await?,
    ))
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Types {
    types: Vec<Type>,
}

#[derive(Clone, Deserialize)]
struct Key {
    pools: Vec<String>,
    state: String,
    billing: String,
    slots: Slots,
    /// Less what was settled since and what runs; none while nobody knows.
    left_micro_usd: Option<i64>,
}

#[derive(Clone, Deserialize)]
struct Slots {
    max: Option<u64>,
}

#[derive(Deserialize)]
struct Type {
    r#type: String,
    price_micro_usd: i64,
    mean_seconds: Option<f64>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Estimate {
    r#type: String,
    count: u64,
    pool: String,
    enough: bool,
    balance: Option<OfBalance>,
    threads: Option<OfThreads>,
}

/// Accounts that pay for each solve.
#[derive(Debug, PartialEq, Serialize)]
struct OfBalance {
    price_micro_usd: i64,
    cost_micro_usd: i64,
    left_micro_usd: i64,
    /// None: as many as one likes.
    covers: Option<i64>,
    need_micro_usd: i64,
    keys: usize,
    /// Accounts of which nobody knows the balance yet; they count nothing.
    unknown: usize,
}

/// Accounts that pay for slots.
#[derive(Debug, PartialEq, Serialize)]
struct OfThreads {
    threads: u64,
    /// None without any thread.
    hours: Option<f64>,
    seconds_per_solve: f64,
    measured: bool,
    keys: usize,
    unknown: usize,
}

impl Estimate {
    /// None when no key is in the pool.
    fn of(args: &Args, keys: &[Key], types: &[Type]) -> Option<Self> {
        let in_pool = |key: &&Key| key.pools.contains(&args.pool);
        keys.iter().find(in_pool)?;
        let usable = |key: &&Key| {
            !matches!(
                State::parse(&key.state),
                Some(State::Revoked | State::Empty | State::Disabled | State::Draining)
            )
        };
        let keys = keys.iter().filter(in_pool).filter(usable);
        let (threads, balances): (Vec<&Key>, Vec<&Key>) =
            keys.partition(|key| key.billing == "threads");
        let known = types.iter().find(|known| known.r#type == args.kind);
        let price = known.map_or(0, |known| known.price_micro_usd);
        let measured = known.and_then(|known| known.mean_seconds);
        // With no usable key at all there is no money.
        let by_balance = !balances.is_empty() || threads.is_empty();
        let balance = by_balance.then(|| OfBalance::of(args.count, price, &balances));
        let threads = (!threads.is_empty())
            .then(|| OfThreads::of(args.count, &args.kind, measured, &threads));
        let paid = balance
            .as_ref()
            .is_some_and(|balance| balance.keys > 0 && balance.need_micro_usd == 0);
        let run = threads.as_ref().is_some_and(|threads| threads.threads > 0);
        Some(Self {
            r#type: args.kind.clone(),
            count: args.count,
            pool: args.pool.clone(),
            enough: paid || run,
            balance,
            threads,
        })
    }

    fn solves(&self) -> String {
        format!("{} {}", self.count, self.r#type)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(balance) = &self.balance {
            text += &balance.text(self);
        }
        if let Some(threads) = &self.threads {
            text += &threads.text(self);
        }
        text
    }
}

impl OfBalance {
    fn of(count: u64, price: i64, keys: &[&Key]) -> Self {
        let known: Vec<i64> = keys
            .iter()
            .filter_map(|key| key.left_micro_usd)
            .map(|left| left.max(0))
            .collect();
        let left = known
            .iter()
            .fold(0_i64, |sum, left| sum.saturating_add(*left));
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let cost = price.saturating_mul(count);
        Self {
            price_micro_usd: price,
            cost_micro_usd: cost,
            left_micro_usd: left,
            covers: left.checked_div(price),
            need_micro_usd: cost.saturating_sub(left).max(0),
            keys: keys.len(),
            unknown: keys.len() - known.len(),
        }
    }

    fn text(&self, of: &Estimate) -> String {
        let (price, cost) = (decimal(self.price_micro_usd), decimal(self.cost_micro_usd));
        let mut text = format!("{} at ${price} ([prices]) cost ${cost}\n", of.solves());
        let left = decimal(self.left_micro_usd);
        text += &format!("pool {} has ${left} on {}\n", of.pool, usable(self.keys));
        text += &unknown(self.unknown, "balance is");
        text += &match self.covers {
            _ if self.need_micro_usd > 0 => {
                format!("need ${} more\n", decimal(self.need_micro_usd))
            }
            Some(covers) => format!("covers about {covers}\n"),
            None => "covers any number: the price is 0\n".to_owned(),
        };
        text
    }
}

impl OfThreads {
    fn of(count: u64, kind: &str, measured: Option<f64>, keys: &[&Key]) -> Self {
        let known: Vec<u64> = keys.iter().filter_map(|key| key.slots.max).collect();
        let threads = known
            .iter()
            .fold(0_u64, |sum, max| sum.saturating_add(*max));
        let seconds = measured.unwrap_or_else(|| assumed_seconds(kind));
        let hours = count as f64 * seconds / 3600.0 / threads as f64;
        Self {
            threads,
            hours: (threads > 0).then_some((hours * 100.0).round() / 100.0),
            seconds_per_solve: seconds,
            measured: measured.is_some(),
            keys: keys.len(),
            unknown: keys.len() - known.len(),
        }
    }

    fn text(&self, of: &Estimate) -> String {
        let source = if self.measured {
            "as measured since the start"
        } else {
            "assumed, none was measured yet"
        };
        let seconds = self.seconds_per_solve;
        let mut text = format!("{} at {seconds} s each ({source})\n", of.solves());
        let (threads, keys) = (self.threads, usable(self.keys));
        text += &format!(
            "pool {} has {threads} threads on {keys} with a thread plan\n",
            of.pool
        );
        text += &unknown(self.unknown, "threads are");
        text += &match self.hours {
            Some(hours) if hours < 1.0 => {
                format!("takes about {} minutes\n", (hours * 60.0).ceil())
            }
            Some(hours) => format!("takes about {hours} hours\n"),
            None => "no thread is known: nothing can be solved\n".to_owned(),
        };
        text
    }
}

fn usable(keys: usize) -> String {
    match keys {
        1 => "1 usable key".to_owned(),
        _ => format!("{keys} usable keys"),
    }
}

fn unknown(keys: usize, what: &str) -> String {
    match keys {
        0 => String::new(),
        _ => format!("of {keys} of them the {what} not known yet; they count nothing here\n"),
    }
}

/// Of no vendor in particular: what their pages promise lies around it. A measured mean takes its place.
fn assumed_seconds(kind: &str) -> f64 {
    match kind {
        "image" | "bls" => 5.0,
        "recaptcha_v3" | "turnstile" | "geetest" => 15.0,
        _ => 30.0,
    }
}

#[cfg(test)]
mod tests;
