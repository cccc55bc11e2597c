//! `tenants.toml`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::environment::Environment;
use super::files::Files;
use super::key_checks::{
    Problem, SHORTEST_SCRUBBED, check_name, named, secrets_in, text_of, written_token,
};
use super::notes::Quoting;
use super::reader::{At, Reader, Value};
use super::report::Diagnostic;
use super::secret_file;
use super::section::Section;
use super::settings::{Role, TenantEntry, TenantLimits};
use crate::tasks::kind;
use crate::tenants::TokenHash;

/// How a tenants file is quoted: names of options, and what was read as harmless. When unsure, masked.
const QUOTING: Quoting = Quoting {
    words: &[
        "tenant_defaults",
        "tenant",
        "name",
        "token",
        "token_sha256",
        "pool",
        "keys",
        "fallback_pool",
        "fallback_when_empty",
        "daily_limit",
        "rate_per_minute",
        "monthly_budget",
        "max_tasks",
        "active",
        "role",
        "project",
        "prices",
        "admin",
        "user",
        "service",
        "true",
        "false",
    ],
    secret: true,
};

const FORM: &str =
    "write [[tenant]], name = \"…\" and token = \"…\" for each tenant, each on a line of its own";

/// Reads the file. What is wrong goes to `found`; the tenants are good only if there is no error in it.
pub(crate) fn read(
    path: &Value<PathBuf>,
    environment: &Environment,
    files: &mut Files,
    found: &mut Vec<Diagnostic>,
) -> Vec<TenantEntry> {
    let origin = path.value.display().to_string();
    let missing = Problem::warning(
        "the tenants file does not exist (yet): every call will be refused",
        "it is looked for again while sidekey runs",
    );
    let Some(content) = secret_file::read(&path.value, "tenants", Some(missing), files, found)
    else {
        return Vec::new();
    };
    let text = match text_of(&content) {
        Ok(text) => text,
        Err(problem) => {
            found.push(problem.in_source(&origin));
            return Vec::new();
        }
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let no_environment = Environment::default();
    let base = path.value.parent().unwrap_or_else(|| Path::new(""));
    let mut reader = Reader::secret(&no_environment, base);
    for error in &errors {
        reader.notes.not_toml(error, Some(FORM));
    }
    let mut root = reader.root(Some(table.get_ref()));
    let mut section = root.section("tenant_defaults");
    let defaults = common(&mut section, &Common::default());
    section.done();
    let mut tenants = Collected::default();
    let tables = root.tables("tenant");
    if tables.is_none() && errors.is_empty() {
        found.push(blank_file().in_source(&origin));
    }
    let secrets = secrets_in(tables.unwrap_or_default(), "token");
    for value in tables.unwrap_or_default() {
        if let Some(mut section) = root.inner(String::new(), value) {
            let table = At::Text(value.span());
            if let Some(entry) = tenant(&mut section, &table, &defaults, (environment, &secrets)) {
                tenants.add(section.reader, &table, entry);
            }
            section.done();
        }
    }
    root.done();
    found.extend(reader.finish().0.into_diagnostics(&origin, text, QUOTING));
    tenants.entries
}

fn blank_file() -> Problem {
    Problem::error(
        "there is no tenant in this file",
        "write `tenant = []` if none is meant",
    )
}

const LARGEST_BUDGET: i64 = 1_000_000_000 * 1_000_000;
const LARGEST_PRICE: i64 = 1_000 * 1_000_000;

/// What `[tenant_defaults]` and a tenant can both say.
#[derive(Clone, Default)]
struct Common {
    limits: TenantLimits,
    pool: Option<String>,
    fallback_pool: Option<String>,
    fallback_when_empty: bool,
    prices: BTreeMap<&'static str, i64>,
}

fn common(section: &mut Section<'_, '_>, defaults: &Common) -> Common {
    // 0 stands for "not written" and cannot be written.
    let count = |section: &mut Section<'_, '_>, name, most| {
        let number = section.integer(name, 0u32, 1..=most).value;
        Some(number).filter(|number| *number > 0)
    };
    let daily = count(section, "daily_limit", 1_000_000_000);
    let rate_per_minute = count(section, "rate_per_minute", 1_000_000);
    let max_tasks = count(section, "max_tasks", 1_000_000);
    let budget = section.dollars("monthly_budget", 0, LARGEST_BUDGET);
    let budget = Some(budget.value).filter(|_| budget.is_written());
    let pool = pool_name(section, "pool");
    let fallback_pool = pool_name(section, "fallback_pool");
    let fallback_when_empty = section.boolean("fallback_when_empty", defaults.fallback_when_empty);
    let mut prices = defaults.prices.clone();
    let mut own_prices = section.section("prices");
    for kind in kind::ALL {
        let price = own_prices.dollars(kind, 0, LARGEST_PRICE);
        if price.is_written() {
            prices.insert(kind, price.value);
        }
    }
    own_prices.done();
    let limits = TenantLimits {
        daily: daily.or(defaults.limits.daily),
        rate_per_minute: rate_per_minute.or(defaults.limits.rate_per_minute),
        budget_micro_usd: budget.or(defaults.limits.budget_micro_usd),
        max_tasks: max_tasks.or(defaults.limits.max_tasks),
    };
    Common {
        limits,
        pool: pool.or_else(|| defaults.pool.clone()),
        fallback_pool: fallback_pool.or_else(|| defaults.fallback_pool.clone()),
        fallback_when_empty: fallback_when_empty.value,
        prices,
    }
}

/// One `[[tenant]]`.
fn tenant(
    section: &mut Section<'_, '_>,
    table: &At,
    defaults: &Common,
    (environment, secrets): (&Environment, &HashSet<&str>),
) -> Option<TenantEntry> {
    let name = section.secret_text("name");
    let token = section.secret_text("token");
    let hash = section.secret_text("token_sha256");
    let has_token = section.is_written("token") || section.is_written("token_sha256");
    let own_pool = section.is_written("pool");
    let own_fallback = section.is_written("fallback_pool");
    let keys = key_names(section);
    let common = common(section, defaults);
    let active = section.boolean("active", true).value;
    let roles = [
        ("admin", Role::Admin),
        ("user", Role::User),
        ("service", Role::Service),
    ];
    let role = section.choice("role", Role::User, &roles).value;
    let project = checked(section, "project", "a project");

    let reader = &mut *section.reader;
    if let (Some(keys), true) = (&keys, own_pool) {
        let help =
            "a tenant with keys of its own shares none; `fallback_pool` names the pool behind them";
        reader.error(&keys.at, "this tenant has both `pool` and `keys`", help);
    }
    if keys.is_none() && own_fallback {
        let message = "`fallback_pool` does nothing for a tenant without `keys`";
        let help =
            "it stands behind the keys of one customer: name these in `keys`, or take it out";
        reader.warn(table, message, help);
    }
    let name = named(reader, name, table, "tenant", secrets);
    if !has_token && reader.notes.is_toml() {
        let help = "add token = \"…\", token = \"ENV:NAME\" or token_sha256 = \"…\"; `sidekey token` makes one";
        reader.error(table, "this tenant has no token", help);
    }
    let token = checked_token(reader, token, hash, environment);
    Some(TenantEntry {
        name: name?.value,
        token: token?,
        pool: common.pool,
        keys: keys.map(|keys| keys.value),
        fallback_pool: common.fallback_pool,
        fallback_when_empty: common.fallback_when_empty,
        limits: common.limits,
        active,
        role,
        project,
        prices: common.prices,
    })
}

fn key_names(section: &mut Section<'_, '_>) -> Option<Value<Vec<String>>> {
    let Value { value, at } = section.list("keys")?;
    let mut names = Vec::new();
    for Value { value: name, at } in value {
        match check_name(&name) {
            Ok(()) => names.push(name),
            Err(Problem { message, help, .. }) => section.reader.error(&at, message, help),
        }
    }
    Some(Value::written(names, at))
}

fn pool_name(section: &mut Section<'_, '_>, name: &'static str) -> Option<String> {
    checked(section, name, "a pool")
}

fn checked(section: &mut Section<'_, '_>, name: &'static str, of: &str) -> Option<String> {
    let Value { value, at } = section.text(name)?;
    match check_name(&value) {
        Ok(()) => Some(value),
        Err(Problem { help, .. }) => {
            let message = format!("this cannot be the name of {of}");
            section.reader.error(&at, message, help);
            None
        }
    }
}

fn checked_token(
    reader: &mut Reader<'_>,
    token: Option<Value<String>>,
    hash: Option<Value<String>>,
    environment: &Environment,
) -> Option<TokenHash> {
    match (token, hash) {
        (Some(Value { value, at }), None) => match written_token(&value, environment) {
            Ok(token) => {
                if token.expose().len() < SHORTEST_SCRUBBED {
                    let help = "make one with `sidekey token`";
                    reader.warn(
                        &at,
                        "this token is shorter than 16 characters and can be guessed",
                        help,
                    );
                }
                Some(TokenHash::of(token.expose()))
            }
            Err(Problem { message, help, .. }) => {
                reader.error(&at, message, help);
                None
            }
        },
        (None, Some(Value { value, at })) => {
            let hash = sha256(value.trim());
            if hash.is_none() {
                let help = "such as printf %s TOKEN | sha256sum";
                reader.error(&at, "`token_sha256` must be 64 hex digits", help);
            }
            hash
        }
        (Some(_), Some(hash)) => {
            let message = "this tenant has both `token` and `token_sha256`";
            reader.error(&hash.at, message, "keep one of them");
            None
        }
        (None, None) => None,
    }
}

fn sha256(hex: &str) -> Option<TokenHash> {
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? * 16 + low?).ok()?;
    }
    Some(TokenHash(hash))
}

#[derive(Default)]
struct Collected {
    entries: Vec<TenantEntry>,
    names: HashSet<String>,
    tokens: HashMap<TokenHash, String>,
}

impl Collected {
    fn add(&mut self, reader: &mut Reader<'_>, table: &At, entry: TenantEntry) {
        let name = &entry.name;
        if !self.names.insert(name.clone()) {
            let message = format!("two tenants are named `{name}`");
            reader.error(
                table,
                message,
                "give each its own name: limits and bills go by it",
            );
        } else if let Some(other) = self.tokens.insert(entry.token, name.clone()) {
            let message = format!("`{other}` and `{name}` have the same token");
            reader.error(table, message, "make one for each with `sidekey token`");
        } else {
            self.entries.push(entry);
        }
    }
}
