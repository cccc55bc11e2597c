use super::*;

const NO_SLOT: Option<&str> = Some("ERROR_NO_SLOT_AVAILABLE");
const ZERO: Option<&str> = Some("ERROR_ZERO_BALANCE");

fn only(ban: Ban) -> Limits {
    Limits {
        bans: vec![ban],
        ..Limits::default()
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Submits at this pace, each answered so, until one starts a ban; how many went before it and which ban it is.
fn submits_until_banned(
    limits: &Limits,
    usage: &mut Usage,
    pace: Duration,
    most: u64,
    refusal: impl Fn(u64) -> Option<&'static str>,
) -> Option<(u64, &'static str)> {
    let began = Instant::now();
    for n in 0..most {
        let now = began + pace * u32::try_from(n).unwrap();
        match usage.arrive(limits, true, now) {
            Err(stop) => return Some((n, stop.code)),
            Ok(()) => {
                usage.submitted(limits, refusal(n), now);
            }
        }
    }
    None
}

#[test]
fn each_ban_begins_where_the_vendor_says() {
    let one_in_four: fn(u64) -> Option<&'static str> =
        |n| (n % 4 != 0).then_some("ERROR_NO_SLOT_AVAILABLE");
    let one_in_three: fn(u64) -> Option<&'static str> =
        |n| (n % 3 != 0).then_some("ERROR_NO_SLOT_AVAILABLE");
    let tasks: fn(u64) -> Option<&'static str> = |_| None;
    let no_slot: fn(u64) -> Option<&'static str> = |_| NO_SLOT;
    let zero: fn(u64) -> Option<&'static str> = |_| ZERO;
    for (ban, pace, answer, expected) in [
        // 61 within 3 s; 60 of them are let through.
        (Ban::MaxUserTurn, ms(49), tasks, Some((60, "MAX_USER_TURN"))),
        (Ban::MaxUserTurn, ms(50), tasks, None),
        (Ban::E1001, ms(500), no_slot, Some((120, "ERROR: 1001"))),
        (Ban::E1001, ms(505), no_slot, None),
        (Ban::E1001, ms(1), zero, None),
        (Ban::E1002, ms(500), zero, Some((120, "ERROR: 1002"))),
        (Ban::E1002, ms(505), zero, None),
        (Ban::E1002, ms(1), no_slot, None),
        (Ban::E1003, ms(5000), no_slot, Some((120, "ERROR: 1003"))),
        (Ban::E1003, ms(5000), one_in_three, None),
        (
            Ban::E1003,
            ms(5000),
            one_in_four,
            Some((160, "ERROR: 1003")),
        ),
        (Ban::E1005, ms(1), tasks, None),
    ] {
        let mut usage = Usage::default();
        let banned = submits_until_banned(&only(ban), &mut usage, pace, 1000, answer);
        assert_eq!(banned, expected, "{ban:?} every {pace:?}");
        let mut usage = Usage::default();
        let free = submits_until_banned(&Limits::default(), &mut usage, pace, 1000, answer);
        assert_eq!(free, None, "{ban:?} is not switched on");
    }
}

#[test]
fn polls_may_be_20_a_task_and_1200_beside() {
    for tasks in [0, 1, 100] {
        let (limits, mut usage, now) = (only(Ban::E1005), Usage::default(), Instant::now());
        for _ in 0..tasks {
            usage.arrive(&limits, true, now).unwrap();
            usage.submitted(&limits, None, now);
        }
        for _ in 0..tasks * 20 + 1200 {
            usage.arrive(&limits, false, now).unwrap();
        }
        let stop = usage.arrive(&limits, false, now).unwrap_err();
        assert_eq!(
            (stop.code, stop.violation),
            ("ERROR: 1005", Some("ERROR: 1005"))
        );
        let stop = usage.arrive(&limits, true, now).unwrap_err();
        assert_eq!((stop.code, stop.violation), ("ERROR: 1005", None));
    }
}

#[test]
fn each_ban_ends_when_the_vendor_says_and_counting_starts_anew() {
    for (ban, seconds, stops_polls) in [
        (Ban::MaxUserTurn, 10, false),
        (Ban::E1001, 600, true),
        (Ban::E1002, 300, true),
        (Ban::E1003, 30, true),
        (Ban::E1005, 300, true),
    ] {
        let (limits, mut usage, began) = (only(ban), Usage::default(), Instant::now());
        usage.start(ban, began);
        let last = began + Duration::from_secs(seconds) - ms(1);
        assert_eq!(
            usage.arrive(&limits, true, last).unwrap_err().code,
            ban.code()
        );
        assert_eq!(
            usage.arrive(&limits, false, last).is_err(),
            stops_polls,
            "{ban:?}"
        );
        let over = last + ms(1);
        assert_eq!(usage.arrive(&limits, true, over), Ok(()));
        assert_eq!(usage.arrive(&limits, false, over), Ok(()));
        assert_eq!(usage.ban(over), None);
    }
}

#[test]
fn of_two_bans_the_longer_one_is_in_force() {
    let limits = Limits {
        bans: vec![Ban::E1003, Ban::E1001],
        ..Limits::default()
    };
    let (mut usage, now) = (Usage::default(), Instant::now());
    let mut exceeded = Vec::new();
    for _ in 0..120 {
        exceeded.extend(usage.submitted(&limits, NO_SLOT, now));
    }
    assert_eq!(exceeded, ["ERROR: 1001", "ERROR: 1003"]);
    assert_eq!(usage.ban(now).unwrap().0, Ban::E1001);
}

#[test]
fn a_second_has_room_for_so_many_requests_of_any_kind() {
    let limits = Limits {
        requests_per_second: 3,
        ..Limits::default()
    };
    let (mut usage, began) = (Usage::default(), Instant::now());
    for n in 0..3 {
        usage.arrive(&limits, n == 0, began + ms(n * 100)).unwrap();
    }
    for n in 3..10 {
        let stop = usage
            .arrive(&limits, false, began + ms(n * 100))
            .unwrap_err();
        assert_eq!((stop.code, stop.violation), (TOO_MUCH, Some(TOO_MUCH)));
        assert_eq!(stop.retry_after, Some(ms(1000 - n * 100)));
    }
    // The first has left, the two others have not, and the refused ones were not counted.
    usage.arrive(&limits, false, began + ms(1000)).unwrap();
    assert!(usage.arrive(&limits, false, began + ms(1000)).is_err());
}

#[test]
fn an_address_is_banned_by_its_own_bad_keys_for_as_long_as_the_dialect_says() {
    let (ours, other): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
    for (dialect, ban_ms, code, lasts) in [
        (Dialect::Captchaai, 0, "IP_BANNED", ms(300_000)),
        (Dialect::Twocaptcha, 0, "ERROR: 1004", ms(600_000)),
        (Dialect::Twocaptcha, 7, "ERROR: 1004", ms(7)),
    ] {
        let limits = Limits {
            ban_after: 5,
            ban_ms,
            ..Limits::default()
        };
        let ban = limits.of_address(dialect);
        assert_eq!(ban.code, code);
        let (mut addresses, now) = (Addresses::default(), Instant::now());
        for _ in 0..2 {
            let broke: Vec<bool> = (0..5).map(|_| addresses.bad_key(ours, ban, now)).collect();
            assert_eq!(broke, [false, false, false, false, true]);
            assert!(addresses.is_banned(ours, now + lasts - ms(1)));
            assert!(!addresses.is_banned(other, now));
            assert!(!addresses.is_banned(ours, now + lasts), "{code}");
        }
    }
    let (mut addresses, now) = (Addresses::default(), Instant::now());
    let never = Limits::default().of_address(Dialect::Captchaai);
    assert!((0..100).all(|_| !addresses.bad_key(ours, never, now)));
}

#[test]
fn a_ban_has_the_same_name_in_a_configuration() {
    for ban in Ban::ALL {
        assert_eq!(serde_json::to_value(ban).unwrap(), ban.code());
    }
}
