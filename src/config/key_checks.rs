//! Which values can be keys, and which names can name one.

use std::collections::HashSet;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::environment::Environment;
use super::files::Files;
use super::reader::{At, Reader, Value, is_plain_name};
use super::report::{Diagnostic, Severity};
use crate::keys::secret::Secret;
use crate::vendor::scrub::SHORTEST_KEY;

/// SECURITY: a vendor's key is about 32 characters; a longer value is some other secret in the wrong place.
const LONGEST_KEY: usize = 512;
const LONGEST_NAME: usize = 64;
const KEY_LENGTH: usize = 32;
const NAMES_ARE_SHOWN: &str =
    "names are shown in logs and metrics; the key itself belongs into `value`";
/// Answers are scrubbed only of keys that are at least this long: a shorter one could be part of any text.
pub(crate) const SHORTEST_SCRUBBED: usize = SHORTEST_KEY;

/// A problem that has no place yet.
pub(crate) struct Problem {
    pub severity: Severity,
    pub message: String,
    pub help: &'static str,
}

impl Problem {
    /// For a value that is not where it is named.
    pub(crate) fn found_in(self, place: &str) -> Self {
        Self {
            message: format!("in {place}: {}", self.message),
            ..self
        }
    }

    pub(crate) fn error(message: impl Into<String>, help: &'static str) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            help,
        }
    }

    pub(crate) fn warning(message: impl Into<String>, help: &'static str) -> Self {
        Self {
            severity: Severity::Warning,
            message: message.into(),
            help,
        }
    }

    pub(crate) fn in_source(self, origin: &str) -> Diagnostic {
        Diagnostic::about(origin, self.severity, self.message, self.help)
    }
}

/// What stands behind `value =`: the key, or `ENV:` and where it is.
pub(crate) fn written_value(written: &str, environment: &Environment) -> Result<Secret, Problem> {
    written_secret("key", written, environment)
}

/// What stands behind `token =`.
pub(crate) fn written_token(written: &str, environment: &Environment) -> Result<Secret, Problem> {
    written_secret("token", written, environment)
}

fn written_secret(what: &str, written: &str, environment: &Environment) -> Result<Secret, Problem> {
    let Some(variable) = written.trim().strip_prefix("ENV:") else {
        return check_secret(what, written);
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
    // Somebody may have written the key itself behind `ENV:`.
    let place = match looks_like_a_variable(variable) {
        true => format!("the environment variable {variable}"),
        false => "that environment variable".to_owned(),
    };
    match environment.get(variable) {
        None => Err(Problem::error(
            format!("{place} is not set"),
            "set it before sidekey starts",
        )),
        Some(value) => check_secret(what, value).map_err(|problem| problem.found_in(&place)),
    }
}

/// And not like a key in the place of one.
pub(crate) fn looks_like_a_variable(name: &str) -> bool {
    let loud = name.contains('_') && !name.contains(|c: char| c.is_ascii_lowercase());
    is_plain_name(name) || (loud && !has_mixed_word(name, SHORTEST_SCRUBBED))
}

/// Keys of vendors are 32 hex digits, or as long a word of letters and digits.
pub(crate) fn looks_like_a_key(text: &str) -> bool {
    let is_hex = |word: &str| word.bytes().all(|b| b.is_ascii_hexdigit());
    has_mixed_word(text, KEY_LENGTH) || (text.len() >= KEY_LENGTH && is_hex(text))
}

/// A word of letters and digits together. What people think of is seldom one, and not a long one.
fn has_mixed_word(text: &str, length: usize) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| {
            word.len() >= length
                && word.bytes().any(|b| b.is_ascii_digit())
                && word.bytes().any(|b| b.is_ascii_alphabetic())
        })
}

pub(crate) fn value_in_file(path: &Path, files: &mut Files) -> Result<Secret, Problem> {
    let content = files.read(path).map_err(|error| {
        Problem::error(
            format!("cannot read it: {error}"),
            "check the path and its permissions",
        )
    })?;
    text_of(&content).and_then(check_value)
}

pub(crate) fn text_of(content: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(content)
        .map_err(|_| Problem::error("this is not UTF-8 text", "save it as UTF-8"))
}

pub(crate) fn check_value(written: &str) -> Result<Secret, Problem> {
    check_secret("key", written)
}

fn check_secret(what: &str, written: &str) -> Result<Secret, Problem> {
    let value = written.trim();
    if value.is_empty() {
        return Err(Problem::error(
            format!("the {what} is blank"),
            "write its value, or remove it",
        ));
    }
    if value.contains("<no value>") {
        let help = "the secret's name in the template is wrong, or the secret is not there; see error_on_missing_key";
        return Err(Problem::error(
            format!(
                "the {what} is the text `<no value>`, which a Vault template writes for a missing secret"
            ),
            help,
        ));
    }
    if value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Problem::error(
            format!("the {what} has blanks or control characters in it"),
            "it is one word; check how it was copied",
        ));
    }
    if !value.is_ascii() {
        return Err(Problem::error(
            format!("the {what} has characters in it that are not ASCII"),
            "check how it was copied",
        ));
    }
    if value.len() > LONGEST_KEY {
        return Err(Problem::error(
            format!("the {what} is longer than 512 characters"),
            "check that it is in the right place",
        ));
    }
    Ok(Secret::new(value))
}

/// A refused name is not repeated: it may be a key in the wrong place.
pub(crate) fn check_name(name: &str) -> Result<(), Problem> {
    let characters = name.chars().count();
    if characters == 0
        || characters > LONGEST_NAME
        || !name
            .chars()
            .all(|c| c.is_alphanumeric() || "._-@+".contains(c))
    {
        let help = "1 to 64 letters, digits and . _ - @ +";
        return Err(Problem::error("this cannot be a name", help));
    }
    if looks_like_a_key(name) {
        return Err(Problem::error(
            "this name looks like a key",
            NAMES_ARE_SHOWN,
        ));
    }
    Ok(())
}

/// What stands behind `field` in these tables: secrets, by which nothing may be named.
pub(crate) fn secrets_in<'a>(tables: &'a [Spanned<DeValue<'_>>], field: &str) -> HashSet<&'a str> {
    let tables = tables.iter().filter_map(|table| table.get_ref().as_table());
    tables
        .filter_map(|table| Some(table.get(field)?.get_ref().as_str()?.trim()))
        .collect()
}

pub(crate) fn named_by_a_secret(what: &str) -> Problem {
    let message = format!("the name of this {what} is a secret that stands elsewhere");
    Problem::error(message, NAMES_ARE_SHOWN)
}

/// The name of a `[[key]]` or a `[[tenant]]`, which logs and metrics show.
pub(crate) fn named(
    reader: &mut Reader<'_>,
    name: Option<Value<String>>,
    table: &At,
    what: &str,
    secrets: &HashSet<&str>,
) -> Option<Value<String>> {
    let Some(name) = name else {
        if reader.notes.is_toml() {
            let help = "add name = \"…\"; logs and metrics show it";
            reader.error(table, format!("this {what} has no name"), help);
        }
        return None;
    };
    let checked = check_name(&name.value).and_then(|()| match secrets.contains(&*name.value) {
        true => Err(named_by_a_secret(what)),
        false => Ok(()),
    });
    if let Err(Problem { message, help, .. }) = checked {
        reader.error(&name.at, message, help);
        return None;
    }
    reader.show(&name.at);
    Some(name)
}
