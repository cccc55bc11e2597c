#![no_main]

use libfuzzer_sys::fuzz_target;
use sidekey_fuzz::check_body;

fuzz_target!(|data: &[u8]| {
    check_body("application/x-www-form-urlencoded", data);
});
