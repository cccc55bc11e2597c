//! `sidekey check`: reads everything that `run` would read, and says what is wrong with it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;

use super::look::Look;
use crate::config::environment::Environment;
use crate::config::files::Seen;
use crate::config::report::{Report, Severity, wrapped};
use crate::config::settings::{ListenAddress, Mode, StoreKind};
use crate::config::{Attempt, Input, Loaded, load};

const GOOD: u8 = 0;
const BAD_CONFIGURATION: u8 = 78;

/// Report every mistake of the configuration, with its line, and serve nothing
///
/// Reads all that `run` would read: sidekey.toml, the files that it names, and the environment. Binds nothing, asks nobody.
/// Secrets are masked in the report. Exit code 0: good. 78: not.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey check                                 what `sidekey run` reads here
  sidekey check --config /etc/sidekey/sidekey.toml
  CAPTCHAAI_KEYS=a,b,c sidekey check --strict   warnings fail, too
  sidekey check --format json | jq '.findings[] | .message'")]
pub struct Args {
    /// Configuration file [default: $SIDEKEY_CONFIG, or sidekey.toml if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Fail on warnings, too
    #[arg(long)]
    pub strict: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs: one object
    Json,
}

/// Writes the report and returns the exit code.
pub fn run(args: &Args, environment: Environment, out: &mut impl Write) -> io::Result<u8> {
    let look = Look::of_stdout(&environment);
    let Attempt { outcome, seen } = load(&Input {
        config: args.config.clone(),
        environment,
    });
    let (loaded, report) = match &outcome {
        Ok(loaded) => (Some(loaded), &loaded.warnings),
        Err(report) => (None, report),
    };
    let fails_strict = args.strict && report.count(Severity::Warning) > 0;
    let good = loaded.is_some() && !fails_strict;
    match args.format {
        Format::Text => {
            let ending = match loaded {
                Some(loaded) if good => format!("good: {}", summary(loaded, &seen)),
                Some(_) => format!("not good enough for --strict: {}", counts(report)),
                None => format!("not usable: {}", counts(report)),
            };
            let report = report.render(look.colours, look.width);
            write!(out, "{report}{}", wrapped(&ending, look.width, 2))?;
        }
        Format::Json => {
            let object = serde_json::json!({
                "good": good,
                "findings": report.to_json(),
                "summary": loaded.map(|loaded| summary(loaded, &seen)),
            });
            writeln!(out, "{object:#}")?;
        }
    }
    Ok(if good { GOOD } else { BAD_CONFIGURATION })
}

/// Enough to see that it is the configuration that was meant.
fn summary(
    Loaded {
        settings,
        keys,
        tenants,
        warnings,
        ..
    }: &Loaded,
    seen: &Seen,
) -> String {
    let mut text = plural(keys.len(), "key");
    match keys.iter().filter(|key| key.disabled).count() {
        0 => {}
        disabled => _ = write!(text, " ({disabled} disabled)"),
    }
    if settings.clients.mode == Mode::Tenants {
        _ = write!(text, ", {}", plural(tenants.len(), "tenant"));
    }
    let profile = &settings.vendor.profile;
    _ = write!(text, ", profile {} at {}", profile.name, profile.url);
    for (scheme, addresses) in [
        ("http", &settings.listen.http),
        ("https", &settings.listen.https),
    ] {
        if !addresses.is_empty() {
            _ = write!(text, ", {scheme} on {}", list(addresses));
        }
    }
    let mut data = settings.listen.http.iter().chain(&settings.listen.https);
    if settings.clients.mode == Mode::Open && data.any(|it| !it.address.ip().is_loopback()) {
        text.push_str(" for whoever reaches it");
    }
    if !settings.admin.listen.is_empty() {
        _ = write!(text, ", admin on {}", list(&settings.admin.listen));
    }
    match settings.state.store {
        StoreKind::Memory => text.push_str(", state in memory"),
        StoreKind::Sqlite => _ = write!(text, ", state in {}", settings.state.path.display()),
        StoreKind::Redis => _ = write!(text, ", state shared in {}", settings.state.url),
    }
    let files: Vec<String> = seen
        .files_read()
        .map(|path| path.display().to_string())
        .collect();
    match files.len() {
        0 => text.push_str(", no file read"),
        1..=4 => _ = write!(text, ", read from {}", files.join(", ")),
        many => _ = write!(text, ", read from {many} files"),
    }
    if !warnings.is_empty() {
        _ = write!(text, "; {}", counts(warnings));
    }
    text
}

fn counts(report: &Report) -> String {
    let counts = [Severity::Error, Severity::Warning, Severity::Hint]
        .map(|severity| (report.count(severity), severity.name()));
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| plural(count, name))
        .collect();
    counts.join(", ")
}

fn plural(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn list(addresses: &[ListenAddress]) -> String {
    let addresses: Vec<String> = addresses
        .iter()
        .map(|listen| listen.address.to_string())
        .collect();
    addresses.join(" and ")
}
