//! What may be written, what was meant, and every mistake at its line.
//!
//! [`load`] reads `sidekey.toml`, the environment and all key sources for a start, [`reload`] for every change.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

mod alert_options;
mod client_options;
pub mod environment;
pub mod files;
mod key_checks;
mod key_sources;
mod keys_file;
mod last_look;
mod listen_options;
mod money_options;
mod mounts;
mod notes;
mod options;
pub mod origin;
mod own_listeners;
mod reader;
pub mod report;
mod secret_file;
mod section;
pub mod settings;
mod state_options;
pub(crate) mod suggest;
mod tenant_checks;
mod tenants_file;
pub(crate) mod units;
mod variables;
mod vendor_options;

use environment::Environment;
use files::{Files, Seen};
use notes::Notes;
use origin::Origin;
use reader::Reader;
use report::{Diagnostic, Report, Severity};
use section::Section;
use settings::{Admin, KeyEntry, Settings, State, TenantEntry};
pub use variables::ADMIN_TOKEN_VARIABLE;
use variables::CONFIG_VARIABLE;

/// Read from the working directory when nothing names a file; it need not be there.
const DEFAULT_CONFIG: &str = "sidekey.toml";
/// A volume that is swapped again and again while it is read: the last reading counts, and the next look sees the rest.
const TRIES_FOR_ONE_VERSION: usize = 3;

#[derive(Clone, Debug, Default)]
pub struct Input {
    /// `--config`.
    pub config: Option<PathBuf>,
    pub environment: Environment,
}

/// One reading of everything.
#[derive(Debug)]
pub struct Attempt {
    /// What was looked at, also when it was not good: the watcher compares with it.
    pub seen: Seen,
    /// The configuration, or a report with at least one error.
    pub outcome: Result<Loaded, Report>,
}

#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub keys: Vec<KeyEntry>,
    /// None in open mode.
    pub tenants: Vec<TenantEntry>,
    /// Warnings and hints.
    pub warnings: Report,
    pub origin: Origin,
}

/// Whether a key or a tenant can have this name.
pub fn is_name(name: &str) -> bool {
    key_checks::check_name(name).is_ok()
}

/// For a start. Reads files: call it where blocking is allowed.
pub fn load(input: &Input) -> Attempt {
    attempt(input, Occasion::Start)
}

/// For a program that serves already. The TLS files are not looked at: the listener follows them itself and keeps the
/// last good certificate, and a renewal that went wrong must not hold up changed keys.
pub fn reload(input: &Input) -> Attempt {
    attempt(input, Occasion::Reload)
}

/// The names by which clients may call the configured vendor. Mistakes are passed over: files that are named may have to
/// be made yet.
pub fn vendor_hosts(input: &Input) -> Vec<String> {
    let mut files = Files::default();
    let (path, named) = config_path(input);
    let text = config_text(&path, named, &mut files).unwrap_or_default();
    let (table, _) = DeTable::parse_recoverable(&text);
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let mut reader = Reader::new(&input.environment, base);
    let mut root = reader.root(Some(table.get_ref()));
    vendor_options::vendor(root.section("vendor"), &mut files).hosts()
}

/// Where the admin port of a program with this configuration is. Mistakes are passed over: that program may serve an
/// earlier version without them.
pub fn admin(input: &Input) -> Admin {
    part(input, |root, files| {
        listen_options::admin(root.section("admin"), files)
    })
}

/// Where the store of a program with this configuration is. Mistakes are passed over, as for the admin port.
pub fn state(input: &Input) -> State {
    part(input, |root, _| state_options::state(root.section("state")))
}

fn part<T>(input: &Input, read: impl FnOnce(&mut Section<'_, '_>, &mut Files) -> T) -> T {
    let mut files = Files::default();
    let (path, named) = config_path(input);
    let text = config_text(&path, named, &mut files).unwrap_or_default();
    let (table, _) = DeTable::parse_recoverable(&text);
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let mut reader = Reader::new(&input.environment, base);
    read(&mut reader.root(Some(table.get_ref())), &mut files)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    Start,
    Reload,
}

fn attempt(input: &Input, occasion: Occasion) -> Attempt {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut files = Files::default();
        let outcome = understand(input, occasion, &mut files);
        if !files.is_torn() || tries == TRIES_FOR_ONE_VERSION {
            let seen = files.into_seen();
            return Attempt { seen, outcome };
        }
    }
}

fn understand(input: &Input, occasion: Occasion, files: &mut Files) -> Result<Loaded, Report> {
    let mut found = Vec::new();
    let (path, named) = config_path(input);
    let text = config_text(&path, named, files).unwrap_or_else(|unreadable| {
        found.push(*unreadable);
        String::new()
    });
    let (table, errors) = DeTable::parse_recoverable(&text);
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let mut reader = Reader::new(&input.environment, base);
    errors
        .iter()
        .for_each(|error| reader.notes.not_toml(error, None));

    let mut root = reader.root(Some(table.get_ref()));
    let (settings, sources) = options::read(&mut root, occasion, files);
    root.done();
    let (notes, from_environment): (Notes, _) = reader.finish();
    found.extend(notes.into_diagnostics(&path.display().to_string(), &text, options::QUOTING));
    found.extend(from_environment);

    let keys = key_sources::read(&sources.keys, &input.environment, files, &mut found);
    let tenants = sources.tenants.map(|file| {
        let tenants = tenants_file::read(&file, &input.environment, files, &mut found);
        let origin = file.value.display().to_string();
        tenant_checks::check(&tenants, &keys, &settings.pools, &origin, &mut found);
        tenants
    });
    let tls = settings.listen.tls.iter();
    let origin = files.origin(tls.flat_map(|tls| [tls.cert.as_path(), tls.key.as_path()]));
    found.extend(origin.warnings());
    last_look::hide_secrets(&mut found, &keys, tenants.as_deref().unwrap_or_default());
    let broken = found.iter().any(|found| found.severity == Severity::Error);
    let report = Report::new(found);
    if broken {
        return Err(report);
    }
    Ok(Loaded {
        settings,
        keys,
        tenants: tenants.unwrap_or_default(),
        warnings: report,
        origin,
    })
}

/// The file, and whether somebody asked for it.
fn config_path(input: &Input) -> (PathBuf, bool) {
    let from_environment = || input.environment.get(CONFIG_VARIABLE).map(PathBuf::from);
    match input.config.clone().or_else(from_environment) {
        Some(path) => (path, true),
        None => (PathBuf::from(DEFAULT_CONFIG), false),
    }
}

fn config_text(path: &Path, named: bool, files: &mut Files) -> Result<String, Box<Diagnostic>> {
    let origin = path.display().to_string();
    let unreadable = |message: String, help| {
        Box::new(Diagnostic::about(&origin, Severity::Error, message, help))
    };
    match files.read(path) {
        Ok(content) => String::from_utf8(content)
            .map_err(|_| unreadable("this is not UTF-8 text".to_owned(), "save it as UTF-8")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => Ok(String::new()),
        Err(error) => Err(unreadable(
            format!("cannot read the configuration: {error}"),
            "check the path and its permissions",
        )),
    }
}

#[cfg(test)]
mod tests;
