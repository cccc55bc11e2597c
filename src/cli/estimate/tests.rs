use serde_json::{Value, json};

use super::*;

fn key(billing: &str, balance: Option<i64>, threads: Option<u64>) -> Value {
    json!({
        "pools": ["default", "tenant:alice"],
        "state": "healthy",
        "billing": billing,
        "slots": { "max": threads },
        "left_micro_usd": balance,
    })
}

fn estimate(count: u64, keys: &[Value], mean_seconds: Option<f64>) -> Estimate {
    let args = Args {
        kind: "recaptcha_v2".to_owned(),
        count,
        pool: "default".to_owned(),
        place: Where {
            admin: None,
            config: None,
        },
        format: Format::Text,
    };
    let keys = keys.iter().map(|key| Key::deserialize(key).unwrap());
    let types = [Type {
        r#type: "recaptcha_v2".to_owned(),
        price_micro_usd: 3_000,
        mean_seconds,
    }];
    Estimate::of(&args, &keys.collect::<Vec<_>>(), &types).unwrap()
}

#[test]
fn balances_are_added_and_compared_with_the_cost() {
    let keys = [
        key("balance", Some(20_000_000), None),
        key("balance", Some(22_100_000), None),
    ];
    let enough = estimate(10_000, &keys, None);
    assert!(enough.enough);
    assert_eq!(
        enough.text(),
        "10000 recaptcha_v2 at $0.003 ([prices]) cost $30.00\n\
         pool default has $42.10 on 2 usable keys\n\
         covers about 14033\n"
    );
    let more = estimate(20_000, &keys, None);
    assert!(!more.enough);
    assert!(
        more.text().ends_with("need $17.90 more\n"),
        "{}",
        more.text()
    );
}

#[test]
fn one_solve_too_many_is_not_covered() {
    let keys = [key("balance", Some(2_999_999), None)];
    assert!(estimate(999, &keys, None).enough);
    let short = estimate(1000, &keys, None);
    assert_eq!(short.balance.unwrap().need_micro_usd, 1);
}

#[test]
fn a_thread_plan_is_answered_in_hours_and_says_where_the_seconds_are_from() {
    let keys = [
        key("threads", Some(0), Some(5)),
        key("threads", None, Some(7)),
    ];
    let measured = estimate(10_000, &keys, Some(18.0));
    assert!(measured.enough);
    assert_eq!(
        measured.text(),
        "10000 recaptcha_v2 at 18 s each (as measured since the start)\n\
         pool default has 12 threads on 2 usable keys with a thread plan\n\
         takes about 4.17 hours\n"
    );
    let assumed = estimate(10_000, &keys, None);
    assert!(assumed.text().contains("30 s each (assumed"));
}

#[test]
fn what_is_not_known_or_not_usable_counts_nothing_and_is_said() {
    let unknown = estimate(1, &[key("balance", None, None)], None);
    assert!(!unknown.enough);
    assert!(
        unknown
            .text()
            .contains("of 1 of them the balance is not known yet")
    );
    let mut revoked = key("balance", Some(9_000_000), None);
    revoked["state"] = json!("revoked");
    let none = estimate(1, &[revoked], None);
    assert!(!none.enough);
    assert!(
        none.text().ends_with("need $0.003 more\n"),
        "{}",
        none.text()
    );
    assert!(!estimate(1, &[key("threads", None, None)], None).enough);
}
