use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn finding(cause: Cause, subject: &str) -> Finding {
    Finding {
        cause,
        subject: subject.into(),
        text: String::new(),
    }
}

/// One look a second; `holds` says when it is found. Returns the seconds at which it was told.
fn told(cause: Cause, seconds: u64, holds: impl Fn(u64) -> bool) -> Vec<u64> {
    let (mut machine, start) = (Machine::default(), Instant::now());
    (0..seconds)
        .filter(|second| {
            let found = holds(*second).then(|| finding(cause, "account-1"));
            let now = start + SECOND * u32::try_from(*second).unwrap();
            !machine.step(Vec::from_iter(found), now).is_empty()
        })
        .collect()
}

#[test]
fn what_lasts_is_told_once_after_its_time() {
    for cause in Cause::ALL {
        let after = cause.told_after().as_secs();
        assert_eq!(told(cause, 3000, |_| true), [after], "{cause:?}");
    }
}

#[test]
fn a_critical_balance_is_told_every_hour_while_it_lasts() {
    let hours = told(Cause::BalanceCritical, 3 * 3600 + 1, |_| true);
    assert_eq!(hours, [0, 3600, 7200, 10_800]);
}

#[test]
fn what_returns_is_told_again_once_it_was_gone_long_enough() {
    for cause in Cause::ALL {
        let (after, armed) = (cause.told_after().as_secs(), cause.armed_after().as_secs());
        let gone = |gap: u64| move |second| second <= after || second > after + gap;
        let long = told(cause, 3000, gone(armed.max(1)));
        assert_eq!(long, [after, after + armed.max(1) + 1 + after], "{cause:?}");
        if armed > 1 {
            assert_eq!(told(cause, 3000, gone(armed - 1)), [after], "{cause:?}");
        }
    }
}

#[test]
fn what_never_holds_long_enough_is_never_told() {
    assert!(told(Cause::SlotsFull, 3000, |second| second % 60 != 59).is_empty());
}

#[test]
fn what_comes_and_goes_is_one_trouble() {
    assert_eq!(told(Cause::KeyRevoked, 3000, |second| second % 7 < 3), [0]);
}

#[test]
fn each_subject_is_told_for_itself() {
    let (mut machine, now) = (Machine::default(), Instant::now());
    let both = vec![
        finding(Cause::KeyRevoked, "a"),
        finding(Cause::KeyRevoked, "b"),
    ];
    assert_eq!(machine.step(both.clone(), now), both);
    assert_eq!(machine.active(Cause::KeyRevoked), 2);
    assert!(machine.is_active(Cause::KeyRevoked, "a"));
    assert!(!machine.is_active(Cause::KeyRevoked, "c"));
    assert!(!machine.is_active(Cause::BalanceLow, "a"));
    machine.step(Vec::new(), now + Duration::from_secs(60));
    assert_eq!(machine.active(Cause::KeyRevoked), 0);
}

#[test]
fn an_empty_account_is_told_as_empty_and_not_as_low_besides() {
    let (mut machine, now) = (Machine::default(), Instant::now());
    let low = || finding(Cause::BalanceLow, "a");
    let critical = || finding(Cause::BalanceCritical, "a");
    assert_eq!(machine.step(vec![low(), critical()], now), [critical()]);
    // A little money came: nobody has to be told that it is little.
    assert!(machine.step(vec![low()], now + SECOND).is_empty());
    assert_eq!(machine.active(Cause::BalanceLow), 1);
}

proptest! {
    /// Between two that are told of one trouble there is its pause, or the time in which it was gone.
    #[test]
    fn nothing_is_told_more_often_than_it_says(
        index in 0..Cause::ALL.len(),
        holds in prop::collection::vec(any::<bool>(), 1..2000),
    ) {
        let cause = Cause::ALL[index];
        let times = told(cause, holds.len() as u64, |second| holds[second as usize]);
        for pair in times.windows(2) {
            let apart = pair[1] - pair[0];
            let again = cause.told_every().map_or(u64::MAX, |every| every.as_secs());
            let returned = cause.armed_after().as_secs() + cause.told_after().as_secs();
            prop_assert!(apart >= again.min(returned.max(1)));
        }
        for told in times {
            let after = cause.told_after().as_secs();
            prop_assert!((told.saturating_sub(after)..=told).all(|second| holds[second as usize]));
        }
    }
}
