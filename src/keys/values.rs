//! The values of all keys, to be found in any text: a vendor's answer may show another key's than the one that asked.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;

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

    /// Those that stand in the text as they are. Other spellings are looked for only of the key that asked.
    pub fn in_text(&self, text: &[u8]) -> Vec<Bytes> {
        let mut found = Vec::new();
        if self.sieve.is_empty() || text.len() < SHORTEST_KEY {
            return found;
        }
        for at in 0..=text.len() - START {
            let Some(start) = text[at..].first_chunk() else {
                break;
            };
            let (word, bit) = place(start, self.sieve.len());
            if self.sieve[word] & bit == 0 {
                continue;
            }
            let values = self.by_start.get(start).into_iter().flatten();
            let here = values.filter(|value| text[at..].starts_with(value));
            found.extend(here.cloned());
        }
        found
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
    use super::*;

    fn values(all: &[&'static str]) -> Values {
        Values::new(all.iter().map(|value| Bytes::from_static(value.as_bytes())))
    }

    #[test]
    fn a_value_is_found_wherever_it_stands() {
        let one = "0123456789abcdef0123456789abcdef";
        let same_start = "01234567-another-one";
        let values = values(&[one, same_start, "short"]);
        for (text, found) in [
            (one.to_owned(), vec![one]),
            (format!("OK|{one}"), vec![one]),
            (format!("x{one}{same_start}x"), vec![one, same_start]),
            (
                format!("{{\"request\":\"{same_start}\"}}"),
                vec![same_start],
            ),
            (one[1..].to_owned(), vec![]),
            (one[..31].to_owned(), vec![]),
            ("OK|short".to_owned(), vec![]),
            (String::new(), vec![]),
            ("CAPCHA_NOT_READY".to_owned(), vec![]),
        ] {
            assert_eq!(values.in_text(text.as_bytes()), found, "{text}");
        }
        assert!(Values::default().in_text(one.as_bytes()).is_empty());
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
            assert_eq!(values.in_text(format!("OK|{value}").as_bytes()), [value]);
        }
    }
}
