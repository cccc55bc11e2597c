//! Limits hold whatever comes in whatever order.

use proptest::prelude::*;

use super::*;

const LIMITS: TenantLimits = TenantLimits {
    daily: None,
    rate_per_minute: None,
    budget_micro_usd: None,
    max_tasks: None,
};
/// 2026-11-30T23:59:59Z.
const LAST_SECOND: i64 = 1_796_083_199_000;

fn task(id: u64) -> TaskKey {
    TaskKey {
        profile: "captchaai".into(),
        tenant: "alice".into(),
        id: id.to_string().as_str().into(),
    }
}

#[test]
fn days_and_months_turn_at_midnight_utc() {
    let (before, after) = (Day::of(LAST_SECOND), Day::of(LAST_SECOND + 1000));
    assert_eq!((after.day - before.day, after.month - before.month), (1, 1));
    assert_eq!(Day::of(-1).day, -1);
}

#[test]
fn a_failed_task_is_not_charged_and_a_solved_one_is_once() {
    let limits = TenantLimits {
        daily: Some(2),
        ..LIMITS
    };
    let (mut meter, now) = (Meter::default(), Instant::now());
    for id in 0..3 {
        let submit = meter.reserve(&limits, 5, now, LAST_SECOND).unwrap();
        meter.give_to(submit, task(id), now);
        meter.end(&task(id), None, LAST_SECOND);
    }
    let refused = meter.reserve(&limits, 5, now, LAST_SECOND).unwrap();
    meter.give_back(refused);
    for id in 0..2 {
        let submit = meter.reserve(&limits, 5, now, LAST_SECOND).unwrap();
        meter.give_to(submit, task(id), now);
        meter.end(&task(id), Some(7), LAST_SECOND);
    }
    assert_eq!(
        meter.reserve(&limits, 5, now, LAST_SECOND),
        Err(Limit::Daily)
    );
    let used = meter.used(LAST_SECOND);
    assert_eq!(
        (
            used.solves_today,
            used.spent_micro_usd,
            used.reserved_micro_usd
        ),
        (2, 14, 0)
    );
    assert!(meter.reserve(&limits, 5, now, LAST_SECOND + 1000).is_ok());
    assert_eq!(meter.used(LAST_SECOND + 1000).spent_micro_usd, 0);
}

#[test]
fn a_clock_set_back_gives_no_limit_a_second_time() {
    let limits = TenantLimits {
        daily: Some(1),
        ..LIMITS
    };
    let (mut meter, now) = (Meter::default(), Instant::now());
    let submit = meter.reserve(&limits, 1, now, LAST_SECOND).unwrap();
    meter.give_to(submit, task(1), now);
    meter.end(&task(1), Some(1), LAST_SECOND);
    let yesterday = LAST_SECOND - DAY_MS;
    assert_eq!(meter.reserve(&limits, 1, now, yesterday), Err(Limit::Daily));
    assert_eq!(
        meter.reserve(&limits, 1, now, LAST_SECOND),
        Err(Limit::Daily)
    );
    let today = LAST_SECOND + 1000 - DAY_MS;
    assert_eq!(meter.end(&task(2), Some(1), yesterday), today);
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_of_any_sixty_seconds_and_a_refusal_does_not_lengthen_it() {
    let limits = TenantLimits {
        rate_per_minute: Some(2),
        ..LIMITS
    };
    let (mut meter, start) = (Meter::default(), Instant::now());
    let mut submit = |seconds| {
        let now = start + Duration::from_secs(seconds);
        let reserved = meter.reserve(&limits, 0, now, 0);
        if let Ok(submit) = reserved {
            meter.give_back(submit);
        }
        reserved.map(|_| ())
    };
    assert_eq!(submit(0), Ok(()));
    assert_eq!(submit(30), Ok(()));
    assert_eq!(submit(59), Err(Limit::Rate));
    assert_eq!(submit(60), Ok(()));
    assert_eq!(submit(89), Err(Limit::Rate));
    assert_eq!(submit(90), Ok(()));
}

proptest! {
    /// Whatever comes in whatever order: no limit is passed, and what is reserved is what runs.
    #[test]
    fn no_order_of_events_overshoots(steps in proptest::collection::vec((0u8..5, 0u64..6, 1i64..4), 1..200)) {
        let limits = TenantLimits {
            daily: Some(6),
            budget_micro_usd: Some(15),
            max_tasks: Some(3),
            rate_per_minute: None,
        };
        let (mut meter, now) = (Meter::default(), Instant::now());
        let mut on_their_way = Vec::new();
        let mut alive = HashMap::new();
        for (what, id, price) in steps {
            match what {
                0 | 1 => {
                    if let Ok(submit) = meter.reserve(&limits, price, now, 0) {
                        on_their_way.push((submit, price));
                    }
                }
                2 => {
                    if let Some((submit, _)) = on_their_way.pop() {
                        meter.give_back(submit);
                    }
                }
                3 => {
                    if let Some((submit, price)) = on_their_way.pop() {
                        meter.give_to(submit, task(id), now);
                        alive.insert(id, price);
                    }
                }
                _ => {
                    if let Some(price) = alive.remove(&id) {
                        meter.end(&task(id), (price > 1).then_some(price), 0);
                    }
                }
            }
            let used = meter.used(0);
            let reserved: i64 = on_their_way.iter().map(|(_, price)| price).chain(alive.values()).sum();
            prop_assert_eq!(used.reserved_micro_usd, reserved);
            prop_assert_eq!(used.running, on_their_way.len() + alive.len());
            prop_assert!(used.running <= 3 && used.solves_today as usize + used.running <= 6);
            prop_assert!(used.spent_micro_usd + used.reserved_micro_usd <= 15);
        }
    }
}
