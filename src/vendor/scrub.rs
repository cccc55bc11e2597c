//! A vendor's answer that repeats the key is relayed without it.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// Puts `token` where the answer shows `key`: as it is, percent-encoded, as JSON writes it, in hex and in base64.
/// Nearly every answer holds none and comes back untouched, sharing its buffer.
///
/// SECURITY: some vendors echo parameters (`debug_dump`, PHP warnings), and a client must not learn the key so.
/// Keys under 16 bytes are left alone: a short text would be found by chance and would spoil good answers.
pub fn scrub(body: &Bytes, key: &[u8], token: &[u8]) -> Bytes {
    if key.len() < SHORTEST_KEY || body.len() < key.len() {
        return body.clone();
    }
    spellings(key, body)
        .iter()
        .fold(body.clone(), |body, spelling| {
            replace(body, spelling, token)
        })
}

fn replace(body: Bytes, spelling: &[u8], token: &[u8]) -> Bytes {
    let finder = memmem::Finder::new(spelling);
    let Some(first) = finder.find(&body) else {
        return body;
    };
    let mut clean = BytesMut::with_capacity(body.len());
    let (mut done, mut found) = (0, Some(first));
    while let Some(at) = found {
        clean.extend_from_slice(&body[done..at]);
        clean.extend_from_slice(token);
        done = at + spelling.len();
        found = finder.find(&body[done..]).map(|next| done + next);
    }
    clean.extend_from_slice(&body[done..]);
    clean.freeze()
}

/// The plain key first, then only what differs from it: keys are letters and digits nearly always.
fn spellings<'a>(key: &'a [u8], body: &[u8]) -> Vec<Cow<'a, [u8]>> {
    let mut all: Vec<Cow<'a, [u8]>> = vec![Cow::Borrowed(key)];
    if !key.iter().all(u8::is_ascii_alphanumeric) {
        let percent = percent_encode(key, NON_ALPHANUMERIC).to_string();
        all.push(percent.to_ascii_lowercase().into_bytes().into());
        all.push(percent.into_bytes().into());
        if let Ok(text) = std::str::from_utf8(key)
            && let Ok(quoted) = serde_json::to_string(text)
        {
            let inner = &quoted[1..quoted.len() - 1];
            all.push(inner.as_bytes().to_vec().into());
            // PHP's json_encode escapes slashes.
            all.push(inner.replace('/', "\\/").into_bytes().into());
        }
    }
    // Hex and base64 of a key are one long word. Without such a word, as in every not-ready, they need not be made.
    let encodes = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let shortest = (key.len() - 2) / 3 * 4;
    if !body
        .split(|b| !encodes(b))
        .any(|word| word.len() >= shortest)
    {
        return all;
    }
    all.push(hex(key, b"0123456789abcdef").into());
    all.push(hex(key, b"0123456789ABCDEF").into());
    // Where the key starts within a group of three bytes decides how base64 writes it. Up to two bytes at either end
    // share a group with their neighbours and stay.
    all.extend((0..3).map(|skip| base64(&key[skip..]).into()));
    all
}

fn hex(bytes: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let digit = |four: u8| digits[usize::from(four & 15)];
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(*b)])
        .collect()
}

/// Whole groups only, so there is no padding.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (groups, _) = bytes.as_chunks::<3>();
    let write = |&[a, b, c]: &[u8; 3]| {
        let bits = u32::from_be_bytes([0, a, b, c]);
        [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift) as usize & 63])
    };
    groups.iter().flat_map(write).collect()
}

pub const SHORTEST_KEY: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn scrubbed(body: &[u8], key: &[u8]) -> String {
        String::from_utf8(scrub(&Bytes::copy_from_slice(body), key, b"TOKEN").to_vec()).unwrap()
    }

    #[test]
    fn an_answer_without_the_key_shares_its_buffer() {
        let body = Bytes::from(vec![b'x'; 4096]);
        assert_eq!(scrub(&body, KEY, b"TOKEN").as_ptr(), body.as_ptr());
    }

    #[test]
    fn every_place_of_the_key_is_replaced() {
        let body = [b"a", KEY, b"b", KEY, KEY, b"c"].concat();
        assert_eq!(scrubbed(&body, KEY), "aTOKENbTOKENTOKENc");
    }

    #[test]
    fn encoded_spellings_are_replaced() {
        let key = b"user/name:pa\"ss 12345";
        for spelling in [
            "user%2Fname%3Apa%22ss%2012345",
            "user%2fname%3apa%22ss%2012345",
            r#"user/name:pa\"ss 12345"#,
            r#"user\/name:pa\"ss 12345"#,
            "757365722f6e616d653a706122737320313233343 5"
                .replace(' ', "")
                .as_str(),
            "757365722F6E616D653A7061227373203132333435",
        ] {
            assert_eq!(
                scrubbed(format!("<{spelling}>").as_bytes(), key),
                "<TOKEN>",
                "{spelling}"
            );
        }
    }

    #[test]
    fn base64_is_found_at_every_alignment() {
        for before in ["", "k", "ke", "key"] {
            let mut plain = [before.as_bytes(), KEY, b"tail"].concat();
            plain.resize(plain.len().next_multiple_of(3), b'=');
            let body = base64(&plain);
            let clean = scrubbed(&body, KEY);
            assert!(clean.contains("TOKEN"), "{before}: {clean}");
            assert!(
                clean.len() <= body.len() - 40 + "TOKEN".len(),
                "{before}: {clean}"
            );
        }
    }

    #[test]
    fn a_short_key_is_left_alone() {
        assert_eq!(
            scrubbed(b"short-key-15byt is here", b"short-key-15byt"),
            "short-key-15byt is here"
        );
        assert_eq!(
            scrubbed(b"short-key-16byte is here", b"short-key-16byte"),
            "TOKEN is here"
        );
    }

    #[test]
    fn a_token_that_holds_the_key_does_not_loop() {
        let token = [KEY, KEY].concat();
        let body = Bytes::copy_from_slice(KEY);
        assert!(scrub(&body, KEY, &token).len() >= token.len());
    }
}
