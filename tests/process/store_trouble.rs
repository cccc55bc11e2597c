//! A disk that takes no more bytes, and one that is back: no submit fails for it, and nothing is lost.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use sidekey::background::Background;
use sidekey::sandbox::{Fault, FaultRule};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{PATIENCE, Place, Program, body, id, query, sidekey, vendor};

const SUBMIT: &str = "/in.php?key=placeholder&method=userrecaptcha&googlekey=k&pageurl=p";

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_for_a_while_costs_no_submit_and_no_task() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let store = place.path("sidekey.db");
    let program = Program::serving(deaf_to_full_disks(&place));
    let mut client = program.client().await;
    assert!(body(&client.get(SUBMIT).await.unwrap()).starts_with("OK|"));
    assert_eq!(program.metric("sidekey_store_writing").await, 1.0);

    limit_files(&program, Some(0));
    let mut heard = Vec::new();
    for n in 0..5 {
        let began = Instant::now();
        let answer = client.get(&format!("{SUBMIT}&n={n}")).await.unwrap();
        // The first waits a second for the store, the others know better.
        let took = began.elapsed();
        assert!(n == 0 || took < Duration::from_millis(900), "{took:?}");
        let id = id(&answer).unwrap_or_else(|| panic!("{}", body(&answer)));
        heard.push(id.to_owned());
    }
    for id in &heard {
        let answer = client.get(&poll(id)).await.unwrap();
        assert_eq!(body(&answer), format!("OK|solved-{id}"));
    }
    program.wait_for_line("the store cannot be written");
    assert_eq!(program.metric("sidekey_store_writing").await, 0.0);
    let errors = program.metric("sidekey_store_errors_total").await;
    assert!(errors >= 10.0, "{errors}\n{}", program.printed());
    assert!(program.metric("sidekey_store_queued").await >= 10.0);
    // The disk is no reason to send clients elsewhere.
    assert!(
        program
            .ask_admin("/readyz")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(known(&store).iter().all(|known| !heard.contains(known)));

    limit_files(&program, None);
    program.wait_for_line("the store is written again");
    let all_is_written = async {
        while program.metric("sidekey_store_queued").await > 0.0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, all_is_written).await.unwrap();
    assert_eq!(program.metric("sidekey_store_writing").await, 1.0);
    assert_eq!(program.metric("sidekey_store_lost_total").await, 0.0);
    // What was written counts even if the process is killed now.
    program.kill();
    let program = place.start();
    let known = known(&store);
    let mut client = program.client().await;
    for id in &heard {
        assert!(known.contains(id), "{id} is not in {known:?}");
        let answer = client.get(&poll(id)).await.unwrap();
        assert_eq!(body(&answer), format!("OK|solved-{id}"));
    }
    assert_eq!(sandbox.counts().foreign, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_store_refuses_is_counted_as_lost_and_costs_no_task() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = place.start();
    let refuse =
        "CREATE TRIGGER refuse BEFORE INSERT ON tasks BEGIN SELECT RAISE(ABORT, 'no'); END";
    query(&place.path("sidekey.db"), refuse, |_| Ok(()));
    let mut client = program.client().await;
    let answer = client.get(SUBMIT).await.unwrap();
    let id = id(&answer).unwrap_or_else(|| panic!("{}", body(&answer)));
    program.wait_for_line("the store refused a change");
    assert!(program.metric("sidekey_store_lost_total").await >= 1.0);
    let answer = client.get(&poll(id)).await.unwrap();
    assert_eq!(body(&answer), format!("OK|solved-{id}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_does_not_hold_up_the_end() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = Program::serving(deaf_to_full_disks(&place));
    limit_files(&program, Some(0));
    let mut client = program.client().await;
    assert!(body(&client.get(SUBMIT).await.unwrap()).starts_with("OK|"));
    let began = Instant::now();
    program.signal(Signal::TERM);
    let (status, printed) = program.wait();
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(printed.contains("changes are lost"), "{printed}");
    assert!(began.elapsed() < Duration::from_secs(15), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn uncertain_submits_are_listed_for_two_months() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    sandbox
        .set_fault(FaultRule::new(Fault::Reset).endpoint("in.php"))
        .unwrap();
    let place = Place::new(&sandbox);
    let program = place.start();
    let mut client = program.client().await;
    for n in 1..=2 {
        let answer = client.get(&format!("{SUBMIT}&n={n}")).await.unwrap();
        assert_eq!(body(&answer), "ERROR_SUBMIT_UNCERTAIN");
    }
    program.kill();
    let store = place.path("sidekey.db");
    let age = |id: u8, days: u32| {
        let sql = format!(
            "UPDATE uncertain SET at_ms = at_ms - {days} * 86400000 WHERE id = {id} RETURNING id"
        );
        assert_eq!(query(&store, &sql, |row| row.get::<_, u8>(0)), [id]);
    };
    age(1, 63);
    age(2, 61);
    let _program = place.start();
    let left = || {
        query(&store, "SELECT id FROM uncertain", |row| {
            row.get::<_, u8>(0)
        })
    };
    let old_is_forgotten = async {
        while left().contains(&1) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, old_is_forgotten).await.unwrap();
    assert_eq!(left(), [2]);
}

/// The limit on a file's size stands for a full disk. The kernel also sends a signal, which a disk would not: a shell
/// has it ignored.
fn deaf_to_full_disks(place: &Place) -> Command {
    let program = place.command();
    let mut shell = Command::new("/bin/sh");
    shell
        .env_clear()
        .arg0("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(sidekey().get_program())
        .args(program.get_args())
        .current_dir(program.get_current_dir().unwrap());
    shell
}

fn limit_files(program: &Program, bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        maximum: getrlimit(Resource::Fsize).maximum,
    };
    prlimit(Some(program.pid()), Resource::Fsize, limit).unwrap();
}

fn poll(id: &str) -> String {
    format!("/res.php?key=placeholder&action=get&id={id}")
}

fn known(store: &std::path::Path) -> Vec<String> {
    query(store, "SELECT id FROM tasks", |row| row.get(0))
}
