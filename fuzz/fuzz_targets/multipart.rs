#![no_main]

use libfuzzer_sys::fuzz_target;
use sidekey_fuzz::check_body;

fuzz_target!(|data: &[u8]| {
    check_body("multipart/form-data; boundary=b", data);
});
