//! Top-level members of a JSON object, found without decoding the rest and without recursion.

use std::borrow::Cow;
use std::ops::Range;

use super::names::{self, Name};
use super::values::{Coding, Found, Value};
use super::{BadParameters, MAX_FIELDS, MAX_JSON_DEPTH};

/// Names count as they are once unescaped; nothing folds them as it does in forms. The last of two equal names wins.
pub(super) fn scan(body: &[u8]) -> Result<Found, BadParameters> {
    if std::str::from_utf8(body).is_err() {
        return Err(BadParameters::Json);
    }
    let mut members = Members::default();
    let mut text = Cursor { text: body, at: 0 };
    let mut nesting = Nesting::default();
    let mut expect = Expect::Value;
    loop {
        text.skip_blanks();
        let start = text.at;
        let byte = text.peek();
        expect = match (expect, byte) {
            (Expect::Name | Expect::NameOrEnd, Some(b'"')) => {
                let name = text.string()?;
                if nesting.depth == 1 {
                    members.begin(start, &body[name])?;
                }
                text.skip_blanks();
                text.expect(b':')?;
                Expect::Value
            }
            (Expect::Value | Expect::ValueOrEnd, Some(open @ (b'{' | b'['))) => {
                // Only an object has parameters.
                if nesting.depth == 0 && open == b'[' {
                    return Err(BadParameters::Json);
                }
                nesting.push(open == b'{')?;
                text.at += 1;
                if nesting.depth == 1 {
                    members.found.splice.insert_at = text.at;
                } else if nesting.depth == 2 {
                    members.is_null = false;
                    members.value = Value {
                        coding: Coding::Array,
                        range: start..start,
                    };
                }
                if open == b'{' {
                    Expect::NameOrEnd
                } else {
                    Expect::ValueOrEnd
                }
            }
            (Expect::Value | Expect::ValueOrEnd, Some(first))
                if nesting.depth > 0 && first != b']' =>
            {
                let value = text.scalar()?;
                if nesting.depth == 1 {
                    members.is_null =
                        &body[value.range.clone()] == b"null" && value.coding == Coding::JsonBare;
                    members.value = value;
                    members.end(text.at);
                }
                Expect::Next
            }
            (Expect::Next, Some(b',')) if nesting.depth > 0 => {
                text.at += 1;
                if nesting.depth == 1 {
                    members.comma(start);
                }
                if nesting.in_object() {
                    Expect::Name
                } else {
                    Expect::Value
                }
            }
            (Expect::Next | Expect::NameOrEnd, Some(b'}')) if nesting.in_object() => {
                text.close(&mut nesting, &mut members)
            }
            (Expect::Next | Expect::ValueOrEnd, Some(b']')) if nesting.in_array() => {
                text.close(&mut nesting, &mut members)
            }
            (Expect::Next, None) if nesting.depth == 0 => return Ok(members.found),
            _ => return Err(BadParameters::Json),
        };
    }
}

/// The text between the quotes of a valid JSON string.
pub(super) fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        match escape {
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'u' => {
                let Some((character, len)) = unicode_escape(rest) else {
                    break;
                };
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[len..];
            }
            other => text.push(other),
        }
    }
    Cow::Owned(text)
}

/// What follows `\u`: a character, and how long it is written. PHP reads nothing of an object that has half a surrogate pair.
fn unicode_escape(text: &[u8]) -> Option<(char, usize)> {
    let unit = four_hex(text)?;
    if !(0xd800..0xdc00).contains(&unit) {
        return char::from_u32(unit).map(|character| (character, 4));
    }
    let low = four_hex(text[4..].strip_prefix(b"\\u")?)?;
    let code = 0x10000 + ((unit - 0xd800) << 10) + low.checked_sub(0xdc00)?;
    char::from_u32(code)
        .filter(|_| low < 0xe000)
        .map(|character| (character, 10))
}

fn four_hex(text: &[u8]) -> Option<u32> {
    let digits = text.get(..4)?;
    digits.iter().try_fold(0, |sum, digit| {
        Some(sum << 4 | u32::from(names::hex(*digit)?))
    })
}

enum Expect {
    Name,
    NameOrEnd,
    Value,
    ValueOrEnd,
    /// A comma or the end.
    Next,
}

/// Which of the open levels are objects, a bit each.
#[derive(Default)]
struct Nesting {
    objects: u64,
    depth: u32,
}

impl Nesting {
    fn push(&mut self, object: bool) -> Result<(), BadParameters> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(BadParameters::JsonTooDeep);
        }
        self.objects = self.objects << 1 | u64::from(object);
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    fn in_object(&self) -> bool {
        self.depth > 0 && self.objects & 1 == 1
    }

    fn in_array(&self) -> bool {
        self.depth > 0 && self.objects & 1 == 0
    }
}

/// The top-level members as they go by.
struct Members {
    found: Found,
    count: usize,
    /// The member now open.
    name: Option<Name>,
    start: usize,
    value: Value,
    /// As good as absent.
    is_null: bool,
    /// The comma before the member now open.
    comma: usize,
    /// A cut that waits for the comma behind it, because nothing before it is kept.
    pending: Option<Name>,
}

impl Default for Members {
    fn default() -> Self {
        let value = Value {
            coding: Coding::Array,
            range: 0..0,
        };
        Self {
            found: Found::default(),
            count: 0,
            name: None,
            start: 0,
            value,
            is_null: false,
            comma: 0,
            pending: None,
        }
    }
}

impl Members {
    fn begin(&mut self, start: usize, raw_name: &[u8]) -> Result<(), BadParameters> {
        self.count += 1;
        if self.count > MAX_FIELDS {
            return Err(BadParameters::TooManyFields);
        }
        self.start = start;
        // Six bytes (`\u006b`) write one at most.
        self.name = if raw_name.len() > 6 * 17 {
            None
        } else {
            Name::exact(&unescape(raw_name))
        };
        Ok(())
    }

    fn end(&mut self, end: usize) {
        if let Some(name) = self.name {
            self.found
                .set(name, (!self.is_null).then(|| self.value.clone()));
            if name.is_cut() {
                if self.found.splice.kept {
                    self.found.splice.cut(name, self.comma..end);
                } else {
                    self.found.splice.cut(name, self.start..end);
                    self.pending = Some(name);
                }
            } else {
                self.found.splice.keep(name, self.start..end);
            }
            return;
        }
        self.found.splice.kept = true;
    }

    fn comma(&mut self, at: usize) {
        self.comma = at;
        if let Some(name) = self.pending.take() {
            self.found.splice.cut(name, at..at + 1);
        }
    }
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), BadParameters> {
        if self.peek() != Some(byte) {
            return Err(BadParameters::Json);
        }
        self.at += 1;
        Ok(())
    }

    fn close(&mut self, nesting: &mut Nesting, members: &mut Members) -> Expect {
        self.at += 1;
        nesting.pop();
        if nesting.depth == 1 {
            members.end(self.at);
        }
        Expect::Next
    }

    /// The range between the quotes.
    fn string(&mut self) -> Result<Range<usize>, BadParameters> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let rest = &self.text[self.at..];
            let stop = memchr::memchr2(b'"', b'\\', rest).ok_or(BadParameters::Json)?;
            // Not `any`: without an early end the compiler looks at many bytes at once.
            if rest[..stop]
                .iter()
                .fold(false, |found, b| found | (*b < b' '))
            {
                return Err(BadParameters::Json);
            }
            self.at += stop + 1;
            if rest[stop] == b'"' {
                return Ok(start..self.at - 1);
            }
            let escape = &rest[stop + 1..];
            self.at += match escape {
                [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 1,
                [b'u', after @ ..] => 1 + unicode_escape(after).ok_or(BadParameters::Json)?.1,
                _ => return Err(BadParameters::Json),
            };
        }
    }

    fn scalar(&mut self) -> Result<Value, BadParameters> {
        if self.peek() == Some(b'"') {
            return Ok(Value {
                coding: Coding::JsonString,
                range: self.string()?,
            });
        }
        let start = self.at;
        while self
            .peek()
            .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.'))
        {
            self.at += 1;
        }
        let word = &self.text[start..self.at];
        if !matches!(word, b"true" | b"false" | b"null") && !is_number(word) {
            return Err(BadParameters::Json);
        }
        Ok(Value {
            coding: Coding::JsonBare,
            range: start..self.at,
        })
    }
}

/// `-? (0 | [1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)?`
fn is_number(word: &[u8]) -> bool {
    let word = word.strip_prefix(b"-").unwrap_or(word);
    let (whole, rest) = digits(word);
    if whole.is_empty() || whole.len() > 1 && whole[0] == b'0' {
        return false;
    }
    let rest = match rest.strip_prefix(b".").map(digits) {
        Some(([], _)) => return false,
        Some((_, rest)) => rest,
        None => rest,
    };
    match rest {
        [] => true,
        [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => {
            !exponent.is_empty() && exponent.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|b| b.is_ascii_digit()).count())
}
