//! Keys from a file, a directory and the environment: one list, with every doubtful value refused and none printed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::ErrorKind;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::environment::Environment;
use super::files::Files;
use super::key_checks::{
    Problem, SHORTEST_SCRUBBED, check_name, check_value, looks_like_a_key, named_by_a_secret,
    value_in_file,
};
use super::keys_file;
use super::options::KeySources;
use super::reader::Value;
use super::report::{Diagnostic, Severity};
use super::settings::KeyEntry;
use crate::keys::secret::Secret;

/// Reads all sources. What is wrong goes to `found`; the keys are good only if there is no error in it.
pub(crate) fn read(
    sources: &KeySources,
    environment: &Environment,
    files: &mut Files,
    found: &mut Vec<Diagnostic>,
) -> Vec<KeyEntry> {
    let mut keys = Collected::default();
    let found_file = keys_file::read(&sources.file, environment, files, &mut keys, found);
    if let Some(directory) = &sources.directory {
        read_directory(&directory.value, files, &mut keys, found);
    }
    read_variable(&sources.variable, environment, &mut keys, found);
    keys.named_by_values(found);
    about_all(sources, found_file, &keys.entries, found);
    keys.entries
}

#[derive(Default)]
pub(crate) struct Collected {
    entries: Vec<KeyEntry>,
    names: HashMap<String, String>,
    /// By hash, so that no second copy of a secret lies around. Holds the name and the source.
    values: HashMap<[u8; 32], (String, String)>,
}

impl Collected {
    /// Also for a key whose value is not good: its name is taken all the same.
    pub(crate) fn claim(&mut self, name: &str, source: &str) -> Option<Problem> {
        let message = match self.names.entry(name.to_owned()) {
            Entry::Vacant(free) => {
                free.insert(source.to_owned());
                return None;
            }
            Entry::Occupied(other) if other.get() == source => {
                format!("two keys here are named `{name}`")
            }
            Entry::Occupied(other) => format!("a key in {} is named `{name}`, too", other.get()),
        };
        Some(Problem::error(
            message,
            "give each its own name: tasks are kept by it",
        ))
    }

    pub(crate) fn add(&mut self, entry: KeyEntry, source: &str) -> Option<Problem> {
        let hash: [u8; 32] = Sha256::digest(entry.value.expose()).into();
        if let Some((name, earlier)) = self.values.get(&hash) {
            let other = &entry.name;
            return Some(if earlier == source {
                let message = match name == other {
                    true => format!("`{name}` is listed twice"),
                    false => format!("`{name}` and `{other}` have the same value"),
                };
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
        let clash = self.claim(&entry.name, source);
        if clash.is_some() {
            return clash;
        }
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

    /// SECURITY: logs and metrics show the names. In one file this was seen before a name was shown; here across all sources.
    fn named_by_values(&self, found: &mut Vec<Diagnostic>) {
        for (name, source) in &self.names {
            let hash: [u8; 32] = Sha256::digest(name).into();
            if self.values.contains_key(&hash) {
                found.push(named_by_a_secret("key").in_source(source));
            }
        }
    }
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
        // The key itself may be the file's name.
        let file = match looks_like_a_key(&name) {
            true => origin.clone(),
            false => path.display().to_string(),
        };
        if let Some(mode) = files.readable_by_others(&path) {
            let message = format!("the key can be read by others than its owner (mode {mode:04o})");
            found.push(Problem::warning(message, "chmod 600").in_source(&file));
        }
        let value = check_name(&name).and_then(|()| value_in_file(&path, files));
        let problem = match value {
            Ok(value) if value.expose() == name.as_bytes() => {
                found.push(named_by_a_secret("key").in_source(&origin));
                continue;
            }
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
        pool: None,
        weight: 1,
        priority: 0,
        disabled: false,
        max_tasks: None,
        max_requests_per_second: None,
        billing: None,
    }
}
