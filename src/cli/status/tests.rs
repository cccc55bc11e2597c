use serde_json::json;

use super::*;

#[test]
fn states_have_colours_on_a_terminal_only() {
    let keys = json!({ "keys": [{
        "name": "account-1", "pool": "default", "state": "revoked", "since_seconds": 1.0, "slots": { "used": 0 },
        "solves": { "done": 0, "failed": 0 },
    }]});
    let draw = |colours| {
        let look = Look {
            colours,
            ..Look::default()
        };
        draw(&json!({}), &keys, &json!({}), &json!({}), look)
    };
    assert!(draw(true).contains("\x1b[31mrevoked"));
    assert!(!draw(false).contains('\x1b'));
}

#[test]
fn a_watch_draws_over_what_it_drew_and_keeps_to_the_screen() {
    let look = Look {
        redraws: true,
        height: Some(4),
        ..Look::default()
    };
    let drawn = |text| over_the_last(text, look, false);
    assert_eq!(
        drawn("a\nb\nc\n"),
        "\x1b[Ha\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J"
    );
    assert_eq!(
        drawn("a\nb\nc\nd\n"),
        "\x1b[Ha\x1b[K\nb\x1b[K\nand 2 more lines\x1b[K\n\x1b[J"
    );
    assert!(over_the_last("a\n", look, true).starts_with("\x1b[2J"));
    assert_eq!(over_the_last("a\n", Look::default(), true), "a\n");
}

/// Also what `sidekey status --format json` prints.
#[test]
fn all_answers_are_one_object() {
    let answers = Answers {
        status: json!({ "ready": true }),
        keys: json!({ "keys": [] }),
        tenants: json!({ "tenants": [] }),
        audit: json!({ "audit": [] }),
    };
    let text = shown(&answers, Format::Json, Look::default());
    assert_eq!(
        text,
        "{\"audit\":[],\"keys\":[],\"status\":{\"ready\":true},\"tenants\":[]}\n"
    );
}
