//! Texts that must not turn up, and the search for them in every spelling.

use std::collections::HashMap;

/// 32 hex digits that occur nowhere else.
pub(crate) fn canary() -> String {
    format!(
        "{:016x}{:016x}",
        getrandom::u64().unwrap(),
        getrandom::u64().unwrap()
    )
}

/// Finds each piece of 8 bytes of each canary: as it is, percent-encoded, as JSON escapes, in hex and in base64.
#[derive(Default)]
pub(crate) struct Search {
    /// By their first 8 bytes; all spellings are at least that long.
    needles: HashMap<[u8; 8], Vec<(Vec<u8>, String)>>,
}

const PIECE: usize = 8;

impl Search {
    /// `name` is what a hit is called.
    pub(crate) fn add(&mut self, name: &str, canary: &str) {
        for (at, piece) in canary.as_bytes().windows(PIECE).enumerate() {
            let each = |write: fn(&u8) -> String| piece.iter().map(write).collect::<String>();
            let mut spellings = vec![
                ("plain", piece.to_vec()),
                ("upper case", piece.to_ascii_uppercase()),
                ("percent", each(|b| format!("%{b:02x}")).into_bytes()),
                ("percent", each(|b| format!("%{b:02X}")).into_bytes()),
                ("hex", each(|b| format!("{b:02x}")).into_bytes()),
                ("hex", each(|b| format!("{b:02X}")).into_bytes()),
                ("json", each(|b| format!("\\u{b:04x}")).into_bytes()),
            ];
            // A piece of 9 starts, in one of three places, at a group of base64.
            if let Some(longer) = canary.as_bytes().get(at..at + 9) {
                spellings.push(("base64", base64(longer)));
            }
            for (spelling, needle) in spellings {
                let first = needle[..8].try_into().unwrap();
                let found = format!("{name} in {spelling}, from byte {at}");
                self.needles.entry(first).or_default().push((needle, found));
            }
        }
    }

    /// What was found, with what stands around it.
    pub(crate) fn hits(&self, place: &str, bytes: &[u8]) -> Vec<String> {
        let mut hits = Vec::new();
        for (at, start) in bytes.windows(8).enumerate() {
            let start: [u8; 8] = start.try_into().unwrap();
            for (needle, found) in self.needles.get(&start).into_iter().flatten() {
                if bytes[at..].starts_with(needle) {
                    let around = &bytes[at.saturating_sub(100)..(at + 60).min(bytes.len())];
                    let around = around.escape_ascii();
                    hits.push(format!("{place}: {found}: …{around}…"));
                }
            }
        }
        hits
    }
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (groups, _) = bytes.as_chunks::<3>();
    let write = |&[a, b, c]: &[u8; 3]| {
        let bits = u32::from_be_bytes([0, a, b, c]);
        [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize])
    };
    groups.iter().flat_map(write).collect()
}

#[test]
fn every_spelling_is_found() {
    let canary = canary();
    let mut search = Search::default();
    search.add("it", &canary);
    let bytes = canary.as_bytes();
    let each = |write: fn(&u8) -> String| bytes.iter().map(write).collect::<String>();
    for text in [
        canary.clone(),
        canary.to_uppercase(),
        canary[12..20].to_owned(),
        each(|b| format!("%{b:02x}")),
        each(|b| format!("{b:02X}")),
        each(|b| format!("\\u{b:04x}")),
    ] {
        assert!(
            !search
                .hits("here", format!("before {text} after").as_bytes())
                .is_empty(),
            "{text}"
        );
    }
    for before in ["", "k", "ke"] {
        let text = base64(format!("{before}{canary}..").as_bytes());
        assert!(!search.hits("here", &text).is_empty(), "{before}");
    }
    assert_eq!(search.hits("here", self::canary().as_bytes()), [""; 0]);
}
