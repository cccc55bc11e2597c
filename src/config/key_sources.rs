//! Keys from a file, a directory and the environment: one list, with every doubtful value refused and none printed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::ErrorKind;
use std::path::Path;

use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::environment::Environment;
use super::files::{Files, directory_of};
use super::notes::Quoting;
use super::options::KeySources;
use super::reader::{At, Reader, Section, Value};
use super::report::{Diagnostic, Place, Severity};
use super::settings::KeyEntry;
use crate::keys::secret::Secret;

/// How a keys file is quoted: names of options, and what was read as harmless. When unsure, masked.
const QUOTING: Quoting = Quoting {
    words: &[
        "key", "name", "value", "file", "weight", "priority", "disabled", "true", "false", "pool",
    ],
    secret: true,
};

/// SECURITY: a vendor's key is about 32 characters; a longer value is some other secret in the wrong place.
const LONGEST_KEY: usize = 512;
const LONGEST_NAME: usize = 64;
/// Answers are scrubbed only of keys that are at least this long: a shorter one could be part of any text.
const SHORTEST_SCRUBBED: usize = 16;

/// Reads all sources. What is wrong goes to `found`; the keys are good only if there is no error in it.
pub(crate) fn read(
    sources: &KeySources,
    environment: &Environment,
    files: &mut Files,
    found: &mut Vec<Diagnostic>,
) -> Vec<KeyEntry> {
    let mut keys = Collected::default();
    let found_file = read_file(&sources.file, environment, files, &mut keys, found);
    if let Some(directory) = &sources.directory {
        read_directory(&directory.value, files, &mut keys, found);
    }
    read_variable(&sources.variable, environment, &mut keys, found);
    about_all(sources, found_file, &keys.entries, found);
    keys.entries
}

/// A problem that has no place yet.
struct Problem {
    severity: Severity,
    message: String,
    help: &'static str,
}

impl Problem {
    fn error(message: impl Into<String>, help: &'static str) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            help,
        }
    }

    fn warning(message: impl Into<String>, help: &'static str) -> Self {
        Self {
            severity: Severity::Warning,
            message: message.into(),
            help,
        }
    }

    fn in_source(self, origin: &str) -> Diagnostic {
        Diagnostic {
            severity: self.severity,
            message: self.message,
            help: Some(self.help.to_owned()).filter(|help| !help.is_empty()),
            place: Some(Place {
                origin: origin.to_owned(),
                quote: None,
            }),
        }
    }
}

#[derive(Default)]
struct Collected {
    entries: Vec<KeyEntry>,
    names: HashMap<String, String>,
    /// By hash, so that no second copy of a secret lies around. Holds the name and the source.
    values: HashMap<[u8; 32], (String, String)>,
}

impl Collected {
    fn add(&mut self, entry: KeyEntry, source: &str) -> Option<Problem> {
        let hash: [u8; 32] = Sha256::digest(entry.value.expose()).into();
        if let Some((name, earlier)) = self.values.get(&hash) {
            let other = &entry.name;
            return Some(if earlier == source {
                let message = format!("`{name}` and `{other}` have the same value");
                Problem::error(
                    message,
                    "a key is listed once; its share of the work is its `weight`",
                )
            } else {
                let message = format!(
                    "the value of `{other}` is also `{name}` in {earlier}: taken as one key, `{name}`"
                );
                Problem::warning(message, "keep it in one place")
            });
        }
        match self.names.entry(entry.name.clone()) {
            Entry::Occupied(other) => {
                let wherefrom = if other.get() == source {
                    "here"
                } else {
                    other.get()
                };
                let message = format!(
                    "two keys are named `{}`; the other is {wherefrom}",
                    entry.name
                );
                return Some(Problem::error(
                    message,
                    "give each its own name: tasks are kept by it",
                ));
            }
            Entry::Vacant(free) => free.insert(source.to_owned()),
        };
        self.values
            .insert(hash, (entry.name.clone(), source.to_owned()));
        let short = entry.value.expose().len() < SHORTEST_SCRUBBED;
        let message = short.then(|| {
            format!(
                "the value of `{}` is shorter than 16 characters",
                entry.name
            )
        });
        self.entries.push(entry);
        message.map(|message| {
            Problem::warning(message, "should the vendor ever repeat it in an answer, it is not removed from there; check that it is complete")
        })
    }
}

fn read_file(
    path: &Value<std::path::PathBuf>,
    environment: &Environment,
    files: &mut Files,
    keys: &mut Collected,
    found: &mut Vec<Diagnostic>,
) -> bool {
    let origin = path.value.display().to_string();
    let content = match files.read(&path.value) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if path.is_written() {
                let help = "it is looked for again while sidekey runs";
                found.push(
                    Problem::warning("the keys file does not exist (yet)", help).in_source(&origin),
                );
            }
            return false;
        }
        Err(error) => {
            let message = format!("cannot read the keys file: {error}");
            found.push(
                Problem::error(message, "check the path and its permissions").in_source(&origin),
            );
            return false;
        }
    };
    if let Some(mode) = files.readable_by_others(&path.value) {
        let message =
            format!("the keys file can be read by others than its owner (mode {mode:04o})");
        found.push(Problem::warning(message, "chmod 600").in_source(&origin));
    }
    let text = match text(&content) {
        Ok(text) => text,
        Err(problem) => {
            found.push(problem.in_source(&origin));
            return true;
        }
    };
    if text.trim().is_empty() {
        found.push(blank_file().in_source(&origin));
        return true;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let no_environment = Environment::default();
    let base = directory_of(&path.value);
    let mut reader = Reader::secret(&no_environment, &base);
    for error in &errors {
        reader.notes.not_toml(error);
    }
    let mut root = reader.root(Some(table.get_ref()));
    match root.tables("key") {
        None if errors.is_empty() && table.get_ref().is_empty() => {
            found.push(blank_file().in_source(&origin))
        }
        None => {}
        Some((_, tables)) => {
            for value in tables {
                let at = At::Text(value.span());
                let Some(mut section) = root.inner(String::new(), value) else {
                    continue;
                };
                let entry = key(&mut section, &at, environment, files);
                section.done();
                if let Some((entry, at)) = entry
                    && let Some(Problem {
                        severity,
                        message,
                        help,
                    }) = keys.add(entry, &origin)
                {
                    root.reader.note(severity, &at, message, help);
                }
            }
        }
    }
    root.done();
    found.extend(reader.finish().0.into_diagnostics(&origin, text, QUOTING));
    true
}

fn blank_file() -> Problem {
    Problem::error(
        "there is no key in this file",
        "write `key = []` if none is meant",
    )
}

/// One `[[key]]`; also where to point when it clashes with another.
fn key(
    section: &mut Section<'_, '_>,
    table: &At,
    environment: &Environment,
    files: &mut Files,
) -> Option<(KeyEntry, At)> {
    let name = section.secret_text("name");
    let value = section.secret_text("value");
    let file = section.path("file");
    let weight = section.weight();
    let priority = section.integer("priority", 0, -1000..1001);
    let disabled = section.boolean("disabled", false);

    let reader = &mut *section.reader;
    let name = match name {
        None => {
            if reader.notes.is_toml() {
                reader.error(
                    table,
                    "this key has no name",
                    "add name = \"account-1\"; logs and metrics show it",
                );
            }
            None
        }
        Some(name) => match check_name(&name.value) {
            Ok(()) => {
                if let At::Text(part) = &name.at {
                    reader.notes.show(part.clone());
                }
                Some(name)
            }
            Err(Problem { message, help, .. }) => {
                reader.error(&name.at, message, help);
                None
            }
        },
    };
    let (value, at) = match (value, file) {
        (Some(value), Some(file)) => {
            reader.error(
                &file.at,
                "this key has both `value` and `file`",
                "keep one of them",
            );
            (Err(None), value.at)
        }
        (Some(Value { value, at }), None) => (written_value(&value, environment).map_err(Some), at),
        (None, Some(Value { value, at })) => (value_in_file(&value, files).map_err(Some), at),
        (None, None) => {
            if reader.notes.is_toml() {
                let help = "add value = \"…\", value = \"ENV:NAME\" or file = \"…\"";
                reader.error(table, "this key has no value", help);
            }
            (Err(None), table.clone())
        }
    };
    let value = match value {
        Ok(value) => value,
        Err(problem) => {
            if let Some(Problem { message, help, .. }) = problem {
                reader.error(&at, message, help);
            }
            return None;
        }
    };
    let entry = KeyEntry {
        name: name?.value,
        value,
        weight,
        priority: i32::try_from(priority.value).unwrap_or_default(),
        disabled: disabled.value,
    };
    Some((entry, at))
}

fn read_directory(
    directory: &Path,
    files: &mut Files,
    keys: &mut Collected,
    found: &mut Vec<Diagnostic>,
) {
    let origin = directory.display().to_string();
    let names = match files.list(directory) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let help = "it is looked for again while sidekey runs";
            found.push(
                Problem::warning("the keys directory does not exist (yet)", help)
                    .in_source(&origin),
            );
            return;
        }
        Err(error) => {
            let message = format!("cannot read the keys directory: {error}");
            found.push(
                Problem::error(message, "check the path and its permissions").in_source(&origin),
            );
            return;
        }
    };
    for name in names {
        let path = directory.join(&name);
        let file = path.display().to_string();
        if let Some(mode) = files.readable_by_others(&path) {
            let message = format!("the key can be read by others than its owner (mode {mode:04o})");
            found.push(Problem::warning(message, "chmod 600").in_source(&file));
        }
        let value = check_name(&name).and_then(|()| value_in_file(&path, files));
        let problem = match value {
            Ok(value) => keys.add(plain(name, value), &origin),
            Err(problem) => Some(problem),
        };
        found.extend(problem.map(|problem| problem.in_source(&file)));
    }
}

fn read_variable(
    variable: &Value<String>,
    environment: &Environment,
    keys: &mut Collected,
    found: &mut Vec<Diagnostic>,
) {
    let origin = format!("environment variable {}", variable.value);
    let mut note = |problem: Problem| found.push(problem.in_source(&origin));
    match environment.get(&variable.value) {
        None if variable.is_written() => {
            note(Problem::warning(
                "`keys_env` names it, but it is not set",
                "set it, or leave `keys_env` out",
            ));
        }
        None => {}
        Some(text) if text.trim().is_empty() => {
            note(Problem::warning(
                "it is set but blank",
                "write keys separated by commas, or unset it",
            ));
        }
        Some(text) => {
            for (index, item) in text.split(',').enumerate() {
                let name = format!("env-{}", index + 1);
                let problem = match check_value(item) {
                    Ok(value) => keys.add(plain(name, value), &origin),
                    Err(Problem {
                        severity,
                        message,
                        help,
                    }) => Some(Problem {
                        severity,
                        message: format!("item {}: {message}", index + 1),
                        help,
                    }),
                };
                problem.into_iter().for_each(&mut note);
            }
        }
    }
}

fn about_all(
    sources: &KeySources,
    found_file: bool,
    keys: &[KeyEntry],
    found: &mut Vec<Diagnostic>,
) {
    let broken = found.iter().any(|found| found.severity == Severity::Error);
    let usable = keys.iter().filter(|key| !key.disabled).count();
    let (severity, message, help) = match (usable, keys.len()) {
        _ if broken => return,
        (0, 0) if !found_file && sources.directory.is_none() => {
            let file = sources.file.value.display();
            let help = format!("write {file}, or set {}=key,key,…", sources.variable.value);
            (
                Severity::Warning,
                "no keys: every call will be refused",
                help,
            )
        }
        (0, 0) => (
            Severity::Warning,
            "no keys: every call will be refused",
            "add a key".to_owned(),
        ),
        (0, _) => (
            Severity::Warning,
            "every key is disabled: new submits will be refused",
            "enable one".to_owned(),
        ),
        (1, _) => {
            let help = "with a second one, work goes on while the first is busy, empty or replaced"
                .to_owned();
            (Severity::Hint, "there is only one key", help)
        }
        _ => return,
    };
    found.push(Diagnostic {
        severity,
        message: message.to_owned(),
        help: Some(help),
        place: None,
    });
}

fn plain(name: String, value: Secret) -> KeyEntry {
    KeyEntry {
        name,
        value,
        weight: 1,
        priority: 0,
        disabled: false,
    }
}

fn written_value(written: &str, environment: &Environment) -> Result<Secret, Problem> {
    let Some(variable) = written.trim().strip_prefix("ENV:") else {
        return check_value(written);
    };
    let is_name = !variable.is_empty()
        && variable
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_name {
        return Err(Problem::error(
            "after `ENV:` comes the name of a variable",
            "such as \"ENV:CAPTCHAAI_KEY_1\"",
        ));
    }
    match environment.get(variable) {
        None => Err(Problem::error(
            format!("the environment variable {variable} is not set"),
            "set it before sidekey starts",
        )),
        Some(value) => check_value(value).map_err(|problem| Problem {
            message: format!(
                "in the environment variable {variable}: {}",
                problem.message
            ),
            ..problem
        }),
    }
}

fn value_in_file(path: &Path, files: &mut Files) -> Result<Secret, Problem> {
    let content = files.read(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        Problem::error(message, "check the path and its permissions")
    })?;
    let value = text(&content).and_then(check_value);
    value.map_err(|problem| Problem {
        message: format!("in {}: {}", path.display(), problem.message),
        ..problem
    })
}

fn text(content: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(content)
        .map_err(|_| Problem::error("this is not UTF-8 text", "save it as UTF-8"))
}

fn check_value(written: &str) -> Result<Secret, Problem> {
    let value = written.trim();
    if value.is_empty() {
        return Err(Problem::error(
            "the key is blank",
            "write its value, or remove it",
        ));
    }
    if value.contains("<no value>") {
        let help = "the secret's name in the template is wrong, or the secret is not there; see error_on_missing_key";
        return Err(Problem::error(
            "the key is the text `<no value>`, which a Vault template writes for a missing secret",
            help,
        ));
    }
    if value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Problem::error(
            "the key has blanks or control characters in it",
            "one key is one word; check how it was copied",
        ));
    }
    if !value.is_ascii() {
        return Err(Problem::error(
            "the key has characters in it that are not ASCII",
            "check how it was copied",
        ));
    }
    if value.len() > LONGEST_KEY {
        return Err(Problem::error(
            "the key is longer than 512 characters",
            "check that this is a vendor's key",
        ));
    }
    Ok(Secret::new(value))
}

/// A refused name is not repeated: it may be a key in the wrong place.
fn check_name(name: &str) -> Result<(), Problem> {
    let characters = name.chars().count();
    if characters == 0
        || characters > LONGEST_NAME
        || !name
            .chars()
            .all(|c| c.is_alphanumeric() || "._-@+".contains(c))
    {
        let help = "1 to 64 letters, digits and . _ - @ +";
        return Err(Problem::error("this cannot be the name of a key", help));
    }
    if name.len() >= 32 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
        let help = "names are shown in logs and metrics; the key itself belongs into `value`";
        return Err(Problem::error("this name looks like a key", help));
    }
    Ok(())
}
