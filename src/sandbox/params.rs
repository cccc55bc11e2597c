//! Parameters as a PHP server reads them, from query, form, multipart and JSON.
//!
//! Written apart from the proxy's own wire code on purpose: a test that asks this reader what arrived cannot
//! inherit the proxy's mistakes.

use std::collections::BTreeMap;

use percent_encoding::percent_decode;

use super::multipart;

/// PHP's `max_input_vars`: what comes later in one source is dropped without a word.
const MAX_FIELDS: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(Vec<u8>),
    /// `name[]=…` or `name[x]=…`: no longer a text, so useless as a key.
    Array,
    /// Length and content of an uploaded file.
    File(Vec<u8>),
}

/// What `$_REQUEST` and `$_FILES` hold together, and the JSON object where the body is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Params {
    values: BTreeMap<String, Value>,
    /// Every value that was sent as `key`, wherever and however often, in order of arrival.
    pub(super) keys: Vec<String>,
}

impl Params {
    /// Body beats query, JSON beats both. PHP reads no form from the body of a GET.
    pub(super) fn read(
        is_post: bool,
        query: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Self {
        let mut params = Self::default();
        params.add_pairs(query.as_bytes());
        let content_type = content_type.filter(|_| is_post);
        let kind = content_type.map(media_type).unwrap_or_default();
        if kind == "application/x-www-form-urlencoded" {
            params.add_pairs(body);
        } else if kind == "multipart/form-data"
            && let Some(boundary) = content_type.and_then(multipart::boundary)
        {
            for part in multipart::parts(body, &boundary).take(MAX_FIELDS) {
                let value = if part.is_file {
                    Value::File(part.content.to_vec())
                } else {
                    Value::Text(part.content.to_vec())
                };
                params.add(&part.name, value);
            }
        }
        // Vendors document JSON bodies and clients send them under any type.
        params.add_json(body);
        params
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(Value::Text(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        match self.values.get(name) {
            Some(Value::Text(bytes) | Value::File(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// `1`, as text or as a JSON number or boolean.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.text(name) == Some("1")
    }

    /// The key that counts. An array counts as a key that is wrong.
    pub(super) fn key(&self) -> Option<String> {
        match self.values.get("key")? {
            Value::Text(bytes) | Value::File(bytes) => {
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
            Value::Array => Some(String::new()),
        }
    }

    /// Sorted by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    fn add_pairs(&mut self, source: &[u8]) {
        let pairs = source.split(|b| *b == b'&').filter(|pair| !pair.is_empty());
        for pair in pairs.take(MAX_FIELDS) {
            let at = pair.iter().position(|b| *b == b'=');
            let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
            self.add(&url_decode(name), Value::Text(url_decode(value)));
        }
    }

    fn add_json(&mut self, body: &[u8]) {
        let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(body) else {
            return;
        };
        for (name, value) in fields {
            let value = match value {
                serde_json::Value::String(text) => Value::Text(text.into_bytes()),
                serde_json::Value::Bool(flag) => {
                    Value::Text(if flag { b"1".to_vec() } else { Vec::new() })
                }
                serde_json::Value::Null => Value::Text(Vec::new()),
                serde_json::Value::Array(_) | serde_json::Value::Object(_) => Value::Array,
                serde_json::Value::Number(number) => Value::Text(number.to_string().into_bytes()),
            };
            self.put(name, value);
        }
    }

    fn add(&mut self, name: &[u8], value: Value) {
        match php_name(name) {
            Some(Name::Plain(name)) => self.put(name, value),
            Some(Name::Array(name)) => self.put(name, Value::Array),
            None => {}
        }
    }

    fn put(&mut self, name: String, value: Value) {
        if name == "key" {
            self.keys.push(match &value {
                Value::Text(bytes) | Value::File(bytes) => {
                    String::from_utf8_lossy(bytes).into_owned()
                }
                Value::Array => "(array)".to_owned(),
            });
        }
        self.values.insert(name, value);
    }
}

enum Name {
    Plain(String),
    Array(String),
}

/// `php_register_variable_ex`: leading spaces go, the name ends at a NUL, blanks and dots become `_`, a closed `[…]`
/// makes an array and an unclosed `[` becomes `_`.
fn php_name(name: &[u8]) -> Option<Name> {
    let name = name.split(|b| *b == 0).next().unwrap_or_default();
    // Spaces only: a leading tab or newline stays in the name.
    let spaces = name.iter().take_while(|b| **b == b' ').count();
    let name = &name[spaces..];
    let bracket = name.iter().position(|b| *b == b'[');
    let (head, tail) = name.split_at(bracket.unwrap_or(name.len()));
    if head.is_empty() {
        return None;
    }
    let is_array = tail.contains(&b']');
    let plain: Vec<u8> = if is_array { head } else { name }
        .iter()
        .map(|b| {
            if matches!(b, b' ' | b'.' | b'[') {
                b'_'
            } else {
                *b
            }
        })
        .collect();
    let plain = String::from_utf8_lossy(&plain).into_owned();
    Some(if is_array {
        Name::Array(plain)
    } else {
        Name::Plain(plain)
    })
}

fn url_decode(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text
        .iter()
        .map(|b| if *b == b'+' { b' ' } else { *b })
        .collect();
    percent_decode(&spaced).collect()
}

fn media_type(header: &str) -> String {
    header
        .split([';', ','])
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Params {
        Params::read(true, text, None, b"")
    }

    #[test]
    fn every_spelling_of_key_that_php_takes_is_the_key() {
        for (text, key) in [
            ("key=A&key=B", Some("B")),
            ("k%65y=A", Some("A")),
            ("+key=A", Some("A")),
            ("%20key=A", Some("A")),
            ("key%00x=A", Some("A")),
            ("key=R&key", Some("")),
            ("key=R&key[]=E", Some("")),
            ("key=R&key[x]=E", Some("")),
            ("key[=E", None),
            ("k.ey=E", None),
            ("%09key=E", None),
            ("KEY=E", None),
            ("a=1;key=E", None),
            ("key%20=E", None),
            ("&&key=A&", Some("A")),
        ] {
            assert_eq!(query(text).key().as_deref(), key, "{text}");
        }
    }

    #[test]
    fn debug_dump_has_many_names() {
        for text in [
            "debug.dump=1",
            "debug+dump=1",
            "debug%20dump=1",
            "debug[dump=1",
        ] {
            assert!(query(text).is_set("debug_dump"), "{text}");
        }
        assert!(!query("debug[dump]=1").is_set("debug_dump"));
        assert!(!query("Debug_dump=1").is_set("debug_dump"));
    }

    #[test]
    fn body_beats_query_and_both_keys_are_remembered() {
        let form = Some("Application/X-WWW-form-urlencoded, text/plain");
        let params = Params::read(true, "key=Q&action=get", form, b"key=P");
        assert_eq!(params.key().as_deref(), Some("P"));
        assert_eq!(params.keys, ["Q", "P"]);
        assert_eq!(params.text("action"), Some("get"));
        assert_eq!(Params::read(false, "key=Q", form, b"key=P").keys, ["Q"]);
    }

    #[test]
    fn a_form_without_its_type_is_not_read_and_json_is_read_under_any_type() {
        assert_eq!(Params::read(true, "", None, b"key=P").key(), None);
        let params = Params::read(
            false,
            "",
            Some("text/plain"),
            br#"{"key":"J","id":2122988149,"json":1}"#,
        );
        assert_eq!(params.key().as_deref(), Some("J"));
        assert_eq!(params.text("id"), Some("2122988149"));
        assert!(params.is_set("json"));
    }

    #[test]
    fn field_1001_is_dropped() {
        let mut text = "a=1&".repeat(MAX_FIELDS);
        text.push_str("key=K");
        assert_eq!(query(&text).key(), None);
    }
}
