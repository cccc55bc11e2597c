//! Takes the options of one section, each from the environment or from the parsed TOML table. A wrong one is noted and
//! its default is used, so that one run finds every mistake.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key_checks::{SHORTEST_SCRUBBED, looks_like_a_key};
use super::reader::{At, Reader, Stray, Value, is_plain_name, shown};
use super::suggest::nearest;
use super::units;
use super::variables::{is_service_link, variable_name};
use crate::money;

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

impl<'r, 'a> Section<'r, 'a> {
    pub(crate) fn new(
        reader: &'r mut Reader<'a>,
        path: String,
        table: Option<&'r DeTable<'r>>,
    ) -> Self {
        Self {
            reader,
            path,
            table,
            known: Vec::new(),
        }
    }

    pub(crate) fn section<'s>(&'s mut self, name: &'static str) -> Section<'s, 'a> {
        self.known.push(name);
        let path = self.full(name);
        let found = self.table.and_then(|table| table.get(name));
        let table = found.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (found, table) {
            let help = format!("write [{path}] on a line of its own and the options below it");
            let message = format!("`{path}` is a section, not a value");
            self.reader.error(&At::Text(value.span()), message, help);
        }
        Section::new(self.reader, path, table)
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
            let name: &str = key.get_ref();
            if is_plain_name(name) || name.starts_with("ERROR_") {
                self.reader.notes.show(key.span());
            }
            entries.push((name, value));
        }
        entries
    }

    /// What nothing asked for yet, where names are data.
    pub(crate) fn others(&mut self) -> Vec<(&'r str, &'r Spanned<DeValue<'r>>)> {
        let mut others = Vec::new();
        for (key, value) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                if is_plain_name(name) {
                    self.reader.notes.show(key.span());
                }
                others.push((name, value));
            }
        }
        others
    }

    /// The tables of `[[name]]`.
    pub(crate) fn tables(&mut self, name: &'static str) -> Option<&'r [Spanned<DeValue<'r>>]> {
        let Some(Raw::Text(value)) = self.raw(name) else {
            return None;
        };
        let array = value.get_ref().as_array();
        if array.is_none() {
            let help = format!("write [[{name}]], with two brackets, above each of them");
            let message = format!("`{name}` must be a list of tables");
            self.reader.error(&At::Text(value.span()), message, help);
        }
        Some(array.map_or(&[], |array| array))
    }

    /// A table inside such a table or list.
    pub(crate) fn inner<'s>(
        &'s mut self,
        path: String,
        value: &'s Spanned<DeValue<'s>>,
    ) -> Option<Section<'s, 'a>> {
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(self.reader, path, Some(table))),
            None => {
                let message = format!("expected a table, found {}", value.get_ref().type_str());
                self.reader.error(&At::Text(value.span()), message, "");
                None
            }
        }
    }

    /// Notes what nothing asked for.
    pub(crate) fn done(self) {
        for (key, value) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                self.reader.strays.push(Stray {
                    section: self.path.clone(),
                    name: name.to_owned(),
                    is_section: value.get_ref().is_table(),
                    at: key.span(),
                    siblings: self.known.clone(),
                });
            }
        }
    }

    pub(crate) fn is_written(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(name))
    }

    /// Text that is never quoted.
    pub(crate) fn secret_text(&mut self, name: &'static str) -> Option<Value<String>> {
        let raw = self.raw(name)?;
        self.understood(
            name,
            raw,
            "text in double quotes",
            |text| Some(text.to_owned()),
            text_of,
        )
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<Value<String>> {
        self.parsed(
            name,
            "text in double quotes",
            |text| Some(text.to_owned()),
            text_of,
        )
    }

    /// Relative to the file that it is written in.
    pub(crate) fn path(&mut self, name: &'static str) -> Option<Value<PathBuf>> {
        let found = self.working_path(name)?;
        let path = match found.at {
            At::Text(_) => self.reader.base.join(found.value),
            _ => found.value,
        };
        Some(Value::written(path, found.at))
    }

    /// Relative to the working directory.
    pub(crate) fn working_path(&mut self, name: &'static str) -> Option<Value<PathBuf>> {
        let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.trim().is_empty());
        let found = self.parsed(name, "a path, and not blank", filled, |value| {
            filled(value.as_str()?)
        })?;
        // SECURITY: paths are shown, also in metrics.
        if looks_like_a_key(&found.value) && !found.value.contains(['/', '.']) {
            let message = format!("`{}` looks like a key", self.full(name));
            let help = "it is a path; if this is one, write ./ before it";
            self.reader.error(&found.at, message, help);
            return None;
        }
        Some(Value::written(found.value.into(), found.at))
    }

    pub(crate) fn boolean(&mut self, name: &'static str, default: bool) -> Value<bool> {
        let read = self.parsed(
            name,
            "true or false",
            |text| text.trim().parse().ok(),
            DeValue::as_bool,
        );
        read.unwrap_or_else(|| Value::default(default))
    }

    pub(crate) fn integer<T>(
        &mut self,
        name: &'static str,
        default: T,
        allowed: RangeInclusive<T>,
    ) -> Value<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let expects = format!(
            "a whole number from {} to {}",
            allowed.start(),
            allowed.end()
        );
        let check = |number: i64| {
            T::try_from(number)
                .ok()
                .filter(|number| allowed.contains(number))
        };
        let read = self.parsed(
            name,
            &expects,
            |text| check(text.trim().parse().ok()?),
            |value| check(whole(value)?),
        );
        read.unwrap_or_else(|| Value::default(default))
    }

    pub(crate) fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        allowed: RangeInclusive<Duration>,
    ) -> Value<Duration> {
        let [least, most] = [allowed.start(), allowed.end()].map(|end| units::show_duration(*end));
        let expects = format!(
            "a duration from {least} to {most}, with its unit, such as \"250ms\", \"5s\" or \"2m\""
        );
        let check =
            |text: &str| units::duration(text).filter(|duration| allowed.contains(duration));
        let read = self.parsed(name, &expects, check, |value| check(value.as_str()?));
        read.unwrap_or_else(|| Value::default(default))
    }

    /// US dollars, in micro-dollars: `0.003`.
    pub(crate) fn dollars(&mut self, name: &'static str, default: i64, most: i64) -> Value<i64> {
        let expects = format!("US dollars from 0 to {}, such as 0.003", most / 1_000_000);
        let check = |text: &str| money::micro_usd(text).filter(|it| (0..=most).contains(it));
        let read = self.parsed(
            name,
            &expects,
            |text| check(text.trim()),
            |value| match value {
                DeValue::Float(number) => check(number.as_str()),
                _ => check(&whole(value)?.to_string()),
            },
        );
        read.unwrap_or_else(|| Value::default(default))
    }

    /// Bytes: `"16MiB"`, or a whole number.
    pub(crate) fn size(&mut self, name: &'static str, default: usize, most: usize) -> Value<usize> {
        let expects = format!(
            "a size such as \"16MiB\", at most {}",
            units::show_size(most as u64)
        );
        let check = |bytes: u64| {
            usize::try_from(bytes)
                .ok()
                .filter(|bytes| (1..=most).contains(bytes))
        };
        let from_text = |text: &str| check(units::size(text)?);
        let read = self.parsed(name, &expects, from_text, |value| match value.as_str() {
            Some(text) => from_text(text),
            None => check(u64::try_from(whole(value)?).ok()?),
        });
        read.unwrap_or_else(|| Value::default(default))
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
            return Value::written(*chosen, at);
        }
        let words = choices.iter().map(|(word, _)| *word);
        let help = match nearest(&value, words.clone()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("one of: {}", words.collect::<Vec<_>>().join(", ")),
        };
        let what = match self.may_be_a_secret(&value) {
            true => "this".to_owned(),
            false => shown(&value),
        };
        let message = format!("`{}` cannot be {what}", self.full(name));
        self.reader.error(&at, message, help);
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
                let items = items.map(|item| Value::written(item.to_owned(), at.clone()));
                return Some(Value::written(items.collect(), at));
            }
            Raw::Text(value) => value,
        };
        let Some(array) = value.get_ref().as_array() else {
            self.show(value);
            let help = match value.get_ref().as_str() {
                Some(text) if !self.may_be_a_secret(text) => {
                    format!("write it as a list: [{}]", shown(text))
                }
                _ => "write texts in double quotes: [\"a\", \"b\"]".to_owned(),
            };
            let message = format!("`{}` must be a list", self.full(name));
            self.reader.error(&At::Text(value.span()), message, help);
            return None;
        };
        let mut items = Vec::with_capacity(array.len());
        for item in array {
            self.show(item);
            let raw = Raw::Text(item);
            items.extend(self.understood(
                name,
                raw,
                "a list of texts in double quotes",
                |_| None,
                text_of,
            ));
        }
        Some(Value::written(items, At::Text(value.span())))
    }

    fn parsed<T>(
        &mut self,
        name: &'static str,
        expects: &str,
        from_variable: impl FnOnce(&str) -> Option<T>,
        from_value: impl FnOnce(&DeValue<'r>) -> Option<T>,
    ) -> Option<Value<T>> {
        let raw = self.raw(name)?;
        if let Raw::Text(value) = raw {
            self.show(value);
        }
        self.understood(name, raw, expects, from_variable, from_value)
    }

    fn understood<T>(
        &mut self,
        name: &'static str,
        raw: Raw<'r>,
        expects: &str,
        from_variable: impl FnOnce(&str) -> Option<T>,
        from_value: impl FnOnce(&DeValue<'r>) -> Option<T>,
    ) -> Option<Value<T>> {
        let (read, at) = match raw {
            Raw::Variable(variable, text) => (from_variable(text), At::Variable(variable)),
            Raw::Text(value) => (from_value(value.get_ref()), At::Text(value.span())),
        };
        match read {
            Some(read) => Some(Value::written(read, at)),
            None => self.wrong(name, at, expects),
        }
    }

    /// The environment comes before the file. What lists secrets is not set there option by option.
    fn raw(&mut self, name: &'static str) -> Option<Raw<'r>> {
        self.known.push(name);
        let in_file = self.table.and_then(|table| table.get(name)).map(Raw::Text);
        if self.reader.secret {
            return in_file;
        }
        let option = self.full(name);
        let variable = variable_name(&option);
        self.reader.options.insert(option);
        match self.reader.environment.get(&variable) {
            Some(text) if !is_service_link(&variable, text) => Some(Raw::Variable(variable, text)),
            _ => in_file,
        }
    }

    /// A single value of an option that is no secret. A URL may have a password in it, and a key may stand in the wrong line.
    fn show(&mut self, value: &Spanned<DeValue<'_>>) {
        let part: Range<usize> = value.span();
        match value.get_ref() {
            DeValue::Array(_) | DeValue::Table(_) => {}
            DeValue::String(text) if self.may_be_a_secret(text) => {}
            _ => self.reader.notes.show(part),
        }
    }

    /// SECURITY: where secrets are listed, whatever is long enough may be one, with whatever is beside it.
    fn may_be_a_secret(&self, text: &str) -> bool {
        let is_long = text.len() >= SHORTEST_SCRUBBED;
        text.contains(['@', '?']) || may_be_a_key(text) || self.reader.secret && is_long
    }

    fn wrong<T>(&mut self, name: &str, at: At, expects: &str) -> Option<T> {
        let message = format!("`{}` must be {expects}", self.full(name));
        self.reader.error(&at, message, "");
        None
    }

    fn full(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn may_be_a_key(text: &str) -> bool {
    text.len() >= SHORTEST_SCRUBBED && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Helm writes the integers of a values file as floats: `8080.0`, even `1.2345678e+07`.
fn whole(value: &DeValue<'_>) -> Option<i64> {
    /// Up to here every whole number is exactly one float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        DeValue::Float(number) => {
            let number: f64 = number.as_str().parse().ok()?;
            (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
        }
        _ => None,
    }
}
