use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::config::settings::UnknownTask;

const PACE: Duration = Duration::from_secs(2);

fn rules() -> Rules {
    Rules {
        pace: PACE,
        first: Duration::ZERO,
        hide_outage: Duration::from_secs(60),
        unknown_task: UnknownTask::Refuse,
        keep: Duration::from_secs(3600),
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const TEXT: View = View {
    action: Action::Get,
    json: false,
    header_acao: false,
};
const JSON: View = View { json: true, ..TEXT };

fn relay(text: &'static str) -> Relay {
    Relay {
        body: Bytes::from_static(text.as_bytes()),
        content_type: None,
        allow_origin: None,
    }
}

/// A task, its vendor and its client, with the clock in the test's hand.
struct World {
    course: Course,
    rules: Rules,
    start: Instant,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            course: Course::new(start, start, start, false),
            rules: rules(),
            start,
        }
    }

    fn poll(&mut self, view: View, at: u64) -> (Poll, Step) {
        let now = self.start + ms(at);
        let poll = self.course.arrive(&self.rules, now);
        (poll, self.course.step(view, poll, &self.rules, now))
    }

    /// A poll that must be asked for, and what the vendor says to it at once.
    fn ask(&mut self, view: View, at: u64, news: News) {
        let (_, step) = self.poll(view, at);
        assert!(matches!(step, Step::Ask(_)), "{step:?} at {at}");
        self.course.land(view);
        self.course.hear(news, self.start + ms(at));
    }
}

#[test]
fn a_task_that_is_polled_often_is_asked_for_once_a_pace() {
    let mut world = World::new();
    world.ask(TEXT, 0, News::NotReady);
    for (at, view) in [(1000, TEXT), (1001, JSON), (1999, TEXT)] {
        let (_, step) = world.poll(view, at);
        assert!(matches!(step, Step::Say(Word::NotReady)), "{step:?}");
    }
    world.ask(TEXT, 2000, News::NotReady);
}

#[test]
fn a_slow_poll_waits_for_the_pace_to_end_unless_the_vendor_speaks_meanwhile() {
    let mut world = World::new();
    world.ask(TEXT, 0, News::NotReady);
    world.ask(TEXT, 5000, News::NotReady);
    // Somebody else's call in between.
    let now = world.start + ms(9000);
    world.course.hear(News::NotReady, now);
    let (poll, step) = world.poll(TEXT, 10_000);
    assert!(
        matches!(step, Step::Wait(until) if until == now + PACE),
        "{step:?}"
    );
    let step = world.course.step(TEXT, poll, &world.rules, now + PACE);
    assert!(matches!(step, Step::Ask(_)), "{step:?}");
    world.course.land(TEXT);

    let (poll, step) = world.poll(TEXT, 20_000);
    assert!(matches!(step, Step::Ask(_)), "{step:?}");
    world.course.land(TEXT);
    world.course.hear(News::NotReady, world.start + ms(20_500));
    let later = world.start + ms(20_501);
    let step = world.course.step(TEXT, poll, &world.rules, later);
    assert!(matches!(step, Step::Say(Word::NotReady)), "{step:?}");
}

#[test]
fn polls_at_the_same_time_are_one_call_for_each_view() {
    let mut world = World::new();
    let (_, first) = world.poll(TEXT, 0);
    assert!(matches!(first, Step::Ask(_)));
    assert!(matches!(world.poll(TEXT, 1).1, Step::Join(_)));
    assert!(matches!(world.poll(JSON, 1).1, Step::Ask(_)));
    assert!(matches!(world.poll(JSON, 2).1, Step::Join(_)));
}

#[test]
fn a_final_answer_is_repeated_in_its_own_view_and_a_final_code_in_any() {
    let mut world = World::new();
    world.course.keep(TEXT, relay("OK|A"));
    assert!(world.course.hear(News::Final(None), world.start));
    assert!(!world.course.hear(News::Final(None), world.start), "once");
    let (_, step) = world.poll(TEXT, 1);
    assert!(matches!(step, Step::Kept(Heard::Relay(kept)) if kept == relay("OK|A")));
    // A straggler's not-ready changes nothing.
    world.course.hear(News::NotReady, world.start + ms(2));
    assert!(matches!(world.poll(TEXT, 3).1, Step::Kept(_)));
    assert!(matches!(world.poll(JSON, 4).1, Step::Ask(_)));

    let mut world = World::new();
    let code: Arc<str> = "ERROR_CAPTCHA_UNSOLVABLE".into();
    world.course.keep(JSON, relay("{}"));
    world
        .course
        .hear(News::Final(Some(Arc::clone(&code))), world.start);
    let (_, step) = world.poll(TEXT, 1);
    assert!(matches!(step, Step::Kept(Heard::Word(Word::Code(kept))) if kept == code));
    assert!(matches!(world.poll(JSON, 1).1, Step::Kept(Heard::Relay(_))));
}

#[test]
fn a_young_task_is_not_ready_without_asking() {
    let mut world = World::new();
    world.rules.first = ms(5000);
    for at in [0, 4999] {
        let (_, step) = world.poll(TEXT, at);
        assert!(matches!(step, Step::Say(Word::NotReady)), "{step:?}");
    }
    assert!(matches!(world.poll(TEXT, 5000).1, Step::Ask(_)));
}

#[test]
fn what_nobody_polls_is_followed_until_its_lease_is_over() {
    let between = ms(10_000);
    let mut world = World::new();
    let at = |world: &World, seconds: u64| world.start + ms(1000 * seconds);
    let follow = |world: &World, seconds| world.course.follow_up(between, at(world, seconds));
    world.ask(TEXT, 1000, News::NotReady);
    assert_eq!(follow(&world, 30), FollowUp::No, "polled 29 s ago");
    assert_eq!(follow(&world, 31), FollowUp::Ask(Some(at(&world, 1))));
    world.course.hear(News::NotReady, at(&world, 31));
    assert_eq!(follow(&world, 40), FollowUp::No, "asked 9 s ago");
    assert_eq!(follow(&world, 41), FollowUp::Ask(Some(at(&world, 31))));
    world.course.hear(News::Trouble, at(&world, 41));
    assert_ne!(follow(&world, 330), FollowUp::End, "300 s from not-ready");
    assert_eq!(follow(&world, 331), FollowUp::End);
    world.course.hear(News::NotReady, at(&world, 1800));
    assert_eq!(follow(&world, 1801), FollowUp::End, "not for ever");
}

/// When a client that polls `every` so often hears of a solution, and after how many calls, each of which takes `rtt`.
fn heard_at(world: &mut World, every: u64, phase: u64, ready: u64, rtt: u64) -> (u64, u64) {
    let mut asked = 0;
    let mut at = phase;
    loop {
        let (poll, mut step) = world.poll(TEXT, at);
        let mut now = at;
        if let Step::Wait(until) = step {
            now = u64::try_from(until.duration_since(world.start).as_millis()).unwrap();
            step = world.course.step(TEXT, poll, &world.rules, until);
        }
        match step {
            Step::Say(word) => assert_eq!(word, Word::NotReady),
            Step::Ask(_) => {
                asked += 1;
                world.course.land(TEXT);
                if now >= ready {
                    return (now + rtt, asked);
                }
                now += rtt;
                world.course.hear(News::NotReady, world.start + ms(now));
            }
            other => panic!("{other:?}"),
        }
        at = (at + every).max(now);
    }
}

proptest! {
    #[test]
    fn nobody_hears_more_than_a_pace_late_and_slow_pollers_never_do(
        every in 50..8000_u64,
        phase in 0..8000_u64,
        ready in 0..30_000_u64,
        rtt in 0..500_u64,
    ) {
        // Without Sidekey: the first poll that the solution was there for.
        let direct = phase + ready.saturating_sub(phase).div_ceil(every) * every + rtt;
        let (heard, asked) = heard_at(&mut World::new(), every, phase, ready, rtt);
        let pace = 2000;
        if every > pace + rtt {
            prop_assert!(heard <= direct, "{heard} and directly {direct}");
        }
        // The last call may have been answered just before, and the first poll after its pace comes `every` later.
        prop_assert!(heard <= direct + pace + rtt + every, "{heard} and directly {direct}");
        prop_assert!(asked <= (heard - phase) / pace + 2);
    }

    #[test]
    fn whatever_happens_there_is_one_call_a_view_and_no_poll_is_stuck(
        events in prop::collection::vec((0..9_u8, 0..3000_u64), 1..200),
    ) {
        let mut world = World::new();
        let mut at = 0;
        let mut flying: Vec<(View, watch::Sender<Option<Heard>>)> = Vec::new();
        let mut spoke: Option<u64> = None;
        let mut kept = false;
        for (event, after) in events {
            at += after;
            let now = world.start + ms(at);
            match event {
                0..=4 => {
                    let view = if event % 2 == 0 { TEXT } else { JSON };
                    let (poll, step) = world.poll(view, at);
                    let flies = flying.iter().any(|(out, _)| *out == view);
                    match step {
                        Step::Ask(pilot) => {
                            prop_assert!(!flies);
                            prop_assert!(spoke.is_none_or(|spoke| at >= spoke + 2000));
                            flying.push((view, pilot));
                        }
                        Step::Join(_) => prop_assert!(flies),
                        Step::Say(_) => prop_assert!(poll.often && at < spoke.unwrap() + 2000),
                        Step::Wait(until) => {
                            prop_assert!(!poll.often && until > now && until <= now + PACE);
                            let step = world.course.step(view, poll, &world.rules, until);
                            prop_assert!(!matches!(step, Step::Wait(_) | Step::Say(_)));
                            if let Step::Ask(pilot) = step {
                                flying.push((view, pilot));
                            }
                        }
                        Step::Kept(_) => prop_assert!(kept && view == TEXT),
                    }
                }
                // Its client left.
                5 => {
                    if let Some((view, _)) = flying.pop() {
                        world.course.land(view);
                    }
                }
                6..=7 => {
                    if let Some((view, _)) = flying.pop() {
                        world.course.land(view);
                        let news = if event == 6 { News::NotReady } else { News::Trouble };
                        world.course.hear(news, now);
                        spoke = (!kept).then_some(at);
                    }
                }
                _ => {
                    if flying.iter().any(|(view, _)| *view == TEXT) {
                        flying.retain(|(view, _)| *view != TEXT);
                        world.course.land(TEXT);
                        world.course.keep(TEXT, relay("OK|A"));
                        world.course.hear(News::Final(None), now);
                        (kept, spoke) = (true, None);
                    }
                }
            }
        }
    }
}
