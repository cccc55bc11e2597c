use super::*;

const DOLLAR: i64 = 1_000_000;

fn key(name: &str) -> KeyView {
    KeyView {
        name: name.into(),
        pools: vec![DEFAULT_POOL.into()],
        condition: Condition::Healthy,
        disabled: false,
        why: None,
        sells_threads: false,
        micro_usd: Some(10 * DOLLAR),
        rests_long: false,
        is_full: false,
        spent_by_others: None,
    }
}

fn view(keys: Vec<KeyView>) -> View {
    View {
        pools: [DEFAULT_POOL.into()].into(),
        keys,
        balance: Balance {
            refresh: std::time::Duration::from_secs(300),
            minimum_micro_usd: 10_000,
            low_micro_usd: DOLLAR,
        },
        vendor: Reach::Reached,
    }
}

fn causes(view: &View, active: &[(Cause, &str)]) -> Vec<(Cause, String)> {
    find(view, |cause, subject| active.contains(&(cause, subject)))
        .into_iter()
        .map(|finding| (finding.cause, finding.subject.to_string()))
        .collect()
}

fn of(name: &str, causes: &[Cause]) -> Vec<(Cause, String)> {
    let subject = |cause: &Cause| match cause.subject() {
        "key" => name.to_owned(),
        _ => "default".to_owned(),
    };
    causes
        .iter()
        .map(|cause| (*cause, subject(cause)))
        .collect()
}

#[test]
fn a_pool_that_is_well_gives_nothing_to_tell() {
    assert!(causes(&view(vec![key("a"), key("b")]), &[]).is_empty());
}

#[test]
fn each_state_of_a_key_is_told_by_its_cause() {
    use Cause::*;
    let rows: &[(KeyView, &[Cause])] = &[
        (
            KeyView {
                micro_usd: Some(999_999),
                ..key("a")
            },
            &[BalanceLow],
        ),
        (
            KeyView {
                spent_by_others: Some(60_000),
                ..key("a")
            },
            &[SpendBeyondLedger],
        ),
        (
            KeyView {
                micro_usd: Some(DOLLAR),
                ..key("a")
            },
            &[],
        ),
        (
            KeyView {
                micro_usd: None,
                ..key("a")
            },
            &[],
        ),
        (
            KeyView {
                micro_usd: Some(9_999),
                ..key("a")
            },
            &[BalanceCritical, BalanceLow, NoUsableKey],
        ),
        (
            KeyView {
                micro_usd: Some(-1),
                ..key("a")
            },
            &[BalanceCritical, BalanceLow, NoUsableKey],
        ),
        (
            KeyView {
                condition: Condition::Empty,
                ..key("a")
            },
            &[BalanceCritical, NoUsableKey],
        ),
        (
            KeyView {
                condition: Condition::Empty,
                sells_threads: true,
                micro_usd: None,
                ..key("a")
            },
            &[BalanceCritical, NoUsableKey],
        ),
        (
            KeyView {
                condition: Condition::Revoked,
                ..key("a")
            },
            &[KeyRevoked, NoUsableKey],
        ),
        (
            KeyView {
                condition: Condition::Suspect,
                ..key("a")
            },
            &[NoUsableKey],
        ),
        (
            KeyView {
                condition: Condition::Unproven,
                ..key("a")
            },
            &[NoUsableKey],
        ),
        (
            KeyView {
                condition: Condition::Cooling,
                ..key("a")
            },
            &[],
        ),
        (
            KeyView {
                condition: Condition::Cooling,
                rests_long: true,
                ..key("a")
            },
            &[NoUsableKey],
        ),
        (
            KeyView {
                is_full: true,
                ..key("a")
            },
            &[SlotsFull],
        ),
        // Whoever disabled it knows.
        (
            KeyView {
                disabled: true,
                condition: Condition::Revoked,
                micro_usd: Some(0),
                ..key("a")
            },
            &[NoUsableKey],
        ),
    ];
    for (key, expected) in rows {
        assert_eq!(
            causes(&view(vec![key.clone()]), &[]),
            of("a", expected),
            "{key:?}"
        );
    }
}

#[test]
fn what_is_the_pools_holds_only_when_no_key_is_better_off() {
    let full = KeyView {
        is_full: true,
        ..key("a")
    };
    let revoked = KeyView {
        condition: Condition::Revoked,
        ..key("a")
    };
    for bad in [full.clone(), revoked.clone()] {
        let causes = causes(&view(vec![bad, key("b")]), &[]);
        assert!(
            causes.iter().all(|(cause, _)| cause.subject() == "key"),
            "{causes:?}"
        );
    }
    let both = causes(&view(vec![full, revoked]), &[]);
    assert_eq!(both, of("a", &[Cause::KeyRevoked, Cause::SlotsFull]));
}

#[test]
fn each_pool_that_serves_somebody_is_told_of_by_its_name() {
    let of = |key: KeyView, pools: &[&str]| KeyView {
        pools: pools.iter().map(|pool| Arc::from(*pool)).collect(),
        ..key
    };
    let full = KeyView {
        is_full: true,
        ..key("a")
    };
    let suspect = KeyView {
        condition: Condition::Suspect,
        ..key("b")
    };
    let mut view = view(vec![
        of(key("c"), &["default"]),
        of(full, &["batch"]),
        of(suspect.clone(), &["night", "tenant:alice"]),
        of(suspect, &["nobodys"]),
    ]);
    view.pools = ["default", "batch", "night", "tenant:alice", "tenant:bob"]
        .map(Arc::from)
        .into();
    let told = |cause, pool: &str| (cause, pool.to_owned());
    let expected = [
        told(Cause::SlotsFull, "batch"),
        told(Cause::NoUsableKey, "night"),
        told(Cause::NoUsableKey, "tenant:alice"),
        told(Cause::NoUsableKey, "tenant:bob"),
    ];
    assert_eq!(causes(&view, &[]), expected);
    // A trouble of all of them is told once.
    view.vendor = Reach::OutOfReach;
    let expected = [
        told(Cause::NoUsableKey, "default"),
        told(Cause::SlotsFull, "batch"),
    ];
    assert_eq!(causes(&view, &[]), expected);
}

#[test]
fn a_low_balance_is_over_when_it_was_refilled_and_not_when_a_price_came_back() {
    let with = |money| {
        view(vec![KeyView {
            micro_usd: Some(money),
            ..key("a")
        }])
    };
    let active = [(Cause::BalanceLow, "a")];
    for (money, told, untold) in [(999_999, 1, 1), (1_050_000, 1, 0), (1_100_000, 0, 0)] {
        assert_eq!(causes(&with(money), &active).len(), told, "{money}");
        assert_eq!(causes(&with(money), &[]).len(), untold, "{money}");
    }
}

#[test]
fn a_vendor_that_answers_nobody_is_told_whatever_the_keys_are() {
    for vendor in [Reach::OutOfReach, Reach::Banned] {
        let view = View {
            vendor,
            ..view(vec![key("a")])
        };
        assert_eq!(causes(&view, &[]), of("a", &[Cause::NoUsableKey]));
    }
    assert_eq!(
        causes(&view(Vec::new()), &[]),
        of("", &[Cause::NoUsableKey])
    );
}

#[test]
fn texts_say_what_to_do() {
    let text = |key: KeyView| find(&view(vec![key]), |_, _| false)[0].text.clone();
    let low = KeyView {
        micro_usd: Some(529_999),
        ..key("account-1")
    };
    assert_eq!(
        text(low),
        "account-1 has $0.52 left, below balance.low ($1.00): refill it or add a key"
    );
    let revoked = KeyView {
        condition: Condition::Revoked,
        why: Some("ERROR_KEY_DOES_NOT_EXIST".to_owned()),
        ..key("account-1")
    };
    assert!(text(revoked).contains("(ERROR_KEY_DOES_NOT_EXIST)"));
    let two = view(vec![
        KeyView {
            condition: Condition::Suspect,
            ..key("a")
        },
        KeyView {
            disabled: true,
            ..key("b")
        },
    ]);
    let none = &find(&two, |_, _| false)[0].text;
    assert!(none.contains("(1 suspect, 1 disabled)"), "{none}");
}
