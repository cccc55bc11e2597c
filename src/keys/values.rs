//! The values of all keys, to be found in any text: a vendor's answer may show another key's than the one that asked.

use std::collections::HashMap;
use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::vendor::scrub::SHORTEST_KEY;

/// A look costs two nanoseconds for each byte of the text, however many keys there are.
#[derive(Default)]
pub struct Values {
    by_start: HashMap<[u8; START], Vec<Bytes>>,
    /// A bit for each start that there is: nearly all of a text is passed over by it.
    sieve: Vec<u64>,
}

impl Values {
    pub(super) fn new(values: impl Iterator<Item = Bytes>) -> Self {
        let mut by_start: HashMap<[u8; START], Vec<Bytes>> = HashMap::new();
        for value in values.filter(|value| value.len() >= SHORTEST_KEY) {
            if let Some(start) = value.first_chunk() {
                by_start.entry(*start).or_default().push(value);
            }
        }
        if by_start.is_empty() {
            return Self::default();
        }
        // One bit in 64 or fewer is set; 128 kB for ten thousand keys.
        let mut sieve = vec![0; by_start.len().next_power_of_two()];
        for start in by_start.keys() {
            let (word, bit) = place(start, sieve.len());
            sieve[word] |= bit;
        }
        Self { by_start, sieve }
    }

    /// The text with another in the place of each that stands there as it is; without any it comes back untouched. Other
    /// spellings are looked for only of the key that asked.
    ///
    /// SECURITY: one pass. One for each that is found would keep a processor busy for minutes over an answer of a megabyte
    /// that holds nothing else.
    pub fn replaced(&self, text: &Bytes, stands_in: &[u8]) -> Bytes {
        if self.sieve.is_empty() || text.len() < SHORTEST_KEY {
            return text.clone();
        }
        let mut clean = BytesMut::new();
        let (mut done, mut at) = (0, 0);
        while let Some(start) = text[at..].first_chunk() {
            let Some(value) = self.starting(start, &text[at..]) else {
                at += 1;
                continue;
            };
            clean.extend_from_slice(&text[done..at]);
            clean.extend_from_slice(stands_in);
            at += value.len();
            done = at;
        }
        if done == 0 {
            return text.clone();
        }
        clean.extend_from_slice(&text[done..]);
        clean.freeze()
    }

    /// The longest with which the text begins.
    fn starting(&self, start: &[u8; START], text: &[u8]) -> Option<&Bytes> {
        let (word, bit) = place(start, self.sieve.len());
        if self.sieve[word] & bit == 0 {
            return None;
        }
        let values = self.by_start.get(start)?.iter();
        values
            .filter(|value| text.starts_with(value))
            .max_by_key(|value| value.len())
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
    let mixed = u64::from_le_bytes(*start).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let upper = (mixed >> 32) as usize;
    (upper & (words - 1), 1 << (mixed >> 58))
}

const START: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn values(all: &[&'static str]) -> Values {
        Values::new(all.iter().map(|value| Bytes::from_static(value.as_bytes())))
    }

    #[test]
    fn a_value_is_replaced_wherever_it_stands() {
        let one = "0123456789abcdef0123456789abcdef";
        let same_start = "01234567-another-one";
        let longer = "01234567-another-one-and-more";
        let values = values(&[one, same_start, longer, "short"]);
        for (text, clean) in [
            (one.to_owned(), "*".to_owned()),
            (format!("OK|{one}"), "OK|*".to_owned()),
            (format!("x{one}{same_start}{longer}x"), "x***x".to_owned()),
            (
                format!("{{\"request\":\"{same_start}\"}}"),
                "{\"request\":\"*\"}".to_owned(),
            ),
        ] {
            assert_eq!(values.replaced(&text.into(), b"*"), clean);
        }
        for untouched in [&one[1..], &one[..31], "OK|short", "", "CAPCHA_NOT_READY"] {
            let text = Bytes::from_static(untouched.as_bytes());
            let same = values.replaced(&text, b"*");
            assert_eq!((&same, same.as_ptr()), (&text, text.as_ptr()));
        }
        let text = Bytes::from_static(one.as_bytes());
        assert_eq!(Values::default().replaced(&text, b"*"), text);
    }

    #[test]
    fn an_answer_of_nothing_but_a_value_costs_one_pass() {
        let one = "0123456789abcdef0123456789abcdef";
        let text = Bytes::from(one.repeat(32 * 1024));
        let began = Instant::now();
        let clean = values(&[one]).replaced(&text, b"a-token-as-long-as-the-key-it-is");
        assert_eq!(clean.len(), text.len());
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn none_is_printed() {
        assert_eq!(format!("{:?}", values(&["0123456789abcdef"])), "Values(1)");
    }

    #[test]
    fn each_of_ten_thousand_is_found() {
        let all: Vec<String> = (0..10_000u32)
            .map(|n| {
                format!(
                    "{:032x}",
                    u128::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
                )
            })
            .collect();
        let values = Values::new(all.iter().map(|value| value.clone().into()));
        for value in &all {
            let text = format!("OK|{value}").into();
            assert_eq!(values.replaced(&text, b"*"), "OK|*");
        }
    }
}
