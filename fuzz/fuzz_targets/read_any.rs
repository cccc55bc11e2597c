#![no_main]

use libfuzzer_sys::fuzz_target;
use sidekey_fuzz::{Bytes, Parts, check};

fuzz_target!(|data: &[u8]| {
    // Three lines: query, content type (empty for none), and all the rest is the body.
    let mut lines = data.splitn(3, |b| *b == b'\n');
    let mut next = || Bytes::copy_from_slice(lines.next().unwrap_or_default());
    let (query, content_type, body) = (next(), next(), next());
    for post in [true, false] {
        check(&Parts {
            post,
            query: query.clone(),
            content_type: Some(content_type.clone()).filter(|text| !text.is_empty()),
            body: body.clone(),
        });
    }
});
