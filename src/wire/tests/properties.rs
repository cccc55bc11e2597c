//! Random requests: the invariants, and other people's parsers as oracles.

use proptest::prelude::*;

use super::invariants;
use super::*;

proptest! {
    #[test]
    fn invariants_hold_for_any_bytes(
        post: bool,
        query in proptest::collection::vec(any::<u8>(), 0..60),
        content_type in proptest::option::of(prop_oneof![
            Just(FORM), Just(JSON), Just("text/plain"), Just("multipart/form-data; boundary=b"), Just("multipart/form-data"),
        ]),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        invariants::check(&parts(post, &query, content_type, &body));
    }
}
