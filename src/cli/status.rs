//! `sidekey status`: how the keys and the tenants of a running Sidekey are.

mod tenants;

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
use super::progress::CLEAR_REST;
use super::table::{Align, not_shown, shortened, span, table};
use crate::config::environment::Environment;
use crate::config::report::wrapped;
use crate::keys::state::State;
use crate::money;

const DONE: u8 = 0;
/// As many as one looks at without searching.
const LAST_CHANGES: &str = "/api/audit?limit=5";
const AGAIN: Duration = Duration::from_secs(2);

/// Show the keys and tenants of the running sidekey, and what was changed last
///
/// Keys with state, next probe, slots, balance and solves; tenants with their limits. A narrow terminal is shown fewer columns
/// and told which. Asks the admin port; where a token is configured, it is read from the same admin.token_file, or from
/// SIDEKEY_ADMIN_TOKEN. Exit code 69: the running sidekey cannot be reached.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey status
  sidekey status --watch                        again every 2 s, until Ctrl-C
  sidekey status --admin http://10.0.0.7:9090   another host's; needs its token
  sidekey status --format json | jq '.keys[] | .name, .state'")]
pub struct Args {
    #[command(flatten)]
    pub place: Where,
    /// Go on, every 2 s, also while it cannot be reached
    #[arg(long)]
    pub watch: bool,
    /// How to print it
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
        if Look::of_stdout(&environment).redraws {
            // The terminal has written `^C` where the prompt is to be.
            writeln!(out)?;
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
    let mut is_first = true;
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
                let tries = format!("tries without an answer: {in_vain}; asked again every 2 s");
                wrapped(&error.to_string(), look.width, 0) + &wrapped(&tries, look.width, 0)
            }
        };
        let text = match format {
            Format::Text => over_the_last(&text, look, is_first),
            // One line for a program, whoever looks on: drawn over it would be cut or left in pieces.
            Format::Json => text,
        };
        write!(out, "{text}")?;
        is_first = false;
        out.flush()?;
        sleep(AGAIN).await;
    }
}

/// Drawn over what was drawn before, as much as there is room for, so that the terminal is left as it was found: no other screen,
/// no mode, no hidden cursor, however this ends.
fn over_the_last(text: &str, look: Look, is_first: bool) -> String {
    if !look.redraws {
        return text.to_owned();
    }
    let mut lines: Vec<&str> = text.lines().collect();
    // The cursor's own line is one, and what is cut off is said on another.
    let room = look
        .height
        .map_or(usize::MAX, |height| height.saturating_sub(2));
    let more = lines.len().saturating_sub(room.saturating_add(1));
    let told = format!("and {} more lines", more + 1);
    if more > 0 {
        lines.truncate(room);
        lines.push(&told);
    }
    let clear = if is_first { "\x1b[2J" } else { "" };
    let mut screen = format!("{clear}\x1b[H");
    for line in lines {
        screen += line;
        screen += CLEAR_REST;
        screen.push('\n');
    }
    screen + "\x1b[J"
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
        text += &wrapped(&shortened(&line, usize::MAX), look.width, 2);
    }
    if keys.is_empty() {
        let what = "no key: write one into the keys file, or set CAPTCHAAI_KEYS";
        text += &wrapped(what, look.width, 2);
    } else {
        let head = HEAD.map(str::to_owned).to_vec();
        let rows: Vec<Vec<String>> = [head].into_iter().chain(keys.iter().map(row)).collect();
        text += &coloured(&rows, look, &SPARE, |place, cells| {
            let cell = &mut cells[STATE];
            *cell = format!("\x1b[{}m{cell}\x1b[0m", colour(&keys[place].state));
        });
    }
    text + &tenants::draw(&known(&tenants["tenants"]), look) + &last_changes(audit, look)
}

/// The lines of a table; `colour` is given each one's place and cells.
fn coloured(
    rows: &[Vec<String>],
    look: Look,
    spare: &[usize],
    colour: impl Fn(usize, &mut [String]),
) -> String {
    let (lines, left_out) = table(rows, look.width, spare, Align::Text);
    let mut text = String::new();
    for (place, mut cells) in lines.into_iter().enumerate() {
        match place.checked_sub(1) {
            None => text += &look.bold(cells.concat().trim_end()),
            Some(place) => {
                if look.colours {
                    colour(place, &mut cells);
                }
                text += cells.concat().trim_end();
            }
        }
        text.push('\n');
    }
    text + &not_shown(&left_out, look.width)
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
        let line = shortened(&words.join("  "), usize::MAX);
        text += &wrapped(&format!("  {line}"), look.width, 6);
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

/// What a narrow terminal does without: POOL, SINCE, DONE/FAIL, NEXT, WHY, SLOTS.
const SPARE: [usize; 6] = [1, 3, 7, 4, 8, 5];

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
mod tests;
