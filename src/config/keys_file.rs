//! `keys.toml`.

use std::io::ErrorKind;
use std::path::PathBuf;

use toml::de::DeTable;

use super::environment::Environment;
use super::files::{Files, directory_of};
use super::key_checks::{Problem, check_name, text_of, value_in_file, written_value};
use super::key_sources::Collected;
use super::notes::Quoting;
use super::reader::{At, Reader, Value};
use super::report::Diagnostic;
use super::section::Section;
use super::settings::KeyEntry;

/// How a keys file is quoted: names of options, and what was read as harmless. When unsure, masked.
const QUOTING: Quoting = Quoting {
    words: &[
        "key", "name", "value", "file", "weight", "priority", "disabled", "true", "false", "pool",
    ],
    secret: true,
};

/// Returns whether there is such a file.
pub(crate) fn read(
    path: &Value<PathBuf>,
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
    let text = match text_of(&content) {
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
        Some(tables) => {
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
    let weight = section.integer("weight", 1u32, 0..=1000);
    let priority = section.integer("priority", 0, -1000..=1000);
    let disabled = section.boolean("disabled", false);

    let reader = &mut *section.reader;
    if weight.value == 0 {
        let help = "write disabled = true to take a key out of use";
        reader.error(&weight.at, "a key of weight 0 would never be chosen", help);
    }
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
        weight: weight.value,
        priority: priority.value,
        disabled: disabled.value,
    };
    Some((entry, at))
}
