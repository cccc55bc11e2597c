//! What polls cost the vendor, and that clients hear the same, hardly later, in the same shape.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sidekey::sandbox::{Dialect, Fault, FaultRule, RecordedCall};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, pause, resume, sleep};

use crate::support::http::Connection;
use crate::support::{PLACEHOLDER, World, name, until, vendor};

const NOT_READY: &str = "CAPCHA_NOT_READY";
/// Longer than a client may be silent before Sidekey takes over.
const SILENCE: Duration = Duration::from_secs(31);

#[tokio::test]
async fn a_hundred_polls_at_once_are_one_call() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    let id = world.submit().await;
    let slow = FaultRule::new(Fault::Decorate {
        before: String::new(),
        after: String::new(),
    });
    world
        .sandbox
        .set_fault(slow.endpoint("res.php").delay_ms(500))
        .unwrap();
    let target = format!("/res.php?key={PLACEHOLDER}&action=get&json=1&id={id}");
    let mut clients = JoinSet::new();
    for _ in 0..100 {
        let (address, target) = (world.http(), target.clone());
        clients.spawn(async move {
            let mut connection = Connection::open(address).await.unwrap();
            connection.get(&target).await.unwrap()
        });
    }
    let answers = clients.join_all().await;
    assert_eq!(
        answers[0].body,
        format!(r#"{{"status":1,"request":"solved-{id}"}}"#)
    );
    // Not the heads: their dates may be a second apart.
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (200, &answers[0].body));
    }
    assert_eq!(polls(&world).len(), 1);
    world.end().await;
}

#[tokio::test]
async fn every_shape_survives_and_is_repeated_without_a_call() {
    let shapes = [
        r#"{"status":1,"result":"TOKEN-{id}","user_agent":"Mozilla/5.0"}"#,
        r#"{"status":1,"request":{"a":[1,2.50,"x|y"]},"extra":null}"#,
        r#"{"challenge":"c","validate":"v","seccode":"v|jordan"}"#,
        r#"{"status": 1, "request" : [ {"x":"49","y":"235"} ] }"#,
    ];
    for dialect in [Dialect::Captchaai, Dialect::Twocaptcha] {
        let mut config = vendor(dialect, 1);
        config.accounts[0].price_micros = 850;
        let world = World::start(config, "poll.pace = \"100ms\"").await;
        for shape in shapes {
            world
                .sandbox
                .change_account(&name(1), |account| {
                    account.answer_json = Some(shape.to_owned())
                })
                .unwrap();
            // Others at the same time, so that the first polls travel together.
            let ids = [
                world.submit().await,
                world.submit().await,
                world.submit().await,
            ];
            let get = async |id: &str| world.poll(&format!("{id}&json=1")).await;
            let (a, b, c) = tokio::join!(get(&ids[0]), get(&ids[1]), get(&ids[2]));
            for (id, answer) in ids.iter().zip([a, b, c]) {
                assert_eq!(answer, shape.replace("{id}", id), "{dialect:?}");
                let before = world.sandbox.counts().calls;
                assert_eq!(get(id).await, answer);
                assert_eq!(world.sandbox.counts().calls, before, "it was asked again");
                // Another format is another answer of the vendor's.
                let text = world.poll(id).await;
                assert_eq!(world.sandbox.counts().calls, before + 1);
                assert_eq!(text, format!("OK|solved-{id}"));
            }
        }
        let id = world.submit().await;
        let get2 = format!("/res.php?key={{}}&action=get2&id={id}");
        let priced = format!("OK|solved-{id}|0.00085");
        assert_eq!(world.poll(&id).await, format!("OK|solved-{id}"));
        assert_eq!(world.get(&get2).await, priced);
        assert_eq!(world.get(&get2).await, priced);
        assert!(
            world
                .metric("sidekey_polls_answered_total{from=\"kept\"}")
                .await
                >= 13.0
        );
        world.end().await;
    }
}

#[tokio::test]
async fn first_polls_wait_for_each_other() {
    // They wait for a quarter of it: far longer than all of them take to come, also on a slow machine.
    let world = World::start(vendor(Dialect::Twocaptcha, 1), "poll.pace = \"10s\"").await;
    world.sandbox.set_solve_time(&name(1), 60_000).unwrap();
    let ids = join_all((0..10).map(|_| world.submit())).await;
    // Longer apart than polls that are due wait.
    let polls = (0..).zip(&ids).map(async |(n, id)| {
        sleep(Duration::from_millis(40) * n).await;
        world.poll(id).await
    });
    let answers = join_all(polls).await;
    assert!(answers.iter().all(|answer| answer == NOT_READY));
    // The first one was alone when it came.
    assert_eq!(asked(&world).len(), 2, "{:?}", asked(&world));
    world.end().await;
}

#[tokio::test]
async fn a_slow_poller_among_fast_ones_never_hears_late() {
    let world = World::start(
        vendor(Dialect::Twocaptcha, 1),
        "poll.pace = \"200ms\"\npoll.unknown_task = \"refuse\"",
    )
    .await;
    world.sandbox.set_solve_time(&name(1), 60_000).unwrap();
    let fast: Vec<String> = [world.submit().await, world.submit().await].into();
    world.sandbox.set_solve_time(&name(1), 1700).unwrap();
    let slow = world.submit().await;
    // At the latest, however long the submit took.
    let ready = Instant::now() + Duration::from_millis(1700);
    let impatient = async {
        loop {
            for id in &fast {
                assert_eq!(world.poll(id).await, NOT_READY);
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let patient = async {
        loop {
            sleep(Duration::from_millis(500)).await;
            let sent = Instant::now();
            let answer = world.poll(&slow).await;
            if answer != NOT_READY {
                return;
            }
            // A moment for the way to the vendor, where "ready" is decided.
            assert!(sent < ready + Duration::from_millis(50), "heard late");
        }
    };
    tokio::select! {
        () = impatient => {}
        () = patient => {}
    }
    let together: BTreeSet<String> = asked(&world)
        .into_iter()
        .filter(|ids| ids.contains(','))
        .collect();
    assert!(!together.is_empty(), "nothing travelled together");
    world.end().await;
}

#[tokio::test]
async fn an_answer_with_the_separator_in_it_is_asked_for_by_itself() {
    let mut config = vendor(Dialect::Twocaptcha, 1);
    config.accounts[0].answer = Some("a|b|c".to_owned());
    let world = World::start(config, "poll.pace = \"100ms\"").await;
    world.sandbox.set_solve_time(&name(1), 300).unwrap();
    let ids = [
        world.submit().await,
        world.submit().await,
        world.submit().await,
    ];
    for id in &ids {
        until("it is solved", async || world.poll(id).await == "OK|a|b|c").await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_joined_poll_is_answered_from_memory_too() {
    for dialect in [Dialect::Twocaptcha, Dialect::Captchaai] {
        let world = World::start(vendor(dialect, 2), "poll.pace = \"10s\"").await;
        let solved = [world.submit().await, world.submit().await];
        world.sandbox.set_solve_time(&name(1), 60_000).unwrap();
        world.sandbox.set_solve_time(&name(2), 60_000).unwrap();
        let running = [world.submit().await, world.submit().await];
        let ids = format!(
            "{},{},{},{},0",
            running[0], solved[0], running[1], solved[1]
        );
        let target = format!("/res.php?key={{}}&action=get&ids={ids}");
        let expected = format!(
            "{NOT_READY}|solved-{}|{NOT_READY}|solved-{}|ERROR_WRONG_CAPTCHA_ID",
            solved[0], solved[1]
        );
        assert_eq!(world.get(&target).await, expected);
        let before = world.sandbox.counts().calls;
        assert_eq!(world.get(&target).await, expected);
        assert_eq!(world.sandbox.counts().calls, before);
        world.end().await;
    }
}

#[tokio::test]
async fn a_joined_poll_that_meets_trouble_is_one_call() {
    let config = "poll.pace = \"0s\"";
    let world = World::start(vendor(Dialect::Twocaptcha, 1), config).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.submit().await);
    }
    let target = format!("/res.php?key={{}}&action=get&ids={}", ids.join(","));
    let page = Fault::Html { status: 503 };
    let rule = FaultRule::new(page).action("get").times(1);
    world.sandbox.set_fault(rule).unwrap();
    assert_eq!(world.get(&target).await, [NOT_READY; 5].join("|"));
    assert_eq!(polls(&world).len(), 1);
    let solved = ids.iter().map(|id| format!("solved-{id}"));
    assert_eq!(
        world.get(&target).await,
        solved.collect::<Vec<_>>().join("|")
    );
    assert_eq!(polls(&world).len(), 2);
    world.end().await;
}

#[tokio::test]
async fn young_tasks_are_not_asked_about() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "poll.first = \"300ms\"").await;
    let id = world.submit().await;
    assert_eq!(world.poll(&id).await, NOT_READY);
    assert!(polls(&world).is_empty());
    until("it is old enough", async || {
        world.poll(&id).await != NOT_READY
    })
    .await;
    assert_eq!(polls(&world).len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_does_not_take_the_answer_with_it() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    let id = world.submit().await;
    let slow = FaultRule::new(Fault::Decorate {
        before: String::new(),
        after: String::new(),
    });
    world
        .sandbox
        .set_fault(slow.endpoint("res.php").delay_ms(60_000).times(1))
        .unwrap();
    let target = format!("/res.php?key={PLACEHOLDER}&action=get&id={id}");
    let mut leaves = Connection::open(world.http()).await.unwrap();
    leaves.write("GET", &target, "", "").await.unwrap();
    until("the vendor is asked", async || polls(&world).len() == 1).await;
    let mut stays = Connection::open(world.http()).await.unwrap();
    stays.write("GET", &target, "", "").await.unwrap();
    drop(leaves);
    // The second one's own poll, which finds the first one gone.
    let answer = stays.get(&target);
    let answer = answer.await.unwrap();
    assert_eq!(answer.body, format!("OK|solved-{id}"));
    assert_eq!(polls(&world).len(), 2);
    world.end().await;
}

#[tokio::test]
async fn tasks_that_nobody_polls_are_followed_to_their_end_also_after_a_restart() {
    for dialect in [Dialect::Twocaptcha, Dialect::Captchaai] {
        let mut world = World::start(vendor(dialect, 1), "").await;
        let ended = |world: &World| world.stored::<i64>("SELECT count(*) FROM tasks WHERE final");
        for restart in [false, true] {
            for _ in 0..3 {
                world.submit().await;
            }
            if restart {
                world.stop().await;
                world.start_again().await;
                until("the last run's tasks are known", async || {
                    world.running().server.tasks.in_memory() == (3, 0)
                })
                .await;
            }
            assert_eq!(ended(&world), if restart { 3 } else { 0 });
            silence(SILENCE).await;
            let all = if restart { 6 } else { 3 };
            let what = format!("{dialect:?}, after a restart: {restart}");
            until(&what, async || ended(&world) == all).await;
        }
        let timed = world.metric("sidekey_solve_seconds_count").await;
        assert_eq!(timed, 0.0, "they were heard of late");
        let together = asked(&world).iter().filter(|ids| ids.contains(',')).count();
        assert_eq!(together > 0, dialect == Dialect::Twocaptcha);
        world.end().await;
    }
}

#[tokio::test]
async fn a_task_that_the_vendor_says_nothing_of_ends_with_its_lease() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    world.submit().await;
    let broken = FaultRule::new(Fault::Empty).endpoint("res.php");
    world.sandbox.set_fault(broken).unwrap();
    silence(SILENCE).await;
    until("it is followed", async || polls(&world).len() == 1).await;
    assert_eq!(world.stored::<i64>("SELECT final FROM tasks"), 0);
    silence(Duration::from_secs(300)).await;
    until("its lease is over", async || {
        world.stored::<i64>("SELECT count(*) FROM usage WHERE ended = 'expired'") == 1
    })
    .await;
    // An answer that comes after all still counts, also after a restart.
    assert_eq!(world.stored::<i64>("SELECT final FROM tasks"), 0);
    world.sandbox.clear_faults();
    let id: String = world.stored("SELECT id FROM tasks");
    assert!(world.poll(&id).await.starts_with("OK|"));
    world.running().server.store.flush().await.unwrap();
    assert_eq!(world.stored::<String>("SELECT ended FROM usage"), "solved");
    world.end().await;
}

/// Time that passes without anybody doing anything.
async fn silence(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

fn polls(world: &World) -> Vec<Arc<RecordedCall>> {
    let calls = world.sandbox.record().calls;
    let polls = calls.into_iter().filter(|call| call.action == "get");
    polls.collect()
}

/// What polls asked for, `ids=` as it was written.
fn asked(world: &World) -> Vec<String> {
    let polls = polls(world).into_iter();
    polls.filter_map(|call| call.task.clone()).collect()
}
