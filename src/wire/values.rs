//! What a container held: where the values are, how they are written, and what has to be cut.

use std::borrow::Cow;
use std::ops::Range;

use super::names::{Decoded, Name};
use super::splice::Splice;

/// The outcome of scanning one container: a query, a form, a multipart or a JSON body.
#[derive(Debug, Default)]
pub(super) struct Found {
    values: [Option<Value>; Name::COUNT],
    pub(super) splice: Splice,
}

impl Found {
    /// The last one wins, as in PHP.
    pub(super) fn set(&mut self, name: Name, value: Option<Value>) {
        self.values[name as usize] = value;
    }

    pub(super) fn get(&self, name: Name) -> Option<&Value> {
        self.values[name as usize].as_ref()
    }

    /// Whether it has any field that is read or cut.
    pub(super) fn is_empty(&self) -> bool {
        self.splice.is_untouched() && self.values.iter().all(Option::is_none)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) coding: Coding,
    pub(super) range: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Urlencoded,
    /// A multipart part's data.
    Plain,
    /// Between the quotes of a JSON string.
    JsonString,
    /// A JSON number, `true` or `false`. The text is kept as it is written: an id must not become a float.
    JsonBare,
    /// `name[]` in PHP, an object or array in JSON.
    Array,
}

impl Value {
    /// The decoded text; `None` for an array.
    pub(super) fn text<'a>(&self, container: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let raw = &container[self.range.clone()];
        Some(match self.coding {
            Coding::Array => return None,
            Coding::Plain | Coding::JsonBare => Cow::Borrowed(raw),
            Coding::Urlencoded if memchr::memchr2(b'%', b'+', raw).is_none() => Cow::Borrowed(raw),
            Coding::Urlencoded => Cow::Owned(
                Decoded {
                    raw,
                    urlencoded: true,
                }
                .collect(),
            ),
            Coding::JsonString => super::json::unescape(raw),
        })
    }
}
