//! Pairs of a query or of an urlencoded body.

use super::names::{self, Folded};
use super::values::{Coding, Found, Value};
use super::{BadParameters, MAX_FIELDS};

/// Pairs are split on `&` only: to PHP `a=1;key=2` is one field.
pub(super) fn scan(raw: &[u8]) -> Result<Found, BadParameters> {
    let mut found = Found::default();
    if raw.is_empty() {
        return Ok(found);
    }
    let mut fields = 0;
    let mut start = 0;
    for end in memchr::memchr_iter(b'&', raw).chain([raw.len()]) {
        let pair = &raw[start..end];
        fields += usize::from(!pair.is_empty());
        if fields > MAX_FIELDS {
            return Err(BadParameters::TooManyFields);
        }
        let equals = memchr::memchr(b'=', pair);
        match names::fold_urlencoded(&pair[..equals.unwrap_or(pair.len())]) {
            Some(Folded { name, array }) => {
                let coding = if array {
                    Coding::Array
                } else {
                    Coding::Urlencoded
                };
                let value = start + equals.map_or(pair.len(), |at| at + 1);
                found.set(
                    name,
                    Some(Value {
                        coding,
                        range: value..end,
                    }),
                );
                if name.is_cut() {
                    found.splice.cut_pair(name, start..end, raw.len());
                } else {
                    found.splice.keep(name, start..end);
                }
            }
            None => found.splice.kept = true,
        }
        start = end + 1;
    }
    Ok(found)
}
