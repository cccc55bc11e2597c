use std::collections::VecDeque;

use bytes::Bytes;
use hyper::header::HeaderValue;
use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::request::flight::{Identical, Unheard};
use crate::wire::Parts;

fn claim_of(scope: u8, parameters: u8) -> Claim {
    Claim {
        scope: [scope; 32],
        parameters: [parameters; 32],
    }
}

fn landed(id: &str) -> Landed {
    Landed::With {
        outcome: Outcome::Value(id.to_owned()),
        hints: Hints::default(),
    }
}

fn header(lines: &[&str]) -> HeaderMap {
    let line = |line: &&str| (HEADER, HeaderValue::from_str(line).unwrap());
    lines.iter().map(line).collect()
}

fn key_of(field: Option<&str>, lines: &[&str]) -> Result<Option<String>, Refusal> {
    let fields = Fields {
        idempotency_key: field.map(str::to_owned),
        ..Fields::default()
    };
    key(&fields, &header(lines))
}

#[test]
fn the_key_is_that_of_the_field_or_of_the_header_quoted_or_bare() {
    let good = |field, lines: &[&str], wanted: Option<&str>| {
        assert_eq!(key_of(field, lines), Ok(wanted.map(str::to_owned)));
    };
    good(None, &[], None);
    good(Some("a b"), &[], Some("a b"));
    good(None, &["\"8e03-978e\""], Some("8e03-978e"));
    good(None, &["8e03-978e"], Some("8e03-978e"));
    good(None, &[r#" "a\"b\\c" "#], Some(r#"a"b\c"#));
    good(Some("same"), &["\"same\""], Some("same"));
    let longest = "x".repeat(255);
    good(Some(&longest), &[], Some(&longest));
}

#[test]
fn a_key_that_cannot_be_used_is_refused_and_never_ignored() {
    assert_eq!(key_of(Some("a"), &["b"]), Err(TWO_KEYS));
    assert_eq!(key_of(None, &["a", "a"]), Err(TWO_KEYS));
    let too_long = "x".repeat(256);
    for bad in ["", "\"\"", "\"a", "\"a\"b", r#""a\b""#, &too_long] {
        assert_eq!(key_of(None, &[bad]), Err(BAD_KEY), "{bad}");
    }
    for bad in ["", "a\nb", &too_long] {
        assert_eq!(key_of(Some(bad), &[]), Err(BAD_KEY), "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_repeats_while_it_is_on_its_way_waits_and_hears_the_same() {
    let claims = Claims::default();
    let Boarded::First(pilot, first) = claims.board(&claim_of(1, 1)) else {
        panic!("it is on its way already");
    };
    let Boarded::Aboard(second) = claims.board(&claim_of(1, 1)) else {
        panic!("a second one began");
    };
    assert!(matches!(
        claims.board(&claim_of(1, 2)),
        Boarded::OtherParameters
    ));
    assert!(matches!(claims.board(&claim_of(2, 2)), Boarded::First(..)));
    drop(first);
    assert!(!pilot.run.left.is_cancelled(), "one waits still");
    pilot.land(landed("7"));
    assert_eq!(second.hear().await, landed("7"));
    // Not durable yet: it is found here.
    let Boarded::Aboard(third) = claims.board(&claim_of(1, 1)) else {
        panic!("it was begun again");
    };
    assert_eq!(third.hear().await, landed("7"));
    drop(pilot);
    assert!(matches!(claims.board(&claim_of(1, 1)), Boarded::First(..)));
}

#[tokio::test(start_paused = true)]
async fn when_all_have_left_the_submit_is_told_and_a_panic_is_heard_as_uncertain() {
    let claims = Claims::default();
    let Boarded::First(pilot, first) = claims.board(&claim_of(1, 1)) else {
        panic!("it is on its way already");
    };
    let identical = Identical {
        endpoint: Endpoint::Submit,
        project: None,
        parts: Parts::default(),
    };
    let unheard = Unheard::default();
    let (work, listener) = unheard.start(identical.clone());
    let worked = async {
        work.client_left().cancelled().await;
        // Its first byte had left.
        work.land(Outcome::Value("7".to_owned()), true);
    };
    drop(first);
    let (heard, ()) = tokio::join!(pilot.hear(&listener), worked);
    assert_eq!(heard, Heard::Outcome(Outcome::Value("7".to_owned())));
    assert!(listener.is_paid());
    listener.mark_heard();
    drop(listener);
    assert!(
        unheard.adopt(&identical, Instant::now()).is_none(),
        "a submit without the key was given its id"
    );
    let Boarded::Aboard(second) = claims.board(&claim_of(1, 1)) else {
        panic!("a second one began");
    };
    drop(pilot);
    let Landed::With { outcome, .. } = second.hear().await else {
        panic!("nothing was heard");
    };
    assert_eq!(outcome, Outcome::Refused(Refusal::Uncertain));
}

/// What may happen next to clients of one key.
#[derive(Clone, Copy, Debug)]
enum Step {
    Come,
    Leave(usize),
    Accept,
    Refuse,
    Drop,
    Panic,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Come),
        2 => (0..8_usize).prop_map(Step::Leave),
        1 => Just(Step::Accept),
        1 => Just(Step::Refuse),
        1 => Just(Step::Drop),
        1 => Just(Step::Panic),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// In whatever order clients come, leave and submits end: one at a time, and everybody who waits hears an end.
    #[test]
    fn there_is_never_a_second_submit_on_its_way(steps in prop::collection::vec(any_step(), 1..60)) {
        let claims = Claims::default();
        let mut pilot: Option<Pilot> = None;
        let mut seats = VecDeque::new();
        for step in steps {
            match step {
                Step::Come => match claims.board(&claim_of(1, 1)) {
                    Boarded::First(new, seat) => {
                        prop_assert!(pilot.is_none(), "two are on their way");
                        pilot = Some(new);
                        seats.push_back(seat);
                    }
                    Boarded::Aboard(seat) => {
                        prop_assert!(pilot.is_some());
                        seats.push_back(seat);
                    }
                    Boarded::OtherParameters => prop_assert!(false),
                },
                Step::Leave(index) => {
                    if index < seats.len() {
                        seats.remove(index);
                    }
                }
                Step::Accept => if let Some(pilot) = pilot.take() { pilot.land(landed("7")) },
                Step::Refuse => if let Some(pilot) = pilot.take() {
                    pilot.leave();
                    pilot.land(landed("ERROR"));
                },
                Step::Drop => if let Some(ends) = pilot.take_if(|pilot| pilot.run.left.is_cancelled()) {
                    ends.leave();
                    ends.land(Landed::Dropped);
                },
                Step::Panic => drop(pilot.take()),
            }
            if pilot.is_none() {
                for seat in seats.drain(..) {
                    prop_assert_ne!(&*seat.0.landed.borrow(), &Landed::NotYet);
                }
                prop_assert!(claims.runs().is_empty());
            } else if seats.is_empty() {
                prop_assert!(pilot.as_ref().is_some_and(|pilot| pilot.run.left.is_cancelled()));
            }
        }
    }
}

#[test]
fn an_id_is_written_anew_in_the_repeats_own_format_and_an_answer_is_not() {
    let profile = Profile::builtin("captchaai").unwrap();
    let relay = |body: &'static str| {
        Outcome::Relay(Relay {
            body: Bytes::from_static(body.as_bytes()),
            content_type: None,
            allow_origin: None,
        })
    };
    let (text, json) = (
        Hints::default(),
        Hints {
            json: true,
            ..Hints::default()
        },
    );
    let anew = |body, endpoint, from, to| rendered(&profile, endpoint, relay(body), from, to);
    let submit = Endpoint::Submit;
    assert_eq!(anew("OK|7", submit, text, json), Outcome::Value("7".into()));
    assert_eq!(anew("OK|7", submit, text, text), relay("OK|7"));
    let in_json = r#"{"status":1,"request":"7"}"#;
    assert_eq!(
        anew(in_json, submit, json, text),
        Outcome::Value("7".into())
    );
    let refused = anew("ERROR_PAGEURL", submit, text, json);
    assert_eq!(refused, Outcome::Code("ERROR_PAGEURL".into()));
    assert_eq!(anew("OK|a", Endpoint::Solve, text, json), relay("OK|a"));
}
