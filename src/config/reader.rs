//! What was found while options are taken one by one ([`Section`]), from the environment and from one file.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::environment::Environment;
use super::notes::Notes;
use super::report::{Diagnostic, Severity};
use super::section::Section;
use super::suggest::nearest;
use super::variables::stray_variable;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Default,
    Text(Range<usize>),
    Variable(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Value<T> {
    pub value: T,
    pub at: At,
}

impl<T> Value<T> {
    pub(crate) fn default(value: T) -> Self {
        Self {
            value,
            at: At::Default,
        }
    }

    pub(crate) fn written(value: T, at: At) -> Self {
        Self { value, at }
    }

    pub(crate) fn is_written(&self) -> bool {
        self.at != At::Default
    }
}

pub(crate) struct Reader<'a> {
    pub(crate) environment: &'a Environment,
    /// Directory of the file: paths written in it are relative to it.
    pub(crate) base: &'a Path,
    pub(crate) notes: Notes,
    from_environment: Vec<Diagnostic>,
    /// Every option that was asked for, and so exists.
    pub(crate) options: BTreeSet<String>,
    pub(crate) strays: Vec<Stray>,
    /// How many were noted so far.
    pub(crate) errors: usize,
    /// The text is a list of secrets: an unknown name in it may be one.
    pub(crate) secret: bool,
}

/// A name in the file that nothing asked for.
pub(crate) struct Stray {
    pub section: String,
    pub name: String,
    pub is_section: bool,
    pub at: Range<usize>,
    pub siblings: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(environment: &'a Environment, base: &'a Path) -> Self {
        Self {
            environment,
            base,
            notes: Notes::default(),
            from_environment: Vec::new(),
            options: BTreeSet::new(),
            strays: Vec::new(),
            errors: 0,
            secret: false,
        }
    }

    /// For a text that holds secrets.
    pub(crate) fn secret(environment: &'a Environment, base: &'a Path) -> Self {
        Self {
            secret: true,
            ..Self::new(environment, base)
        }
    }

    pub(crate) fn root<'r>(&'r mut self, table: Option<&'r DeTable<'r>>) -> Section<'r, 'a> {
        Section::new(self, String::new(), table)
    }

    pub(crate) fn in_base(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    pub(crate) fn note(
        &mut self,
        severity: Severity,
        at: &At,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.errors += usize::from(severity == Severity::Error);
        let at = match at {
            At::Variable(name) => {
                let origin = format!("environment variable {name}");
                self.from_environment
                    .push(Diagnostic::about(&origin, severity, message, help));
                return;
            }
            At::Text(part) => Some(part.clone()),
            At::Default => None,
        };
        self.notes.add(severity, at, message, help);
    }

    pub(crate) fn error(&mut self, at: &At, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Error, at, message, help);
    }

    pub(crate) fn warn(&mut self, at: &At, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Warning, at, message, help);
    }

    /// This part of the text is harmless and may be quoted.
    pub(crate) fn show(&mut self, at: &At) {
        if let At::Text(part) = at {
            self.notes.show(part.clone());
        }
    }

    /// Every option that exists, as `section.name`.
    #[cfg(test)]
    pub(crate) fn options(&self) -> impl Iterator<Item = &str> {
        self.options.iter().map(String::as_str)
    }

    /// To be called when every option was asked for: what is left over is unknown.
    pub(crate) fn finish(mut self) -> (Notes, Vec<Diagnostic>) {
        // Below a header that cannot be read options seem to stand at the top of the file.
        let lost = |stray: &Stray| stray.section.is_empty() && self.notes.is_broken();
        let mut strays = std::mem::take(&mut self.strays);
        strays.retain(|stray| !lost(stray));
        for stray in strays {
            self.note_stray(&stray);
        }
        for (name, value) in self.environment.iter() {
            self.from_environment
                .extend(stray_variable(name, value, &self.options));
        }
        (self.notes, self.from_environment)
    }

    fn note_stray(&mut self, stray: &Stray) {
        let Stray {
            name, at, siblings, ..
        } = stray;
        let inside = match stray.section.as_str() {
            "" => String::new(),
            section => format!(" in [{section}]"),
        };
        let what = if stray.is_section {
            "section"
        } else {
            "option"
        };
        let belongs = self
            .options
            .iter()
            .find_map(|option| match option.rsplit_once('.') {
                Some((section, last)) if last == name => Some(format!("it belongs in [{section}]")),
                None if option == name => {
                    Some("it belongs at the top of the file, above the first [section]".to_owned())
                }
                _ => None,
            });
        let near = nearest(name, siblings.iter().copied());
        let showable = belongs.is_some() || near.is_some() || (!self.secret && is_plain_name(name));
        let near = near.map(|near| format!("did you mean `{near}`?"));
        // A section that is misspelt may have the name of an option elsewhere.
        let likely = match stray.is_section {
            true => near.or(belongs),
            false => belongs.or(near),
        };
        let elsewhere = match (stray.section.as_str(), name.as_str()) {
            ("", "key") if !self.secret => Some(KEYS_ELSEWHERE.to_owned()),
            ("", "tenant" | "tenant_defaults") if !self.secret => {
                Some(TENANTS_ELSEWHERE.to_owned())
            }
            _ => None,
        };
        let help = elsewhere
            .or(likely)
            .unwrap_or_else(|| format!("known here: {}", siblings.join(", ")));
        let message = if showable {
            self.notes.show(at.clone());
            format!("unknown {what} `{name}`{inside}")
        } else {
            format!("unknown {what}{inside}")
        };
        self.notes
            .add(Severity::Error, Some(at.clone()), message, help);
    }
}

const KEYS_ELSEWHERE: &str =
    "keys are written in a file of their own: keys.toml beside this one, or what `keys_file` names";
const TENANTS_ELSEWHERE: &str =
    "tenants are written in a file of their own, such as tenants.toml, that `tenants_file` names";

/// A key pasted where a name belongs has digits and is long.
pub(crate) fn is_plain_name(name: &str) -> bool {
    name.len() <= 40
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && (name.len() < 16 || !name.bytes().any(|b| b.is_ascii_digit()))
}

/// What a message may repeat of a value that is not a secret: short and printable.
pub(crate) fn shown(value: &str) -> String {
    let short: String = value.chars().take(60).collect();
    format!("{short:?}")
}
