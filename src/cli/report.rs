//! `sidekey report`: what was used and what it costs, read from the store's file or the Redis server.

mod files;
mod text;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::look::Look;
use crate::bills::{Bill, asked};
use crate::calendar::Month;
use crate::config::environment::Environment;
use crate::config::settings::StoreKind;
use crate::config::{Input, load, state};
use crate::store::{Address, By, Ledger};

const DONE: u8 = 0;
const WRONG_USAGE: u8 = 64;
const NOT_REACHED: u8 = 69;
const BAD_CONFIGURATION: u8 = 78;

/// Show what was used and what it costs: solves and money of a month, by tenant or by something else
///
/// Reads the store's file or the Redis server, also while `sidekey run` has it open. Months and days are those of UTC. COST is
/// what the tenants are charged; VENDOR, shown where that differs, is what the vendor takes. Only solves cost anything: their
/// price in [prices], also on a thread plan, where the vendor takes nothing for them. FAILED tasks ended with a code, EXPIRED
/// ones with nobody hearing the end, REFUSED submits reached a limit, UNCERTAIN submits may have made a task.
///
/// Exit code 64: wrong usage, or a file of --csv-dir is there already. 69: there is no store, or it cannot be read.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey report                                  this month, by tenant
  sidekey report --month 2026-10 --by type        what a past month went for
  sidekey report --tenant alice --by day          one tenant, day by day
  sidekey report --by month                       every month that is kept, 400 days
  sidekey report --format json | jq '.total.charged_usd'
  sidekey report --month 2026-10 --csv-dir bills  bills/alice_2026-10.csv and so on, a line for each solve")]
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
    /// What a line is for
    #[arg(long, value_enum, default_value_t = By::Tenant)]
    pub by: By,
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
    let width = Look::of_stdout(&environment).width;
    let source = match Source::of(args, environment) {
        Ok(source) => source,
        Err((code, why)) => return failed(code, &why, err),
    };
    let ledger = match &source.place {
        Place::File(path) => Ledger::open(path),
        Place::Redis(address) => Ledger::connect(address),
    };
    let mut ledger = match ledger {
        Ok(ledger) => ledger,
        Err(error) => return failed(NOT_REACHED, &error.to_string(), err),
    };
    // In open mode the tenant has no name, which nobody can write.
    let tenant = args.tenant.as_deref().map(|name| match name {
        "-" => "",
        name => name,
    });
    let asked = asked(args.by, args.month, tenant, args.project.as_deref(), now_ms);
    if let Some(directory) = &args.csv_dir {
        let month = args.month.unwrap_or_else(|| Month::of(now_ms));
        // Each as soon as it is there: a large month takes a while.
        let mut tell = |path: &Path| {
            writeln!(out, "{}", path.display())?;
            out.flush()
        };
        return match files::write(
            directory,
            month,
            &mut ledger,
            &asked,
            args.overwrite,
            &mut tell,
        ) {
            Ok(()) => Ok(DONE),
            Err(files::WriteError::Io(error)) => Err(error),
            Err(files::WriteError::Store(error)) => failed(NOT_REACHED, &error.to_string(), err),
            Err(error) => failed(WRONG_USAGE, &error.to_string(), err),
        };
    }
    let lines = match ledger.lines(&asked) {
        Ok(lines) => lines,
        Err(error) => return failed(NOT_REACHED, &error.to_string(), err),
    };
    let bill = Bill::new(args.by, args.month, lines, now_ms);
    let limit = |tenant: &str| source.limits.get(tenant).copied();
    match args.format {
        Format::Table => write!(out, "{}", text::table(&bill, limit, width))?,
        Format::Csv => write!(out, "{}", text::csv(&bill, limit))?,
        Format::Json => writeln!(out, "{}", bill.json(limit, true))?,
    }
    if let Some(note) = source.note {
        writeln!(err, "sidekey: {note}")?;
    }
    Ok(DONE)
}

fn failed(code: u8, why: &str, err: &mut impl Write) -> io::Result<u8> {
    writeln!(err, "sidekey: {why}")?;
    Ok(code)
}

/// Where the figures are, and the limits to hold them against.
struct Source {
    place: Place,
    /// Solves a day, by tenant.
    limits: HashMap<String, u32>,
    note: Option<&'static str>,
}

enum Place {
    File(PathBuf),
    Redis(Address),
}

impl Source {
    fn of(args: &Args, environment: Environment) -> Result<Self, (u8, String)> {
        if let Some(path) = &args.store {
            return Ok(Self {
                place: Place::File(path.clone()),
                limits: HashMap::new(),
                note: None,
            });
        }
        if let Some(path) = args.config.as_ref().filter(|path| !path.is_file()) {
            let why = format!("there is no configuration at {}", path.display());
            return Err((BAD_CONFIGURATION, why));
        }
        let input = Input {
            config: args.config.clone(),
            environment,
        };
        // The program may serve an earlier version of a file that is broken now; its bills can be read all the same.
        let (place, tenants, note) = match load(&input).outcome {
            Ok(loaded) => (loaded.settings.state, loaded.tenants, None),
            Err(_) => (state(&input), Vec::new(), Some(NO_LIMITS)),
        };
        let place = match place.store {
            StoreKind::Sqlite => Place::File(place.path),
            StoreKind::Redis => Place::Redis(place.url),
            StoreKind::Memory => return Err((NOT_REACHED, IN_MEMORY.to_owned())),
        };
        let daily = |tenant: crate::config::settings::TenantEntry| {
            Some((tenant.name, tenant.limits.daily?))
        };
        Ok(Self {
            place,
            limits: tenants.into_iter().filter_map(daily).collect(),
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
