//! Clients that give up: what was paid for is kept, and given to whoever submits the same again.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use futures_util::future::join_all;
use sidekey::sandbox::{Dialect, Fault, FaultRule};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::support::http::Connection;
use crate::support::{PLACEHOLDER, World, name, until, vendor};

const CLIENTS: usize = 100;
/// Who close at the moment when they are answered.
const LEAVERS: usize = 300;
const STEP: Duration = Duration::from_micros(50);
const REFUSE: &str = "poll.unknown_task = \"refuse\"";
/// Until it is cleared: no answer goes out by itself.
const NEVER: u64 = 600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_nobody_heard_go_to_the_same_submits_sent_again_once_each() {
    let world = World::start(vendor(Dialect::Twocaptcha, 3), REFUSE).await;
    world.sandbox.set_fault(held()).unwrap();
    let first = leave_after_sending(&world, 0..CLIENTS).await;
    world
        .sandbox
        .wait_for(|record| submits(record) == CLIENTS)
        .await;
    drop(first);
    // The submits go on without their clients, and are answered at last.
    world.sandbox.clear_faults();
    until("all tasks are recorded", async || {
        world.stored::<i64>("SELECT count(*) FROM tasks") == CLIENTS as i64
    })
    .await;
    let paid: BTreeSet<_> = world
        .sandbox
        .tasks()
        .into_iter()
        .map(|task| task.id)
        .collect();
    assert_eq!(paid.len(), CLIENTS);

    let second = submit_all(&world).await;
    assert_eq!(second.iter().cloned().collect::<BTreeSet<_>>(), paid);
    assert_eq!(
        world.sandbox.tasks().len(),
        CLIENTS,
        "something was paid twice"
    );
    assert_eq!(
        world.metric("sidekey_unheard_answers_total").await,
        CLIENTS as f64
    );
    for id in &second {
        assert_eq!(world.poll(id).await, format!("OK|solved-{id}"));
    }

    let third: BTreeSet<_> = submit_all(&world).await.into_iter().collect();
    assert_eq!(third.len(), CLIENTS);
    assert!(third.is_disjoint(&paid), "an id was given out twice");
    assert_eq!(world.sandbox.counts().foreign, 0);
    world.end().await;
}

#[tokio::test]
async fn a_submit_sent_again_while_the_first_is_in_the_air_waits_for_it() {
    let world = World::start(vendor(Dialect::Twocaptcha, 3), REFUSE).await;
    world.sandbox.set_fault(held()).unwrap();
    let first = leave_after_sending(&world, 0..1).await;
    world.sandbox.wait_for(|record| submits(record) == 1).await;
    drop(first);
    until("the first client is known to have left", async || {
        world.metric("sidekey_unheard_submits ").await == 1.0
    })
    .await;
    let again = async {
        let target = target(0);
        world.get(&target).await
    };
    let answered = async {
        until(
            "the second client waits for the first one's answer",
            async || world.metric("sidekey_unheard_submits ").await == 0.0,
        )
        .await;
        world.sandbox.clear_faults();
    };
    let (answer, ()) = tokio::join!(again, answered);
    let tasks = world.sandbox.tasks();
    assert_eq!(tasks.len(), 1);
    assert_eq!(answer, format!("OK|{}", tasks[0].id));
    world.end().await;
}

#[tokio::test]
async fn what_lies_behind_a_submit_does_not_hide_that_its_client_left() {
    let poll = "GET /res.php?action=get&id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for behind in ["", "G", "\r\n", poll] {
        let world = World::start(vendor(Dialect::Twocaptcha, 3), REFUSE).await;
        world.sandbox.set_fault(held()).unwrap();
        let mut first = leave_after_sending(&world, 0..1).await;
        first[0].write_bytes(behind.as_bytes()).await.unwrap();
        world.sandbox.wait_for(|record| submits(record) == 1).await;
        drop(first);
        until("the client is known to have left", async || {
            world.metric("sidekey_unheard_submits ").await == 1.0
        })
        .await;
        world.sandbox.clear_faults();
        let answer = world.get(&target(0)).await;
        let tasks = world.sandbox.tasks();
        assert_eq!(tasks.len(), 1, "behind it {behind:?}");
        assert_eq!(answer, format!("OK|{}", tasks[0].id));
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_when_its_id_is_there_is_not_paid_for_twice() {
    let world = World::start(vendor(Dialect::Twocaptcha, 3), REFUSE).await;
    world
        .sandbox
        .set_fault(FaultRule::new(Fault::Slow).endpoint("in.php").delay_ms(10))
        .unwrap();
    let address = world.http();
    let unheard = spawn_blocking(move || leave_at_the_answer(address)).await;
    let unheard = unheard.unwrap();
    world.sandbox.clear_faults();
    until("every submit is over", async || {
        world.stored::<i64>("SELECT count(*) FROM tasks") == world.sandbox.tasks().len() as i64
    })
    .await;
    assert!(
        unheard.len() >= LEAVERS / 10,
        "only {} left unheard",
        unheard.len()
    );
    for &n in &unheard {
        world.get(&target(n)).await;
    }
    let twice = world.sandbox.tasks().len() - LEAVERS;
    // A close that the kernel delivers in the microseconds between the last look and the write is not seen. On a busy
    // machine, with all clients aiming at that moment, that was up to 7 of 100; without the look 20 to 40.
    assert!(
        twice <= unheard.len() / 8,
        "{twice} of {} were paid for twice",
        unheard.len()
    );
    world.end().await;
}

/// Leaves so that about every second client has received nothing yet. Returns who had not.
fn leave_at_the_answer(address: SocketAddr) -> Vec<usize> {
    let mut unheard = Vec::new();
    let mut patience = Duration::from_millis(10);
    for n in 0..LEAVERS {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_nonblocking(true).unwrap();
        let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", target(n));
        client.write_all(request.as_bytes()).unwrap();
        let sent = Instant::now();
        while sent.elapsed() < patience {
            std::thread::sleep(Duration::from_micros(20));
        }
        // In this order: what comes after the shutdown is not taken in any more, so nothing can come in between.
        client.shutdown(Shutdown::Both).unwrap();
        let heard = client.peek(&mut [0]).is_ok_and(|bytes| bytes > 0);
        drop(client);
        if heard {
            patience -= STEP;
        } else {
            patience += STEP;
            unheard.push(n);
        }
    }
    unheard
}

#[tokio::test]
async fn equal_submits_of_clients_that_stay_are_separate_tasks() {
    let world = World::start(vendor(Dialect::Twocaptcha, 3), REFUSE).await;
    let target = target(0);
    let ids = join_all((0..10).map(|_| world.get(&target))).await;
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), 10);
    world.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_anything_was_sent_makes_no_task() {
    let mut vendor = vendor(Dialect::Twocaptcha, 1);
    vendor.accounts[0].threads = Some(1);
    vendor.accounts[0].solve_ms = NEVER;
    let world = World::start(vendor, "submit.wait = \"60s\"\nsubmit.deadline = \"60s\"").await;
    world.submit().await;
    // The only key has no place left, so this one waits until the client has gone.
    let mut connections = leave_after_sending(&world, 0..1).await;
    world
        .sandbox
        .wait_for(|record| {
            record
                .counts
                .outcomes
                .contains_key("ERROR_NO_SLOT_AVAILABLE")
        })
        .await;
    drop(connections.pop());
    until("the submit was dropped", async || {
        world
            .metric(
                "sidekey_requests_total{endpoint=\"in\",action=\"submit\",outcome=\"client_left\"}",
            )
            .await
            == 1.0
    })
    .await;
    world.sandbox.set_threads(&name(1), Some(10)).unwrap();
    let made = world.sandbox.tasks().len();
    world.submit().await;
    assert_eq!(world.sandbox.tasks().len(), made + 1);
    world.end().await;
}

/// The task is made and its id held back, until faults are cleared.
fn held() -> FaultRule {
    FaultRule::new(Fault::Slow)
        .endpoint("in.php")
        .delay_ms(NEVER)
}

fn submits(record: &sidekey::sandbox::Record) -> usize {
    record.counts.endpoints.get("in.php").copied().unwrap_or(0) as usize
}

/// Different from every other one.
fn target(n: usize) -> String {
    format!(
        "/in.php?key={PLACEHOLDER}&method=userrecaptcha&googlekey=SITEKEY&pageurl=http://example.com/{n}"
    )
}

async fn leave_after_sending(world: &World, clients: std::ops::Range<usize>) -> Vec<Connection> {
    let mut connections = Vec::new();
    for n in clients {
        let mut connection = Connection::open(world.http()).await.unwrap();
        connection.write("GET", &target(n), "", "").await.unwrap();
        connections.push(connection);
    }
    connections
}

/// Their ids.
async fn submit_all(world: &World) -> Vec<String> {
    let targets: Vec<_> = (0..CLIENTS).map(target).collect();
    let answers = join_all(targets.iter().map(|target| world.get(target)));
    let answers = timeout(Duration::from_secs(20), answers).await.unwrap();
    let id = |answer: String| answer.strip_prefix("OK|").map(str::to_owned);
    answers
        .into_iter()
        .map(|answer| id(answer).unwrap())
        .collect()
}
