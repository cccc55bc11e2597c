//! `sidekey status`: how the keys and the tenants of a running Sidekey are.

use std::io::{self, Write};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::signal::ctrl_c;
use tokio::time::sleep;

use super::admin::{AdminError, Client, Where};
use super::check::Format;
use super::look::Look;
use super::table::{shortened, span, table};

mod tenants;
use crate::config::environment::Environment;
use crate::keys::state::State;
use crate::money;

const DONE: u8 = 0;
/// As many as one looks at without searching.
const LAST_CHANGES: &str = "/api/audit?limit=5";
const AGAIN: Duration = Duration::from_secs(2);

/// Show the keys and tenants of the running sidekey, and what was changed last
///
/// Keys with state, next probe, slots, balance and solves; tenants with their limits. Asks its admin port. Where a token is
/// configured, it is read from the same admin.token_file, or from SIDEKEY_ADMIN_TOKEN. Exit code 69: it cannot be reached.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey status
  sidekey status --watch                        drawn anew every 2 s, until Ctrl-C
  sidekey status --admin http://10.0.0.7:9090   another host's; needs its token
  sidekey status --format json | jq '.keys[] | select(.state != \"healthy\")'")]
pub struct Args {
    #[command(flatten)]
    pub place: Where,
    /// Go on, every 2 s, also while it cannot be reached
    #[arg(long)]
    pub watch: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

pub async fn run(
    args: &Args,
    environment: Environment,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    let client = match Client::new(&args.place, &environment) {
        Ok(client) => client,
        Err(error) => return failed(&error, err),
    };
    if args.watch {
        tokio::select! {
            done = watch(&client, args.format, &environment, out) => done?,
            stopped = ctrl_c() => stopped?,
        }
        return Ok(DONE);
    }
    match ask(&client).await {
        Ok(answers) => {
            let look = Look::of_stdout(&environment);
            write!(out, "{}", shown(&answers, args.format, look))?;
            Ok(DONE)
        }
        Err(error) => failed(&error, err),
    }
}

/// All answers, as they came.
struct Answers {
    status: Value,
    keys: Value,
    tenants: Value,
    audit: Value,
}

async fn ask(client: &Client) -> Result<Answers, AdminError> {
    Ok(Answers {
        status: client.get("/api/status").await?,
        keys: client.get("/api/keys").await?,
        tenants: client.get("/api/tenants").await?,
        audit: client.get(LAST_CHANGES).await?,
    })
}

async fn watch(
    client: &Client,
    format: Format,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut in_vain = 0_u32;
    loop {
        // Somebody may have made the terminal smaller.
        let look = Look::of_stdout(environment);
        let text = match ask(client).await {
            Ok(answers) => {
                in_vain = 0;
                shown(&answers, format, look)
            }
            Err(error) => {
                in_vain = in_vain.saturating_add(1);
                format!("{error}\ntries without an answer: {in_vain}; asked again every 2 s\n")
            }
        };
        // To the top and clear: what is drawn anew stays where it was.
        let before = if look.is_terminal {
            "\x1b[H\x1b[2J"
        } else {
            ""
        };
        write!(out, "{before}{text}")?;
        out.flush()?;
        sleep(AGAIN).await;
    }
}

fn failed(error: &AdminError, err: &mut impl Write) -> io::Result<u8> {
    writeln!(err, "sidekey: {error}")?;
    Ok(error.exit_code())
}

fn shown(answers: &Answers, format: Format, look: Look) -> String {
    match format {
        Format::Json => {
            let mut object = answers.keys.clone();
            object["status"] = answers.status.clone();
            object["tenants"] = answers.tenants["tenants"].clone();
            object["audit"] = answers.audit["audit"].clone();
            format!("{object}\n")
        }
        Format::Text => {
            let Answers {
                status,
                keys,
                tenants,
                audit,
            } = answers;
            draw(status, keys, tenants, audit, look)
        }
    }
}

#[derive(Deserialize)]
struct Key {
    name: String,
    pool: String,
    state: String,
    since_seconds: f64,
    until_seconds: Option<f64>,
    next_probe_seconds: Option<f64>,
    why: Option<String>,
    slots: Slots,
    balance_micro_usd: Option<i64>,
    solves: Solves,
}

#[derive(Deserialize)]
struct Slots {
    used: u64,
    max: Option<u64>,
}

#[derive(Deserialize)]
struct Solves {
    done: u64,
    failed: u64,
}

/// The whole screen.
pub fn draw(status: &Value, keys: &Value, tenants: &Value, audit: &Value, look: Look) -> String {
    let keys: Vec<Key> = known(&keys["keys"]);
    let mut text = String::new();
    let mut lines = headlines(status);
    if !keys.is_empty() && keys.iter().all(|key| key.state != State::Healthy.as_str()) {
        lines.push("NO USABLE KEY: submits are refused, see WHY".to_owned());
    }
    for line in lines {
        text.push_str(&shortened(&line, look.width.unwrap_or(usize::MAX)));
        text.push('\n');
    }
    if keys.is_empty() {
        text.push_str("no key: write one into the keys file, or set CAPTCHAAI_KEYS\n");
    } else {
        let head = HEAD.map(str::to_owned).to_vec();
        let rows: Vec<Vec<String>> = [head].into_iter().chain(keys.iter().map(row)).collect();
        for (place, mut cells) in table(&rows, look.width).into_iter().enumerate() {
            let key = place.checked_sub(1).and_then(|place| keys.get(place));
            if let Some(key) = key.filter(|_| look.colours) {
                let cell = &mut cells[STATE];
                *cell = format!("\x1b[{}m{cell}\x1b[0m", colour(&key.state));
            }
            text.push_str(cells.concat().trim_end());
            text.push('\n');
        }
    }
    text + &tenants::draw(&known(&tenants["tenants"]), look) + &last_changes(audit, look)
}

/// The newest last, as in a log.
fn last_changes(audit: &Value, look: Look) -> String {
    let rows = audit["audit"].as_array().map_or(&[][..], Vec::as_slice);
    let mut text = String::new();
    for row in rows.iter().rev() {
        let words = ["at", "who", "what", "subject", "detail"];
        let words = words.iter().filter_map(|name| row[*name].as_str());
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        if text.is_empty() {
            text.push_str("last changes:\n");
        }
        let line = format!("  {}", words.join("  "));
        text += &shortened(&line, look.width.unwrap_or(usize::MAX));
        text.push('\n');
    }
    text
}

/// Those that can be read: the program that was asked may be of another version.
fn known<T: DeserializeOwned>(values: &Value) -> Vec<T> {
    let values = values.as_array().into_iter().flatten();
    values
        .filter_map(|value| T::deserialize(value).ok())
        .collect()
}

/// The column that is coloured.
const STATE: usize = 2;
const HEAD: [&str; 9] = [
    "KEY",
    "POOL",
    "STATE",
    "SINCE",
    "NEXT",
    "SLOTS",
    "BALANCE",
    "DONE/FAIL",
    "WHY",
];

/// What stops every key has a line of its own.
fn headlines(status: &Value) -> Vec<String> {
    let text = |name: &str| status[name].as_str().unwrap_or("?").to_owned();
    let mut line = format!("sidekey {}, profile {}", text("version"), text("profile"));
    line.push_str(match status["ready"].as_bool() {
        Some(true) => ", ready",
        _ => ", NOT READY",
    });
    for (name, what) in [
        ("waiting", "submits wait"),
        ("parked", "parked"),
        ("uncertain", "uncertain"),
    ] {
        if let Some(count) = status[name].as_u64() {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    let mut lines = vec![line];
    if let Some(since) = status["vendor_unreachable_since"].as_str() {
        lines.push(format!("THE VENDOR IS OUT OF REACH since {since}"));
    }
    if let Some(until) = status["banned_until"].as_str() {
        lines.push(format!("THE VENDOR BANS THIS ADDRESS until {until}"));
    }
    if let Some(at) = status["reload"]["refused"]["at"].as_str() {
        lines.push(format!(
            "THE FILES CANNOT BE USED since {at}: `sidekey check` says why"
        ));
    }
    lines
}

fn row(key: &Key) -> Vec<String> {
    let next = match (key.next_probe_seconds, key.until_seconds) {
        (Some(probe), _) => format!("probe {}", span(probe)),
        (None, Some(until)) => format!("back {}", span(until)),
        (None, None) => "-".to_owned(),
    };
    vec![
        key.name.clone(),
        key.pool.clone(),
        key.state.clone(),
        span(key.since_seconds),
        next,
        match key.slots.max {
            Some(max) => format!("{}/{max}", key.slots.used),
            None => key.slots.used.to_string(),
        },
        key.balance_micro_usd.map_or_else(
            || "-".to_owned(),
            |balance| format!("${}", money::decimal(in_cents(balance))),
        ),
        format!("{}/{}", key.solves.done, key.solves.failed),
        key.why.clone().unwrap_or_default(),
    ]
}

/// Whole cents, never more than there is.
fn in_cents(micro_usd: i64) -> i64 {
    micro_usd - micro_usd.rem_euclid(10_000)
}

/// Green works, yellow comes back by itself, red needs somebody.
fn colour(state: &str) -> u8 {
    match State::parse(state) {
        Some(State::Healthy) => 32,
        Some(State::Revoked | State::Empty) => 31,
        Some(State::Disabled | State::Draining) => 2,
        Some(State::Unproven | State::Cooling | State::Suspect) | None => 33,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn states_have_colours_on_a_terminal_only() {
        let keys = json!({ "keys": [{
            "name": "account-1", "pool": "default", "state": "revoked", "since_seconds": 1.0, "slots": { "used": 0 },
            "solves": { "done": 0, "failed": 0 },
        }]});
        let draw = |colours| {
            let look = Look {
                colours,
                ..Look::default()
            };
            draw(&json!({}), &keys, &json!({}), &json!({}), look)
        };
        assert!(draw(true).contains("\x1b[31mrevoked"));
        assert!(!draw(false).contains('\x1b'));
    }

    /// Also what `sidekey status --format json` prints.
    #[test]
    fn all_answers_are_one_object() {
        let answers = Answers {
            status: json!({ "ready": true }),
            keys: json!({ "keys": [] }),
            tenants: json!({ "tenants": [] }),
            audit: json!({ "audit": [] }),
        };
        let text = shown(&answers, Format::Json, Look::default());
        assert_eq!(
            text,
            "{\"audit\":[],\"keys\":[],\"status\":{\"ready\":true},\"tenants\":[]}\n"
        );
    }
}
