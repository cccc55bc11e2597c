#![no_main]

use libfuzzer_sys::fuzz_target;
use sidekey_fuzz::{Bytes, Parts, check};

fuzz_target!(|data: &[u8]| {
    check(&Parts {
        query: Bytes::copy_from_slice(data),
        ..Parts::default()
    });
});
