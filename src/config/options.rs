//! `sidekey.toml` and `SIDEKEY_…` to [`Settings`]: which options exist, their defaults, and what must hold between them.

use std::path::PathBuf;
use std::time::Duration;

use super::Occasion;
use super::alert_options::alerts;
use super::client_options::clients;
use super::files::Files;
use super::key_checks::{Problem, check_name, looks_like_a_variable};
use super::listen_options::{admin, listen};
use super::money_options::{balance, prices};
use super::notes::Quoting;
use super::own_listeners::check_loop;
use super::reader::{At, Value};
use super::section::Section;
use super::settings::*;
use super::state_options::state;
use super::vendor_options::vendor;
use crate::keys::set::DEFAULT_POOL;
use crate::otlp::collector::Collector;

/// Where keys and tenants are to be looked for.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub keys: KeySources,
    /// None: clients are not told apart.
    pub tenants: Option<Value<PathBuf>>,
}

#[derive(Clone, Debug)]
pub(crate) struct KeySources {
    pub file: Value<PathBuf>,
    pub directory: Option<Value<PathBuf>>,
    pub variable: Value<String>,
}

pub(crate) fn read(
    root: &mut Section<'_, '_>,
    occasion: Occasion,
    files: &mut Files,
) -> (Settings, Sources) {
    let keys = KeySources {
        file: root
            .path("keys_file")
            .unwrap_or_else(|| Value::default(root.reader.in_base("keys.toml"))),
        directory: root.path("keys_dir"),
        variable: keys_variable(root)
            .unwrap_or_else(|| Value::default("CAPTCHAAI_KEYS".to_owned())),
    };
    let tenants = root.path("tenants_file");
    let settings = Settings {
        listen: listen(root.section("listen"), occasion),
        admin: admin(root.section("admin"), files),
        vendor: vendor(root.section("vendor"), files),
        submit: submit(root.section("submit")),
        poll: poll(root.section("poll")),
        pools: pools(root.section("pool")),
        balance: balance(root.section("balance")),
        alerts: alerts(root.section("alerts")),
        prices: prices(root.section("prices")),
        clients: clients(root.section("clients")),
        state: state(root.section("state")),
        log: log(root.section("log")),
    };
    let clash = settings.admin.listen.iter().find(|admin| {
        admin.address.port() != 0
            && settings
                .listen
                .http
                .iter()
                .chain(&settings.listen.https)
                .any(|data| data.address == admin.address)
    });
    if let Some(clash) = clash {
        let message = format!(
            "{} is both a data address and an admin address",
            clash.address
        );
        root.reader.error(
            &At::Default,
            message,
            "give [admin] listen a port of its own",
        );
    }
    check_loop(root.reader, &settings);
    let parks = settings.submit.when_busy == WhenBusy::Park
        || settings.submit.when_empty == WhenEmpty::Park;
    if parks && settings.state.store == StoreKind::Memory {
        root.reader.warn(
            &At::Default,
            "submits are parked in memory only, a restart forgets them",
            "set [state] store to \"sqlite\"",
        );
    }
    let tenants = tenants_source(root, tenants, settings.clients.mode);
    (settings, Sources { keys, tenants })
}

/// Somebody may have written the keys themselves there, and the name of a variable is shown.
fn keys_variable(root: &mut Section<'_, '_>) -> Option<Value<String>> {
    let variable = root.secret_text("keys_env")?;
    let reader = &mut *root.reader;
    if looks_like_a_variable(&variable.value) || reader.environment.get(&variable.value).is_some() {
        return Some(variable);
    }
    let help = "such as \"CAPTCHAAI_KEYS\"; the keys themselves stand in that variable, or in the keys file";
    reader.error(&variable.at, "this cannot be the name of a variable", help);
    None
}

fn tenants_source(
    root: &mut Section<'_, '_>,
    file: Option<Value<PathBuf>>,
    mode: Mode,
) -> Option<Value<PathBuf>> {
    match (mode, &file) {
        (Mode::Tenants, None) => {
            let help = "write tenants_file = \"tenants.toml\" at the top of the file";
            let message = "clients.mode is \"tenants\", and no file says who they are";
            root.reader.error(&At::Default, message, help);
            None
        }
        (Mode::Open, Some(file)) => {
            let help = "write mode = \"tenants\" in [clients]";
            let message = "`tenants_file` is not used while clients.mode is \"open\"";
            root.reader.warn(&file.at, message, help);
            None
        }
        _ => file,
    }
}

/// How `sidekey.toml` is quoted. It holds no secrets, but people paste them into the wrong file.
pub(crate) const QUOTING: Quoting = Quoting {
    words: &[
        "keys_file",
        "keys_dir",
        "keys_env",
        "tenants_file",
        "mode",
        "nominal_balance",
        "listen",
        "http",
        "https",
        "tls_cert",
        "tls_key",
        "max_connections",
        "max_body",
        "max_body_total",
        "admin",
        "token_file",
        "vendor",
        "profile",
        "url",
        "allow_plaintext",
        "ca_file",
        "connect_timeout",
        "resolver",
        "proxy",
        "billing",
        "hosts",
        "endpoints",
        "submit",
        "result",
        "solve",
        "load",
        "takes",
        "ids",
        "threadsinfo",
        "limits",
        "submits",
        "submits_in",
        "polls",
        "polls_per_task",
        "answers",
        "solution_fields",
        "no_slot_json",
        "codes",
        "class",
        "cooldown",
        "deadline",
        "max_keys",
        "when_busy",
        "when_empty",
        "wait",
        "park_for",
        "park_max",
        "poll",
        "pace",
        "first",
        "hide_outage",
        "unknown_task",
        "keep",
        "balance",
        "refresh",
        "minimum",
        "low",
        "alerts",
        "webhook",
        "pool",
        "default",
        "strategy",
        "prices",
        "clients",
        "origins",
        "state",
        "store",
        "path",
        "sync",
        "log",
        "format",
        "level",
        "otlp",
        "true",
        "false",
    ],
    secret: false,
};

const DAY: Duration = Duration::from_secs(86_400);

fn submit(mut section: Section<'_, '_>) -> Submit {
    let ms = Duration::from_millis;
    let deadline = section.duration("deadline", ms(15_000), ms(100)..=ms(600_000));
    let max_keys = section.integer("max_keys", 3, 1..=1000);
    let when_busy = section.choice(
        "when_busy",
        WhenBusy::Wait,
        &[
            ("wait", WhenBusy::Wait),
            ("fail", WhenBusy::Fail),
            ("park", WhenBusy::Park),
        ],
    );
    let when_empty = section.choice(
        "when_empty",
        WhenEmpty::Fail,
        &[("fail", WhenEmpty::Fail), ("park", WhenEmpty::Park)],
    );
    let wait = section.duration("wait", ms(2_000), ms(0)..=ms(600_000));
    if wait.value > deadline.value {
        let at = if wait.is_written() {
            &wait.at
        } else {
            &deadline.at
        };
        section.reader.warn(
            at,
            "`wait` is longer than `deadline`, which ends it",
            "make `wait` the shorter of the two",
        );
    }
    let park_for = section.duration("park_for", ms(3_600_000), ms(1_000)..=7 * DAY);
    let park_max = section.integer("park_max", 10_000, 1..=100_000);
    section.done();
    Submit {
        deadline: deadline.value,
        max_keys: max_keys.value,
        when_busy: when_busy.value,
        when_empty: when_empty.value,
        wait: wait.value,
        park_for: park_for.value,
        park_max: park_max.value,
    }
}

fn poll(mut section: Section<'_, '_>) -> Poll {
    let seconds = Duration::from_secs;
    // With a call's own deadline the longest pace stays below the clients' read time-outs of 20 to 30 s.
    let pace = section.duration("pace", seconds(2), seconds(0)..=seconds(10));
    let first = section.duration("first", seconds(0), seconds(0)..=seconds(60));
    let hide_outage = section.duration("hide_outage", seconds(60), seconds(0)..=DAY);
    let tasks = [("ask", UnknownTask::Ask), ("refuse", UnknownTask::Refuse)];
    let unknown_task = section.choice("unknown_task", UnknownTask::Ask, &tasks);
    let keep = section.duration("keep", seconds(3600), seconds(60)..=365 * DAY);
    section.done();
    Poll {
        pace: pace.value,
        first: first.value,
        hide_outage: hide_outage.value,
        unknown_task: unknown_task.value,
        keep: keep.value,
    }
}

/// `[pool.default]`, and `[pool.NAME]` for any other; a pool that is not written here takes the defaults.
fn pools(mut section: Section<'_, '_>) -> Vec<Pool> {
    let mut pools = vec![pool(section.section(DEFAULT_POOL), DEFAULT_POOL)];
    for (name, value) in section.others() {
        if let Err(Problem { help, .. }) = check_name(name) {
            let message = "this cannot be the name of a pool";
            section.reader.error(&At::Text(value.span()), message, help);
        } else if let Some(inner) = section.inner(format!("pool.{name}"), value) {
            pools.push(pool(inner, name));
        }
    }
    pools
}

fn pool(mut section: Section<'_, '_>, name: &str) -> Pool {
    let strategy = section.choice(
        "strategy",
        Strategy::RoundRobin,
        &[
            ("round-robin", Strategy::RoundRobin),
            ("least-busy", Strategy::LeastBusy),
            ("balance", Strategy::Balance),
        ],
    );
    section.done();
    Pool {
        name: name.to_owned(),
        strategy: strategy.value,
    }
}

fn log(mut section: Section<'_, '_>) -> Log {
    let format = section.choice(
        "format",
        LogFormat::Text,
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
    );
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let level = section.choice("level", LogLevel::Info, &levels);
    let otlp = section.text("otlp").and_then(|url| {
        Collector::parse(&url.value)
            .inspect_err(|error| {
                let message = format!("the url of `log.otlp` {error}");
                let help = "write the base url of a collector: \"http://127.0.0.1:4318\"";
                section.reader.error(&url.at, message, help);
            })
            .ok()
    });
    section.done();
    Log {
        format: format.value,
        level: level.value,
        otlp,
    }
}
