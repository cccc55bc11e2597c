//! `sidekey report`: what was used and what it costs, read from the store's file or the Redis server.

mod files;
mod names;
mod text;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;

use self::files::{Step, WriteError};
use super::look::Look;
use super::progress::Progress;
use crate::bills::{Bill, asked};
use crate::calendar::Month;
use crate::config::environment::Environment;
use crate::config::settings::{StoreKind, TenantEntry};
use crate::config::{Input, load, state};
use crate::store::{Address, By, Ledger, LedgerError};

const DONE: u8 = 0;
const WRONG_USAGE: u8 = 64;
const NOT_REACHED: u8 = 69;
const BAD_CONFIGURATION: u8 = 78;

/// Show what was used in a month and what it costs, by tenant or by something else
///
/// Reads the store's file or the Redis server, also while `sidekey run` has it open. Months and days are those of UTC.
///
/// COST is what the tenants are charged; VENDOR, shown where that differs, is what the vendor takes. Only solves cost anything:
/// their price in [prices], also on a thread plan, where the vendor takes nothing for them. FAILED tasks ended with a code,
/// EXPIRED ones with nobody hearing the end, REFUSED submits reached a limit, UNCERTAIN submits may have made a task. A narrow
/// terminal is shown fewer columns and told which.
///
/// Exit code 64: wrong usage, a tenant that neither the configuration nor the store knows, or a file of --csv-dir that is there
/// already. 69: there is no store, or it cannot be read.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey report                            this month, by tenant
  sidekey report --month 2026-10 --by type  what a past month went for
  sidekey report --tenant alice --by day    one tenant, day by day
  sidekey report --by month                 every month that is kept, 400 days
  sidekey report --format json | jq '.total.charged_usd'
  sidekey report --month 2026-10 --csv-dir bills  a bill for each tenant")]
pub struct Args {
    /// UTC month, as 2026-11 [default: this one; with --by month all]
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    pub month: Option<Month>,
    /// Only of this tenant; `-` is everybody in open mode
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Only of this project
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// What to add up by
    #[arg(long, value_enum, default_value_t = By::Tenant)]
    pub by: By,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Write a bill for each tenant into this directory: <tenant>_<YYYY-MM>.csv, a line for each solve
    #[arg(long, value_name = "DIR", conflicts_with_all = ["project", "by", "format"])]
    pub csv_dir: Option<PathBuf>,
    /// Replace bills of --csv-dir that are there already
    #[arg(long, requires = "csv_dir")]
    pub overwrite: bool,
    /// Configuration, for the store's place and the tenants' limits [default: $SIDEKEY_CONFIG, or sidekey.toml if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The store's file itself, without any configuration
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub store: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For spreadsheets
    Csv,
    /// For programs: one object
    Json,
}

pub fn run(
    args: &Args,
    environment: Environment,
    now_ms: i64,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    let look = Look::of_stdout(&environment);
    let mut progress = Progress::new(&mut *err, &environment);
    let done = report(args, environment, now_ms, look, out, &mut progress);
    progress.clear()?;
    let (code, notes) = match done {
        Ok(notes) => {
            let is_wrong = notes.iter().any(|note| note.is_wrong_usage);
            let code = if is_wrong { WRONG_USAGE } else { DONE };
            (code, notes.into_iter().map(|note| note.text).collect())
        }
        Err(Failure::Io(error)) => return Err(error),
        Err(Failure::Ended(code, why)) => (code, vec![why]),
    };
    for note in notes {
        writeln!(err, "sidekey: {note}")?;
    }
    Ok(code)
}

/// What is said beside a report that was made.
struct Note {
    text: String,
    is_wrong_usage: bool,
}

impl Note {
    fn of(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_wrong_usage: false,
        }
    }
}

enum Failure {
    Io(io::Error),
    /// An exit code, and why.
    Ended(u8, String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::Ended(NOT_REACHED, error.to_string())
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => Self::Io(error),
            WriteError::Store(error) => error.into(),
            exists @ WriteError::Exists(_) => Self::Ended(WRONG_USAGE, exists.to_string()),
        }
    }
}

fn report(
    args: &Args,
    environment: Environment,
    now_ms: i64,
    look: Look,
    out: &mut impl Write,
    progress: &mut Progress<'_, impl Write>,
) -> Result<Vec<Note>, Failure> {
    let source = Source::of(args, environment)?;
    progress.tell(|| "reading the store".to_owned())?;
    let mut ledger = match &source.place {
        Place::File(path) => Ledger::open(path)?,
        Place::Redis(address) => Ledger::connect(address)?,
    };
    // In open mode the tenant has no name, which nobody can write.
    let tenant = args.tenant.as_deref().map(|name| match name {
        "-" => "",
        name => name,
    });
    let asked = asked(args.by, args.month, tenant, args.project.as_deref(), now_ms);
    let mut notes = Vec::new();
    let is_empty = if let Some(directory) = &args.csv_dir {
        let month = args.month.unwrap_or_else(|| Month::of(now_ms));
        let mut written = 0_u64;
        let step = |step: Step<'_>| match step {
            Step::Solves(count) => progress.tell(|| format!("{count} solves written")),
            // Each as soon as it is there: a large month takes a while.
            Step::Written(path) => {
                written += 1;
                progress.clear()?;
                writeln!(out, "{}", path.display())?;
                out.flush()
            }
        };
        files::write(directory, month, &mut ledger, &asked, args.overwrite, step)?;
        if written == 0 {
            notes.push(Note::of(format!(
                "no solve in {month}: there is no bill to write"
            )));
        }
        written == 0
    } else {
        let bill = Bill::new(args.by, args.month, ledger.lines(&asked)?, now_ms);
        let limit = |tenant: &str| source.limits.get(tenant).copied();
        progress.clear()?;
        match args.format {
            Format::Table => write!(out, "{}", text::table(&bill, limit, look))?,
            Format::Csv => write!(out, "{}", text::csv(&bill, limit))?,
            Format::Json => writeln!(out, "{}", bill.json(limit, true))?,
        }
        notes.extend(source.note.map(Note::of));
        bill.lines.is_empty()
    };
    if is_empty {
        notes.extend(names::unknown(
            &asked,
            source.tenants.as_deref(),
            &mut ledger,
        )?);
    }
    Ok(notes)
}

/// Where the figures are, and the limits to hold them against.
struct Source {
    place: Place,
    /// Solves a day, by tenant.
    limits: HashMap<String, u32>,
    /// Their names; None where there is no configuration to ask.
    tenants: Option<Vec<String>>,
    note: Option<&'static str>,
}

enum Place {
    File(PathBuf),
    Redis(Address),
}

impl Source {
    fn of(args: &Args, environment: Environment) -> Result<Self, Failure> {
        if let Some(path) = &args.store {
            return Ok(Self {
                place: Place::File(path.clone()),
                limits: HashMap::new(),
                tenants: None,
                note: None,
            });
        }
        if let Some(path) = args.config.as_ref().filter(|path| !path.is_file()) {
            let why = format!("there is no configuration at {}", path.display());
            return Err(Failure::Ended(BAD_CONFIGURATION, why));
        }
        let input = Input {
            config: args.config.clone(),
            environment,
        };
        // The program may serve an earlier version of a file that is broken now; its bills can be read all the same.
        let (place, tenants, note) = match load(&input).outcome {
            Ok(loaded) => (loaded.settings.state, Some(loaded.tenants), None),
            Err(_) => (state(&input), None, Some(NO_LIMITS)),
        };
        let place = match place.store {
            StoreKind::Sqlite => Place::File(place.path),
            StoreKind::Redis => Place::Redis(place.url),
            StoreKind::Memory => return Err(Failure::Ended(NOT_REACHED, IN_MEMORY.to_owned())),
        };
        let daily = |tenant: &TenantEntry| Some((tenant.name.clone(), tenant.limits.daily?));
        let configured = tenants.iter().flatten();
        Ok(Self {
            place,
            limits: configured.filter_map(daily).collect(),
            tenants: tenants.map(|all| all.into_iter().map(|tenant| tenant.name).collect()),
            note,
        })
    }
}

fn month(text: &str) -> Result<Month, &'static str> {
    Month::parse(text).ok_or("a month is written as 2026-11")
}

const NO_LIMITS: &str =
    "the configuration has mistakes, so limits are not shown: `sidekey check` says which";
const IN_MEMORY: &str = "this configuration keeps its state in memory: ask the running one, GET /api/usage on its admin port";
