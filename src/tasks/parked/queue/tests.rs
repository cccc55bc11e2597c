use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::store::ParkedState;

const HOUR: Duration = Duration::from_secs(3600);
const ROOM: Room = Room {
    submits: 1000,
    bytes: 1 << 20,
};

fn record(id: i64) -> ParkedRecord {
    ParkedRecord {
        id: OwnId(id),
        profile: "captchaai".into(),
        tenant: "".into(),
        project: None,
        kind: "image".into(),
        lacks: Lack::Money,
        state: ParkedState::Waiting,
        bytes: 100,
        parked_at_ms: 0,
        used_at_ms: 0,
    }
}

fn queue(ids: std::ops::Range<i64>) -> (Queue, Instant) {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for id in ids {
        assert!(queue.add(record(id), ROOM, now));
        assert!(queue.ready(OwnId(id)));
    }
    (queue, now)
}

fn take(queue: &mut Queue, now: Instant) -> Option<i64> {
    queue
        .take(|record| &*record.profile == "captchaai", now)
        .map(|record| record.id.0)
}

#[tokio::test(start_paused = true)]
async fn one_goes_first_and_the_others_follow_when_it_was_accepted() {
    let (mut queue, now) = queue(1..200);
    assert_eq!(take(&mut queue, now), Some(1));
    assert_eq!(take(&mut queue, now), None);
    queue.end(OwnId(1), End::Accepted, now);
    let next: Vec<_> = std::iter::from_fn(|| take(&mut queue, now)).collect();
    assert_eq!(next, (2..2 + AT_ONCE as i64).collect::<Vec<_>>());
}

/// Each name may take many locks to look at.
#[tokio::test(start_paused = true)]
async fn a_tenant_is_named_once_however_many_it_has_and_until_the_last_is_gone() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let room = Room {
        submits: 10_000,
        bytes: u64::MAX,
    };
    let tenants = ["alice", "bob", "carol"];
    for (id, tenant) in (0..10_000).zip(tenants.into_iter().cycle()) {
        let tenant = tenant.into();
        let record = ParkedRecord {
            tenant,
            ..record(id)
        };
        assert!(queue.add(record, room, now));
    }
    let named = |queue: &Queue| {
        let mut all = queue.all_tenants();
        all.sort();
        all.join(" ")
    };
    assert_eq!(named(&queue), "alice bob carol");
    for id in (1..10_000).step_by(3) {
        assert_eq!(named(&queue), "alice bob carol");
        assert!(queue.cancel(OwnId(id)).is_some());
    }
    assert_eq!(named(&queue), "alice carol");
    assert_eq!(queue.due(Duration::ZERO, now).len(), 6667);
    assert_eq!(named(&queue), "");
}

#[tokio::test(start_paused = true)]
async fn what_no_key_takes_waits_at_its_place_and_the_pause_grows() {
    let (mut queue, mut now) = queue(1..3);
    for pause in [200, 400, 800, 1600, 3200, 5000, 5000] {
        assert_eq!(take(&mut queue, now), Some(1));
        queue.back(OwnId(1), now);
        let pause = Duration::from_millis(pause);
        assert_eq!(
            take(&mut queue, now + pause - Duration::from_millis(1)),
            None
        );
        now += pause;
    }
    take(&mut queue, now);
    queue.end(OwnId(1), End::Accepted, now);
    take(&mut queue, now);
    queue.back(OwnId(2), now);
    assert_eq!(take(&mut queue, now + FIRST_PAUSE), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_submit_that_is_itself_to_blame_holds_nobody_up_and_opens_nothing() {
    let (mut queue, now) = queue(1..9);
    take(&mut queue, now);
    queue.end(OwnId(1), End::Blamed, now);
    assert_eq!(take(&mut queue, now), Some(2));
    assert_eq!(take(&mut queue, now), None);
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_answers_nothing_usable_is_not_given_all_of_them() {
    let (mut queue, now) = queue(1..9);
    take(&mut queue, now);
    queue.end(OwnId(1), End::Accepted, now);
    take(&mut queue, now);
    queue.end(OwnId(2), End::Uncertain, now);
    assert_eq!(take(&mut queue, now), None);
    assert_eq!(take(&mut queue, now + FIRST_PAUSE), Some(3));
    assert_eq!(take(&mut queue, now + FIRST_PAUSE), None);
}

#[tokio::test(start_paused = true)]
async fn after_its_time_or_two_minutes_without_a_poll_it_ends_unsent_unless_it_is_on_its_way() {
    let (mut queue, start) = queue(1..4);
    take(&mut queue, start);
    let ends = |queue: &mut Queue, now| -> Vec<_> {
        let due = queue.due(HOUR, now).into_iter();
        due.map(|(row, why)| (row.record.id.0, why)).collect()
    };
    let before = start + UNPOLLED - Duration::from_millis(1);
    assert_eq!(ends(&mut queue, before), []);
    queue.polled(OwnId(2), before);
    assert_eq!(ends(&mut queue, start + UNPOLLED), [(3, Unsent::Dropped)]);
    queue.polled(OwnId(2), start + HOUR);
    assert_eq!(ends(&mut queue, start + HOUR), [(2, Unsent::Expired)]);
    assert_eq!(queue.rows().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_it_waited_before_a_restart_counts_and_its_silence_does_not() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let age = HOUR - Duration::from_secs(60);
    queue.restore(record(1), age, now);
    assert!(queue.due(HOUR, now + Duration::from_secs(59)).is_empty());
    assert_eq!(queue.due(HOUR, now + Duration::from_secs(60)).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_vendors_submits_wait_for_it_and_hold_nobody_up() {
    let (mut queue, now) = queue(2..3);
    let mut foreign = record(1);
    foreign.profile = Arc::from("2captcha");
    queue.restore(foreign, Duration::ZERO, now);
    assert_eq!(queue.lacks(|record| &*record.profile == "rucaptcha"), None);
    assert_eq!(take(&mut queue, now), Some(2));
}

#[derive(Clone, Debug)]
enum Step {
    Add,
    Take,
    Back(usize),
    End(usize, End),
    OutOfMoney,
    Poll(i64),
    Cancel(i64),
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![
        3 => Just(End::Accepted),
        1 => Just(End::Blamed),
        1 => Just(End::Uncertain)
    ];
    prop_oneof![
        4 => Just(Step::Add),
        6 => Just(Step::Take),
        1 => (0..9_usize).prop_map(Step::Back),
        4 => ((0..9_usize), end).prop_map(|(n, end)| Step::End(n, end)),
        1 => Just(Step::OutOfMoney),
        2 => (0..40_i64).prop_map(Step::Poll),
        1 => (0..40_i64).prop_map(Step::Cancel),
        2 => (1..60_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// In order, none twice, none beyond the bounds, and none for ever.
    #[test]
    fn whatever_happens_the_rules_hold(steps in prop::collection::vec(any_step(), 1..200)) {
        let room = Room { submits: 20, bytes: 1500 };
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        let (mut given, mut waiting, mut sending) = (0, BTreeSet::new(), Vec::new());
        let mut proven = false;
        for step in steps {
            match step {
                Step::Add => {
                    given += 1;
                    let fits = waiting.len() + sending.len() < 15;
                    prop_assert_eq!(queue.add(record(given), room, now), fits);
                    if fits {
                        prop_assert!(queue.ready(OwnId(given)));
                        waiting.insert(given);
                    }
                }
                Step::Take => if let Some(id) = take(&mut queue, now) {
                    prop_assert_eq!(waiting.pop_first(), Some(id), "not the first");
                    sending.push(id);
                    prop_assert!(proven || sending.len() == 1, "a crowd without a proof of money");
                }
                Step::Back(n) if !sending.is_empty() => {
                    let id = sending.remove(n % sending.len());
                    queue.back(OwnId(id), now);
                    waiting.insert(id);
                    proven = false;
                }
                Step::End(n, end) if !sending.is_empty() => {
                    let id = sending.remove(n % sending.len());
                    prop_assert!(queue.end(OwnId(id), end, now).is_some());
                    proven = end == End::Accepted || proven && end == End::Blamed;
                }
                Step::Back(_) | Step::End(..) => {}
                Step::OutOfMoney => {
                    queue.out_of_money();
                    proven = false;
                }
                Step::Poll(id) => {
                    let is_here = waiting.contains(&id) || sending.contains(&id);
                    prop_assert_eq!(queue.record(OwnId(id)).is_some(), is_here);
                    queue.polled(OwnId(id), now);
                }
                Step::Cancel(id) => {
                    prop_assert_eq!(queue.cancel(OwnId(id)).is_some(), waiting.remove(&id));
                }
                Step::Wait(ms) => now += Duration::from_millis(ms),
            }
            for (row, _) in queue.due(HOUR, now) {
                prop_assert!(waiting.remove(&row.record.id.0), "one on its way was ended");
            }
            let here = waiting.len() + sending.len();
            prop_assert_eq!(queue.rows().len(), here);
            prop_assert_eq!(queue.bytes, 100 * here as u64);
            prop_assert_eq!(queue.sending, sending.len());
        }
        // Never stuck: when all that are on their way have ended, the next goes after the longest pause.
        for id in sending {
            queue.end(OwnId(id), End::Uncertain, now);
        }
        let first = waiting.first().copied();
        prop_assert_eq!(take(&mut queue, now + LONGEST_PAUSE), first);
    }
}
