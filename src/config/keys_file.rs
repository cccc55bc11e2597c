//! `keys.toml`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::environment::Environment;
use super::files::Files;
use super::key_checks::{
    Problem, check_name, named, secrets_in, text_of, value_in_file, written_value,
};
use super::key_sources::Collected;
use super::notes::Quoting;
use super::reader::{At, Reader, Value, is_plain_name};
use super::report::Diagnostic;
use super::secret_file;
use super::section::Section;
use super::settings::KeyEntry;
use super::vendor_options::billing;
use crate::keys::secret::Secret;

/// How a keys file is quoted: names of options, and what was read as harmless. When unsure, masked.
const QUOTING: Quoting = Quoting {
    words: &[
        "key",
        "name",
        "value",
        "file",
        "weight",
        "priority",
        "disabled",
        "max_tasks",
        "max_requests_per_second",
        "billing",
        "auto",
        "balance",
        "threads",
        "true",
        "false",
        "pool",
    ],
    secret: true,
};

const FORM: &str =
    "write [[key]], name = \"…\" and value = \"…\" for each key, each on a line of its own";

/// Returns whether there is such a file.
pub(crate) fn read(
    path: &Value<PathBuf>,
    environment: &Environment,
    files: &mut Files,
    keys: &mut Collected,
    found: &mut Vec<Diagnostic>,
) -> bool {
    let origin = path.value.display().to_string();
    let missing = path.is_written().then(|| {
        let help = "it is looked for again while sidekey runs";
        Problem::warning("the keys file does not exist (yet)", help)
    });
    let Some(content) = secret_file::read(&path.value, "keys", missing, files, found) else {
        return false;
    };
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
    let base = path.value.parent().unwrap_or_else(|| Path::new(""));
    let mut reader = Reader::secret(&no_environment, base);
    for error in &errors {
        reader.notes.not_toml(error, Some(FORM));
    }
    let mut root = reader.root(Some(table.get_ref()));
    match root.tables("key") {
        None if errors.is_empty() && table.get_ref().is_empty() => {
            found.push(blank_file().in_source(&origin))
        }
        None => {}
        Some(tables) => {
            let secrets = secrets_in(tables, "value");
            for value in tables {
                if let Some(mut section) = root.inner(String::new(), value) {
                    key(
                        &mut section,
                        &At::Text(value.span()),
                        (&origin, &secrets),
                        (environment, files),
                        keys,
                    );
                    section.done();
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

/// One `[[key]]`.
fn key(
    section: &mut Section<'_, '_>,
    table: &At,
    (origin, secrets): (&str, &HashSet<&str>),
    (environment, files): (&Environment, &mut Files),
    keys: &mut Collected,
) {
    let name = section.secret_text("name");
    let value = section.secret_text("value");
    let file = section.secret_text("file");
    let weight = section.integer("weight", 1u32, 0..=1000);
    let priority = section.integer("priority", 0, -1000..=1000);
    let pool = section.text("pool");
    let disabled = section.boolean("disabled", false);
    // 0 stands for "not written" and cannot be written.
    let max_tasks = section.integer("max_tasks", 0u32, 1..=100_000).value;
    let max_requests = section.integer("max_requests_per_second", 0u32, 1..=10_000);
    let billing = billing(section);

    let reader = &mut *section.reader;
    if weight.value == 0 {
        let help = "write disabled = true to take a key out of use";
        reader.error(&weight.at, "a key of weight 0 would never be chosen", help);
    }
    let pool = pool.and_then(|pool| match check_name(&pool.value) {
        Ok(()) => Some(pool.value),
        Err(Problem { help, .. }) => {
            reader.error(&pool.at, "this cannot be the name of a pool", help);
            None
        }
    });
    let name = named(reader, name, table, "key", secrets);
    let value = checked_value(reader, value, file, table, (environment, files));
    let Some(Value { value: name, at }) = name else {
        return;
    };
    let problem = match value {
        None => keys.claim(&name, origin),
        Some(value) => {
            let (weight, priority, disabled) = (weight.value, priority.value, disabled.value);
            keys.add(
                KeyEntry {
                    name,
                    value,
                    pool,
                    weight,
                    priority,
                    disabled,
                    max_tasks: Some(max_tasks).filter(|slots| *slots > 0),
                    max_requests_per_second: Some(max_requests.value).filter(|rate| *rate > 0),
                    billing,
                },
                origin,
            )
        }
    };
    if let Some(Problem {
        severity,
        message,
        help,
    }) = problem
    {
        reader.note(severity, &at, message, help);
    }
}

fn checked_value(
    reader: &mut Reader<'_>,
    value: Option<Value<String>>,
    file: Option<Value<String>>,
    table: &At,
    (environment, files): (&Environment, &mut Files),
) -> Option<Secret> {
    let (value, at) = match (value, file) {
        (Some(value), None) => (written_value(&value.value, environment), value.at),
        (None, Some(file)) => {
            // Somebody may have put the key itself here.
            if file.value.contains(['/', '.']) || is_plain_name(&file.value) {
                reader.show(&file.at);
            }
            let value = value_in_file(&reader.base.join(file.value), files);
            (
                value.map_err(|problem| problem.found_in("this file")),
                file.at,
            )
        }
        (Some(_), Some(file)) => {
            reader.error(
                &file.at,
                "this key has both `value` and `file`",
                "keep one of them",
            );
            return None;
        }
        (None, None) => {
            if reader.notes.is_toml() {
                let help = "add value = \"…\", value = \"ENV:NAME\" or file = \"…\"";
                reader.error(table, "this key has no value", help);
            }
            return None;
        }
    };
    value
        .map_err(|Problem { message, help, .. }| reader.error(&at, message, help))
        .ok()
}
