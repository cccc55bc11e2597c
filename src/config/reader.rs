//! Takes options one by one from the environment and from a parsed TOML table. A wrong one is noted and its default
//! is used, so that one run finds every mistake.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::notes::Notes;
use super::report::{Diagnostic, Place, Severity};
use super::suggest::nearest;
use super::units;
use super::variables::{is_service_link, stray_variable, variable_name};

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

    pub(crate) fn is_written(&self) -> bool {
        self.at != At::Default
    }
}

pub(crate) struct Reader<'a> {
    environment: &'a Environment,
    /// Directory of the file: paths written in it are relative to it.
    base: &'a Path,
    pub(crate) notes: Notes,
    from_environment: Vec<Diagnostic>,
    /// Every option that was asked for, and so exists.
    options: BTreeSet<String>,
    strays: Vec<Stray>,
    /// The text is a list of secrets: an unknown name in it may be one.
    secret: bool,
}

/// A name in the file that nothing asked for.
struct Stray {
    section: String,
    name: String,
    at: Range<usize>,
    siblings: Vec<&'static str>,
}

pub(crate) struct Section<'r, 'a> {
    pub(crate) reader: &'r mut Reader<'a>,
    path: String,
    table: Option<&'r DeTable<'r>>,
    known: Vec<&'static str>,
}

enum Raw<'r> {
    Variable(String, &'r str),
    Text(&'r Spanned<DeValue<'r>>),
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
        Section {
            reader: self,
            path: String::new(),
            table,
            known: Vec::new(),
        }
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
        let at = match at {
            At::Variable(name) => {
                let help = Some(help.into()).filter(|help| !help.is_empty());
                let origin = format!("environment variable {name}");
                let place = Some(Place {
                    origin,
                    quote: None,
                });
                let message = message.into();
                self.from_environment.push(Diagnostic {
                    severity,
                    message,
                    help,
                    place,
                });
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

    /// Every option that exists, as `section.name`.
    #[cfg(test)]
    pub(crate) fn options(&self) -> impl Iterator<Item = &str> {
        self.options.iter().map(String::as_str)
    }

    /// To be called when every option was asked for: what is left over is unknown.
    pub(crate) fn finish(mut self) -> (Notes, Vec<Diagnostic>) {
        for stray in std::mem::take(&mut self.strays) {
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
            section,
            name,
            at,
            siblings,
        } = stray;
        let inside = match section.as_str() {
            "" => String::new(),
            section => format!(" in [{section}]"),
        };
        let elsewhere = self
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
        if self.secret && near.is_none() {
            let help = format!("known here: {}", siblings.join(", "));
            self.notes
                .add(Severity::Error, Some(at.clone()), "unknown option", help);
            return;
        }
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => elsewhere.unwrap_or_else(|| format!("known here: {}", siblings.join(", "))),
        };
        self.notes.show(at.clone());
        self.notes.add(
            Severity::Error,
            Some(at.clone()),
            format!("unknown option `{name}`{inside}"),
            help,
        );
    }
}

impl<'r, 'a> Section<'r, 'a> {
    pub(crate) fn section<'s>(&'s mut self, name: &'static str) -> Section<'s, 'a> {
        self.known.push(name);
        let path = self.full(name);
        let found = self.table.and_then(|table| table.get(name));
        let table = found.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (found, table) {
            let help = format!("write [{path}] on a line of its own and the options below it");
            self.reader.error(
                &At::Text(value.span()),
                format!("`{path}` is a section, not a value"),
                help,
            );
        }
        Section {
            reader: self.reader,
            path,
            table,
            known: Vec::new(),
        }
    }

    /// A table whose names are data: error codes. Not in the environment.
    pub(crate) fn entries(
        &mut self,
        name: &'static str,
    ) -> Vec<(&'r str, &'r Spanned<DeValue<'r>>)> {
        self.section(name);
        let found = self.table.and_then(|table| table.get(name));
        let table = found.and_then(|value| value.get_ref().as_table());
        let mut entries = Vec::new();
        for (key, value) in table.into_iter().flatten() {
            self.reader.notes.show(key.span());
            entries.push((key.get_ref().as_ref(), value));
        }
        entries
    }

    /// The tables of `[[name]]`, and where they are.
    pub(crate) fn tables(
        &mut self,
        name: &'static str,
    ) -> Option<(Range<usize>, &'r [Spanned<DeValue<'r>>])> {
        let Some(Raw::Text(value)) = self.raw(name) else {
            return None;
        };
        match value.get_ref().as_array() {
            Some(array) => Some((value.span(), array)),
            None => {
                let help = format!("write [[{name}]], with two brackets, above each of them");
                self.reader.error(
                    &At::Text(value.span()),
                    format!("`{name}` must be a list of tables"),
                    help,
                );
                Some((value.span(), &[]))
            }
        }
    }

    /// A table inside such a table or list.
    pub(crate) fn inner<'s>(
        &'s mut self,
        path: String,
        value: &'s Spanned<DeValue<'s>>,
    ) -> Option<Section<'s, 'a>> {
        let Some(table) = value.get_ref().as_table() else {
            let found = value.get_ref().type_str();
            self.reader.error(
                &At::Text(value.span()),
                format!("expected a table, found {found}"),
                "",
            );
            return None;
        };
        Some(Section {
            reader: self.reader,
            path,
            table: Some(table),
            known: Vec::new(),
        })
    }

    /// Notes what nothing asked for.
    pub(crate) fn done(self) {
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                self.reader.strays.push(Stray {
                    section: self.path.clone(),
                    name: name.to_owned(),
                    at: key.span(),
                    siblings: self.known.clone(),
                });
            }
        }
    }

    /// Text that is never quoted.
    pub(crate) fn secret_text(&mut self, name: &'static str) -> Option<Value<String>> {
        match self.raw(name)? {
            Raw::Variable(name, text) => Some(Value {
                value: text.to_owned(),
                at: At::Variable(name),
            }),
            Raw::Text(value) => match value.get_ref().as_str() {
                Some(text) => Some(Value {
                    value: text.to_owned(),
                    at: At::Text(value.span()),
                }),
                None => self.wrong_type(name, value, "text in double quotes"),
            },
        }
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<Value<String>> {
        let found = self.secret_text(name)?;
        // A URL may have a password in it.
        if let At::Text(part) = &found.at
            && !found.value.contains(['@', '?'])
        {
            self.reader.notes.show(part.clone());
        }
        Some(found)
    }

    pub(crate) fn path(&mut self, name: &'static str) -> Option<Value<PathBuf>> {
        let Value { value, at } = self.text(name)?;
        if value.trim().is_empty() {
            let option = self.full(name);
            self.reader.error(
                &at,
                format!("`{option}` is blank"),
                "write a path or leave the option out",
            );
            return None;
        }
        let value = match at {
            At::Text(_) => self.reader.base.join(value),
            _ => PathBuf::from(value),
        };
        Some(Value { value, at })
    }

    pub(crate) fn boolean(&mut self, name: &'static str, default: bool) -> Value<bool> {
        let expects = "true or false";
        let read = match self.raw(name) {
            None => None,
            Some(Raw::Variable(variable, text)) => match text.trim() {
                "true" => Some(Value {
                    value: true,
                    at: At::Variable(variable),
                }),
                "false" => Some(Value {
                    value: false,
                    at: At::Variable(variable),
                }),
                _ => self.wrong(name, &At::Variable(variable), expects),
            },
            Some(Raw::Text(value)) => match value.get_ref().as_bool() {
                Some(yes) => Some(Value {
                    value: yes,
                    at: At::Text(value.span()),
                }),
                None => self.wrong_type(name, value, expects),
            },
        };
        read.unwrap_or_else(|| Value::default(default))
    }

    pub(crate) fn integer(
        &mut self,
        name: &'static str,
        default: i64,
        allowed: Range<i64>,
    ) -> Value<i64> {
        let expects = format!(
            "a whole number from {} to {}",
            allowed.start,
            allowed.end - 1
        );
        let read = match self.raw(name) {
            None => None,
            Some(Raw::Variable(variable, text)) => match text.trim().parse() {
                Ok(number) => Some(Value {
                    value: number,
                    at: At::Variable(variable),
                }),
                Err(_) => self.wrong(name, &At::Variable(variable), &expects),
            },
            Some(Raw::Text(value)) => match whole(value.get_ref()) {
                Some(number) => {
                    self.reader.notes.show(value.span());
                    Some(Value {
                        value: number,
                        at: At::Text(value.span()),
                    })
                }
                None => self.wrong_type(name, value, &expects),
            },
        };
        match read {
            Some(read) if allowed.contains(&read.value) => read,
            Some(read) => {
                self.wrong::<()>(name, &read.at, &expects);
                Value::default(default)
            }
            None => Value::default(default),
        }
    }

    /// A key's share of the work.
    pub(crate) fn weight(&mut self) -> u32 {
        if let Some(value) = self.table.and_then(|table| table.get("weight"))
            && whole(value.get_ref()) == Some(0)
        {
            self.known.push("weight");
            self.reader.notes.show(value.span());
            let help = "write disabled = true to take the key out of use";
            self.reader.error(
                &At::Text(value.span()),
                "a key of weight 0 would never be chosen",
                help,
            );
            return 1;
        }
        let weight = self.integer("weight", 1, 1..1001);
        u32::try_from(weight.value).unwrap_or(1)
    }

    pub(crate) fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Value<Duration> {
        let Some(Value { value, at }) = self.text(name) else {
            return Value::default(default);
        };
        match units::duration(&value) {
            Some(value) if (least..=most).contains(&value) => Value { value, at },
            Some(_) => {
                let (least, most) = (units::show_duration(least), units::show_duration(most));
                self.wrong(name, &at, &format!("a duration from {least} to {most}"))
                    .unwrap_or_else(|| Value::default(default))
            }
            None => self
                .wrong(
                    name,
                    &at,
                    "a duration with its unit, such as \"250ms\", \"5s\", \"2m\" or \"1h\"",
                )
                .unwrap_or_else(|| Value::default(default)),
        }
    }

    /// Bytes: `"16MiB"`, or a whole number.
    pub(crate) fn size(&mut self, name: &'static str, default: u64, most: u64) -> Value<u64> {
        let number = match self.table.and_then(|table| table.get(name)) {
            Some(value) if !value.get_ref().is_str() => whole(value.get_ref()).map(|_| ()),
            _ => None,
        };
        if number.is_some() && self.variable(name).is_none() {
            let limit = i64::try_from(most).unwrap_or(i64::MAX - 1);
            let fallback = i64::try_from(default).unwrap_or(i64::MAX);
            let Value { value, at } = self.integer(name, fallback, 1..limit + 1);
            return Value {
                value: value.unsigned_abs(),
                at,
            };
        }
        let Some(Value { value, at }) = self.text(name) else {
            return Value::default(default);
        };
        match units::size(&value) {
            Some(value) if (1..=most).contains(&value) => Value { value, at },
            _ => {
                let most = units::show_size(most);
                self.wrong(
                    name,
                    &at,
                    &format!("a size such as \"16MiB\", at most {most}"),
                )
                .unwrap_or_else(|| Value::default(default))
            }
        }
    }

    pub(crate) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        default: T,
        choices: &[(&'static str, T)],
    ) -> Value<T> {
        let Some(Value { value, at }) = self.text(name) else {
            return Value::default(default);
        };
        if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == value) {
            return Value { value: *chosen, at };
        }
        let words = choices.iter().map(|(word, _)| *word);
        let help = match nearest(&value, words.clone()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("one of: {}", words.collect::<Vec<_>>().join(", ")),
        };
        let option = self.full(name);
        self.reader
            .error(&at, format!("`{option}` cannot be {}", shown(&value)), help);
        Value::default(default)
    }

    /// `["a", "b"]`, or `a,b` in the environment.
    pub(crate) fn list(&mut self, name: &'static str) -> Option<Value<Vec<Value<String>>>> {
        let value = match self.raw(name)? {
            Raw::Variable(variable, text) => {
                let at = At::Variable(variable);
                let items = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                let value = items
                    .map(|item| Value {
                        value: item.to_owned(),
                        at: at.clone(),
                    })
                    .collect();
                return Some(Value { value, at });
            }
            Raw::Text(value) => value,
        };
        let Some(array) = value.get_ref().as_array() else {
            return self.wrong_type(name, value, "a list such as [\"a\", \"b\"]");
        };
        let mut items = Vec::with_capacity(array.len());
        for item in array {
            match item.get_ref().as_str() {
                Some(text) => {
                    self.reader.notes.show(item.span());
                    items.push(Value {
                        value: text.to_owned(),
                        at: At::Text(item.span()),
                    });
                }
                None => {
                    self.wrong_type::<()>(name, item, "text in double quotes");
                }
            }
        }
        Some(Value {
            value: items,
            at: At::Text(value.span()),
        })
    }

    fn full(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    fn variable(&self, name: &str) -> Option<(String, &'a str)> {
        let variable = variable_name(&self.full(name));
        let text = self.reader.environment.get(&variable)?;
        (!is_service_link(&variable, text)).then_some((variable, text))
    }

    /// The environment comes before the file.
    fn raw(&mut self, name: &'static str) -> Option<Raw<'r>> {
        self.known.push(name);
        self.reader.options.insert(self.full(name));
        match self.variable(name) {
            Some((variable, text)) => Some(Raw::Variable(variable, text)),
            None => self.table?.get(name).map(Raw::Text),
        }
    }

    fn wrong<T>(&mut self, name: &str, at: &At, expects: &str) -> Option<T> {
        let option = self.full(name);
        self.reader
            .error(at, format!("`{option}` must be {expects}"), "");
        None
    }

    fn wrong_type<T>(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        expects: &str,
    ) -> Option<T> {
        let (option, found) = (self.full(name), value.get_ref().type_str());
        self.reader.error(
            &At::Text(value.span()),
            format!("`{option}` must be {expects}, found {found}"),
            "",
        );
        None
    }
}

/// Helm writes the integers of a values file as floats: `8080.0`, even `1.2345678e+07`.
pub(crate) fn whole(value: &DeValue<'_>) -> Option<i64> {
    /// Up to here every whole number is exactly one float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        DeValue::Float(number) => {
            let number: f64 = number.as_str().parse().ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
            (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
        }
        _ => None,
    }
}

/// What a message may repeat of a value that is not a secret: short and printable.
pub(crate) fn shown(value: &str) -> String {
    let short: String = value.chars().take(60).collect();
    format!("{short:?}")
}
