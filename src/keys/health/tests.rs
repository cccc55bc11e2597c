use proptest::prelude::*;

use super::*;

fn rule(class: Class, seconds: u64) -> CodeRule {
    CodeRule {
        class,
        cooldown: Duration::from_secs(seconds),
        polls: false,
    }
}

fn bad() -> (String, CodeRule) {
    (
        "ERROR_KEY_DOES_NOT_EXIST".to_owned(),
        rule(Class::KeyBad, 60),
    )
}

fn refused(code: &str, rule: CodeRule) -> Evidence {
    Evidence::Refused {
        code: code.to_owned(),
        rule,
    }
}

fn healthy(now: Instant) -> Health {
    let mut health = Health::new(now);
    health.accepted(Accepted::Submit, now, now);
    health
}

fn blame(health: &mut Health, class: Class, seconds: u64, now: Instant) {
    health.refused("CODE", rule(class, seconds), None, now, 0.0);
}

#[tokio::test(start_paused = true)]
async fn an_unproven_key_is_probed_at_once_and_gets_no_submit_before() {
    let now = Instant::now();
    let mut health = Health::new(now);
    assert!(health.wants_probe(now) && !health.may_submit(now));
    assert!(health.begin_probe());
    health.end_probe(Evidence::Passed, now, 0.0);
    assert!(health.may_submit(now) && health.is_proven());
}

#[tokio::test(start_paused = true)]
async fn a_busy_key_cools_and_is_healthy_again_by_itself() {
    let now = Instant::now();
    let mut health = healthy(now);
    blame(&mut health, Class::KeyBusy, 5, now);
    assert!(!health.may_submit(now));
    assert_eq!(health.cools_until(now), Some(now + Duration::from_secs(5)));
    assert!(health.may_submit(now + Duration::from_secs(5)));
}

#[tokio::test(start_paused = true)]
async fn repeated_refusals_double_the_rest_and_an_accepted_submit_ends_that() {
    let mut now = Instant::now();
    let mut health = healthy(now);
    for expected in [1, 2, 4, 8] {
        blame(&mut health, Class::KeyBusy, 1, now);
        let until = health.cools_until(now).unwrap();
        assert_eq!(until, now + Duration::from_secs(expected));
        now = until;
    }
    health.accepted(Accepted::Submit, now, now);
    blame(&mut health, Class::KeyBusy, 1, now);
    assert_eq!(health.cools_until(now), Some(now + Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn refusals_of_calls_that_were_under_way_together_count_once() {
    let now = Instant::now();
    let mut health = healthy(now);
    for _ in 0..50 {
        blame(&mut health, Class::KeyBusy, 1, now);
    }
    assert_eq!(health.cools_until(now), Some(now + Duration::from_secs(1)));
    let mut health = healthy(now);
    for _ in 0..50 {
        blame(&mut health, Class::KeyEmpty, 60, now);
    }
    assert_eq!(health.next_change(now), Some(now + SHORTEST_EMPTY));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_an_earlier_call_does_not_refute_a_later_accusation() {
    let sent = Instant::now();
    let now = sent + Duration::from_secs(1);
    let mut health = healthy(sent);
    blame(&mut health, Class::KeyBad, 60, now);
    health.accepted(Accepted::Other, sent, now);
    assert_eq!(health.condition(now), Condition::Suspect);
    health.accepted(Accepted::Other, now, now);
    assert_eq!(health.condition(now), Condition::Healthy);
}

#[tokio::test(start_paused = true)]
async fn an_answered_poll_does_not_end_cooling_or_empty() {
    let now = Instant::now();
    for class in [Class::KeyBusy, Class::KeyEmpty] {
        let mut health = healthy(now);
        blame(&mut health, class, 5, now);
        health.accepted(Accepted::Other, now, now);
        assert!(!health.may_submit(now));
        health.accepted(Accepted::Submit, now, now);
        assert!(health.may_submit(now));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_called_bad_by_a_clients_call_is_suspect_and_only_our_probe_revokes_it() {
    let now = Instant::now();
    let mut health = healthy(now);
    blame(&mut health, Class::KeyBad, 60, now);
    assert_eq!(health.condition(now), Condition::Suspect);
    assert!(health.wants_probe(now) && health.is_called_bad(now));
    assert!(health.begin_probe());
    let (code, rule) = bad();
    health.end_probe(refused(&code, rule), now, 0.0);
    assert_eq!(health.condition(now), Condition::Revoked);
    assert!(!health.is_proven());
    assert_eq!(health.next_change(now), Some(now + REVOKED));
}

#[tokio::test(start_paused = true)]
async fn a_suspect_key_that_passes_is_healthy_and_a_second_accusation_cools_it_for_long() {
    let now = Instant::now();
    let mut health = healthy(now);
    blame(&mut health, Class::KeyBad, 60, now);
    health.begin_probe();
    health.end_probe(Evidence::Passed, now, 0.0);
    assert!(health.may_submit(now));
    blame(&mut health, Class::KeyBad, 60, now);
    assert_eq!(health.cools_until(now), Some(now + DOUBTED));
    assert!(!health.wants_probe(now));
}

#[tokio::test(start_paused = true)]
async fn an_accepted_submit_ends_the_doubt() {
    let now = Instant::now();
    let mut health = healthy(now);
    blame(&mut health, Class::KeyBad, 60, now);
    health.begin_probe();
    health.end_probe(Evidence::Passed, now, 0.0);
    health.accepted(Accepted::Submit, now, now);
    blame(&mut health, Class::KeyBad, 60, now);
    assert_eq!(health.condition(now), Condition::Suspect);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_is_probed_ever_more_seldom_and_comes_back_when_the_account_is_renewed() {
    let mut now = Instant::now();
    let mut health = Health::new(now);
    let (code, rule) = bad();
    for expected in [600, 1200, 2400, 3600, 3600] {
        assert!(health.wants_probe(now));
        health.begin_probe();
        health.end_probe(refused(&code, rule), now, 0.0);
        assert_eq!(
            health.next_change(now),
            Some(now + Duration::from_secs(expected))
        );
        now += Duration::from_secs(expected);
    }
    health.begin_probe();
    health.end_probe(Evidence::Passed, now, 0.0);
    assert!(health.may_submit(now));
}

#[tokio::test(start_paused = true)]
async fn an_empty_key_rests_a_minute_at_least_and_then_a_probe_decides() {
    let now = Instant::now();
    let mut health = healthy(now);
    blame(&mut health, Class::KeyEmpty, 1, now);
    let minute = now + SHORTEST_EMPTY;
    assert!(!health.wants_probe(minute - Duration::from_millis(1)));
    assert!(health.wants_probe(minute) && !health.may_submit(minute));
    health.begin_probe();
    health.end_probe(Evidence::Passed, minute, 0.0);
    assert!(health.may_submit(minute));
}

#[tokio::test(start_paused = true)]
async fn disabled_by_hand_lies_over_everything_and_enabled_again_it_goes_on() {
    let now = Instant::now();
    let mut health = healthy(now);
    health.disable(now);
    assert!(!health.may_submit(now) && !health.wants_probe(now));
    assert_eq!(health.describe(now).state, State::Disabled);
    health.enable(now);
    assert!(health.may_submit(now) && !health.wants_probe(now));
    blame(&mut health, Class::KeyEmpty, 1, now);
    health.disable(now);
    assert!(!health.wants_probe(now + SHORTEST_EMPTY));
    health.enable(now);
    assert!(health.wants_probe(now), "what was not healthy is probed");
}

#[tokio::test(start_paused = true)]
async fn a_suspect_that_is_disabled_is_probed_because_its_tasks_wait_for_it() {
    let now = Instant::now();
    let mut health = healthy(now);
    blame(&mut health, Class::KeyBad, 60, now);
    health.disable(now);
    assert!(health.wants_probe(now));
    health.begin_probe();
    health.end_probe(Evidence::Passed, now, 0.0);
    assert!(!health.is_called_bad(now) && !health.may_submit(now));
}

#[tokio::test(start_paused = true)]
async fn a_probe_asked_for_by_hand_leaves_a_healthy_key_at_work() {
    let now = Instant::now();
    let mut health = healthy(now);
    health.ask_for_probe();
    assert!(health.may_submit(now) && health.wants_probe(now));
    assert!(health.begin_probe() && !health.wants_probe(now));
    health.end_probe(Evidence::Nothing, now, 0.0);
    assert!(health.may_submit(now) && !health.awaits_probe());
    assert_eq!(health.describe(now).probed, Some((now, Evidence::Nothing)));
}

#[tokio::test(start_paused = true)]
async fn a_probe_asked_for_by_hand_ends_no_rest_that_the_vendor_demands() {
    let now = Instant::now();
    let mut cooling = healthy(now);
    blame(&mut cooling, Class::KeyBusy, 30, now);
    let mut empty = healthy(now);
    blame(&mut empty, Class::KeyEmpty, 600, now);
    for health in [&mut cooling, &mut empty] {
        let until = health.describe(now).until.unwrap();
        health.ask_for_probe();
        health.begin_probe();
        health.end_probe(Evidence::Passed, now, 0.0);
        assert!(!health.may_submit(now));
        assert!(health.describe(now).until.unwrap() <= until);
    }
    // There is money again, so the minute that the vendor asks for is enough.
    assert!(empty.wants_probe(now + SHORTEST_EMPTY));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_network_errors_during_probes_revokes_nothing() {
    let mut now = Instant::now();
    let mut health = healthy(now);
    blame(&mut health, Class::KeyBad, 60, now);
    for _ in 0..20 {
        health.begin_probe();
        health.end_probe(Evidence::Nothing, now, 0.5);
        assert_eq!(health.condition(now), Condition::Suspect);
        now = health.next_change(now).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Refused(Class, u64),
    Accepted(Accepted),
    BeginProbe,
    EndProbe(Evidence),
    Disable,
    Enable,
    ProbeNow,
    Wait(u64),
}

fn class() -> impl Strategy<Value = Class> {
    proptest::sample::select(vec![
        Class::KeyBad,
        Class::KeyEmpty,
        Class::KeyBusy,
        Class::EgressIp,
        Class::Request,
        Class::NoTask,
        Class::Task,
        Class::Server,
    ])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (class(), 0_u64..700).prop_map(|(class, seconds)| Step::Refused(class, seconds)),
        proptest::sample::select(vec![Accepted::Submit, Accepted::Other]).prop_map(Step::Accepted),
        Just(Step::BeginProbe),
        prop_oneof![
            Just(Evidence::Passed),
            Just(Evidence::Nothing),
            (class(), 0_u64..700)
                .prop_map(|(class, seconds)| refused("CODE", rule(class, seconds))),
        ]
        .prop_map(Step::EndProbe),
        Just(Step::Disable),
        Just(Step::Enable),
        Just(Step::ProbeNow),
        (0_u64..4000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn never_stuck_and_never_two_probes(steps in proptest::collection::vec(step(), 0..80), chance in 0.0..1.0) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let mut now = runtime.block_on(async { Instant::now() });
        let mut health = Health::new(now);
        let mut probing = false;
        for step in steps {
            match step {
                Step::Refused(class, seconds) => health.refused("CODE", rule(class, seconds), None, now, chance),
                Step::Accepted(what) => health.accepted(what, now, now),
                Step::BeginProbe if health.wants_probe(now) => {
                    prop_assert!(!probing, "two probes at once");
                    prop_assert!(health.begin_probe());
                    probing = true;
                }
                Step::EndProbe(evidence) if probing => {
                    health.end_probe(evidence, now, chance);
                    probing = false;
                }
                Step::BeginProbe | Step::EndProbe(_) => {}
                Step::Disable => health.disable(now),
                Step::Enable => health.enable(now),
                Step::ProbeNow => health.ask_for_probe(),
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            // Whatever it is now: it may submit, or has a probe due or under way, or says when one of both will be so.
            if health.is_disabled() || probing {
                continue;
            }
            let later = health.next_change(now).unwrap_or(now);
            prop_assert!(later <= now + Duration::from_secs(4000), "{health:?}");
            prop_assert!(health.may_submit(later) || health.wants_probe(later), "{health:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn polls_rest_as_long_as_the_vendor_says_whatever_the_key_does_meanwhile() {
    let now = Instant::now();
    let mut health = Health::known_good(now);
    let busy = rule(Class::KeyBusy, 300);
    health.refused("ERROR: 1001", busy, None, now, 0.0);
    assert_eq!(health.polls_rest_until(now), None);
    let polls = CodeRule {
        polls: true,
        ..busy
    };
    let minutes = |n: u64| now + Duration::from_secs(60 * n);
    health.refused("ERROR: 1005", polls, None, now, 0.0);
    assert_eq!(health.polls_rest_until(now), Some(minutes(5)));
    health.refused("HTTP 429", polls, Some(Duration::from_secs(60)), now, 0.0);
    assert_eq!(health.polls_rest_until(now), Some(minutes(5)), "shortened");
    health.refused("HTTP 429", polls, Some(Duration::from_secs(600)), now, 0.0);
    health.accepted(Accepted::Submit, now, now);
    assert_eq!(health.polls_rest_until(now), Some(minutes(10)));
    assert_eq!(health.polls_rest_until(minutes(10)), None);
    let (code, rule) = ("ERROR: 1005".to_owned(), polls);
    health.end_probe(Evidence::Refused { code, rule }, minutes(10), 0.0);
    assert_eq!(health.polls_rest_until(minutes(10)), Some(minutes(15)));
}
