//! The values of all keys, to be found in any text: a vendor's answer may show another key's than the one that asked.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::vendor::scrub::SHORTEST_KEY;

/// A look costs two nanoseconds for each byte of the text, however many keys there are, unless they begin alike.
#[derive(Default)]
pub struct Values {
    /// The longest first.
    by_start: HashMap<[u8; START], Vec<Bytes>>,
    /// A bit for each start that there is: nearly all of a text is passed over by it.
    sieve: Vec<u64>,
}

impl Values {
    pub fn new(values: impl Iterator<Item = Bytes>) -> Self {
        let mut by_start: HashMap<[u8; START], Vec<Bytes>> = HashMap::new();
        for value in values {
            if let Some(start) = value.first_chunk() {
                by_start.entry(*start).or_default().push(value);
            }
        }
        if by_start.is_empty() {
            return Self::default();
        }
        for values in by_start.values_mut() {
            values.sort_unstable_by_key(|value| Reverse(value.len()));
        }
        // One bit in 64 or fewer is set; 128 kB for ten thousand keys.
        let mut sieve = vec![0; by_start.len().next_power_of_two()];
        for start in by_start.keys() {
            let (word, bit) = place(start, sieve.len());
            sieve[word] |= bit;
        }
        Self { by_start, sieve }
    }

    /// Puts `stands_in` where the text shows one of them as it is; other spellings are looked for only of the key that asked.
    /// Nearly every text holds none and comes back sharing its buffer.
    ///
    /// SECURITY: one pass, whatever stands in the text: a vendor knows all its keys, and could fill an answer with them.
    pub fn scrub(&self, text: &Bytes, stands_in: &[u8]) -> Bytes {
        let Some((mut at, mut length)) = self.next(text, 0) else {
            return text.clone();
        };
        let mut clean = BytesMut::with_capacity(text.len());
        let mut done = 0;
        loop {
            clean.extend_from_slice(&text[done..at]);
            clean.extend_from_slice(stands_in);
            done = at + length;
            match self.next(text, done) {
                Some(found) => (at, length) = found,
                None => break,
            }
        }
        clean.extend_from_slice(&text[done..]);
        clean.freeze()
    }

    /// Where the next one begins, and how long it is.
    fn next(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        if self.sieve.is_empty() {
            return None;
        }
        let starts = text[from..].windows(START).enumerate();
        starts
            .map(|(at, start)| (from + at, start))
            .find_map(|(at, start)| {
                let start = start.first_chunk()?;
                let (word, bit) = place(start, self.sieve.len());
                if self.sieve[word] & bit == 0 {
                    return None;
                }
                let values = self.by_start.get(start)?;
                let value = values.iter().find(|value| text[at..].starts_with(value))?;
                Some((at, value.len()))
            })
    }
}

/// SECURITY: says how many, not which.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Values({})", self.by_start.len())
    }
}

/// Multiplied by an odd number (of the golden ratio, as Knuth has it) the upper bits depend on all of them.
fn place(start: &[u8; START], words: usize) -> (usize, u64) {
    let start = u128::from_le_bytes(*start);
    let folded = (start as u64) ^ ((start >> 64) as u64).rotate_left(29);
    let mixed = folded.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let upper = (mixed >> 32) as usize;
    (upper & (words - 1), 1 << (mixed >> 58))
}

/// A shorter value could be part of any text and is left alone, as `vendor::scrub` does.
const START: usize = SHORTEST_KEY;

#[cfg(test)]
mod tests {
    use super::*;

    fn values(all: &[&'static str]) -> Values {
        Values::new(all.iter().map(|value| Bytes::from_static(value.as_bytes())))
    }

    fn scrubbed(values: &Values, text: &str) -> String {
        let text = Bytes::copy_from_slice(text.as_bytes());
        String::from_utf8(values.scrub(&text, b"*").to_vec()).unwrap()
    }

    #[test]
    fn every_value_is_replaced_wherever_it_stands() {
        let one = "0123456789abcdef0123456789abcdef";
        let same_start = "0123456789abcdef-another-one";
        let inside = "0123456789abcdef0123";
        let values = values(&[one, inside, same_start, "short"]);
        for (text, clean) in [
            (one.to_owned(), "*"),
            (format!("OK|{one}"), "OK|*"),
            (format!("x{one}{same_start}x{one}"), "x**x*"),
            (
                format!("{{\"request\":\"{same_start}\"}}"),
                "{\"request\":\"*\"}",
            ),
            // The longest that stands there, else the shorter one.
            (one[..31].to_owned(), "*456789abcde"),
            (one[1..].to_owned(), &one[1..]),
            ("OK|short".to_owned(), "OK|short"),
            (String::new(), ""),
            ("CAPCHA_NOT_READY".to_owned(), "CAPCHA_NOT_READY"),
        ] {
            assert_eq!(scrubbed(&values, &text), clean, "{text}");
        }
        assert_eq!(scrubbed(&Values::default(), one), one);
    }

    #[test]
    fn a_text_without_a_value_shares_its_buffer() {
        let values = values(&["0123456789abcdef"]);
        let text = Bytes::from(vec![b'0'; 4096]);
        assert_eq!(values.scrub(&text, b"*").as_ptr(), text.as_ptr());
    }

    /// An answer as long as one may be, of nothing but values, and a token that is itself made of them.
    #[test]
    fn a_text_full_of_values_is_passed_over_once() {
        let [one, two] = ["0123456789abcdef", "fedcba9876543210"];
        let values = values(&[one, two]);
        let text = Bytes::from(two.repeat((1 << 20) / two.len()));
        let token = one.repeat(2);
        let clean = values.scrub(&text, token.as_bytes());
        assert_eq!(clean, one.repeat((1 << 20) / one.len() * 2));
    }

    #[test]
    fn none_is_printed() {
        assert_eq!(format!("{:?}", values(&["0123456789abcdef"])), "Values(1)");
    }

    #[test]
    fn each_of_ten_thousand_is_found() {
        let odd = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
        let value = |n: u32| format!("{:032x}", u128::from(n).wrapping_mul(odd));
        let values = Values::new((0..10_000).map(|n| value(n).into()));
        for n in 0..10_000 {
            assert_eq!(scrubbed(&values, &format!("OK|{}", value(n))), "OK|*");
        }
    }
}
