//! Any bytes as an answer of the vendor, with any status: a reading, never a panic, and no id that cannot be stored.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sidekey_fuzz::vendor::account::{balance, threads};
use sidekey_fuzz::vendor::answer::{Asked, Reading, read, trim};
use sidekey_fuzz::vendor::profile::Profile;
use sidekey_fuzz::vendor::scrub::scrub;

static PROFILE: LazyLock<Profile> =
    LazyLock::new(|| Profile::builtin("captchaai").expect("built in"));
const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fuzz_target!(|input: (u16, &[u8])| {
    let (status, body) = input;
    for asked in [
        Asked::Submit,
        Asked::Solve,
        Asked::Poll,
        Asked::Report,
        Asked::Balance,
        Asked::Threads,
        Asked::Other,
    ] {
        let reading = read(&PROFILE, asked, status, body);
        if let Reading::Accepted { id } = &reading {
            assert!(asked == Asked::Submit && (200..300).contains(&status));
            assert!(!id.is_empty() && id.len() <= 128 && !id.chars().any(char::is_control));
        }
        // Blanks around an answer change nothing.
        assert_eq!(
            reading,
            read(&PROFILE, asked, status, &[b" \r\n", body, b"\n"].concat())
        );
    }
    balance(body);
    threads(body);
    let body = Bytes::copy_from_slice(body);
    let clean = scrub(&trim(&body), KEY, b"token");
    assert!(memchr::memmem::find(&clean, KEY).is_none());
});
