//! The key file is edited all the time while many clients work: no call fails and no poll goes to a wrong account.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use sidekey::sandbox::{Dialect, SandboxConfig};
use tokio::time::{Instant, sleep_until};

use crate::support::http::Connection;
use crate::support::{PLACEHOLDER, TASK, World, key, keys, name, until, vendor, write};

const CLIENTS: usize = 200;
const TASKS: usize = 2_000;
const KEYS: usize = 6;
const EDIT_EVERY: Duration = Duration::from_millis(200);
const EDITS: usize = 30;
const BROKEN: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_of_the_key_file_fail_no_call_and_misdirect_no_poll() {
    let _alone = crate::alone().await;
    let mut vendor: SandboxConfig = vendor(Dialect::Twocaptcha, KEYS);
    for account in &mut vendor.accounts {
        // So that a task lives through several edits.
        account.solve_ms = 700;
    }
    let world = Arc::new(World::start(vendor, "poll.unknown_task = \"refuse\"").await);
    let submitted = Arc::new(AtomicUsize::new(0));
    let edited = Arc::new(AtomicUsize::new(0));

    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = client(
                Arc::clone(&world),
                Arc::clone(&submitted),
                Arc::clone(&edited),
            );
            world.background().spawn(client)
        })
        .collect();
    let adopted = edit(&world, &edited).await;
    let failed: Vec<String> = join_all(clients)
        .await
        .into_iter()
        .flat_map(|failed| failed.unwrap())
        .collect();

    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        failed.first()
    );
    assert!(adopted >= 20, "{adopted} snapshots adopted");
    assert_eq!(refused(&world).await, BROKEN as f64);
    let record = world.sandbox.record();
    assert_eq!(record.counts.foreign, 0);
    assert_eq!(record.counts.unknown_key, 0);
    let used: BTreeSet<_> = world
        .sandbox
        .tasks()
        .into_iter()
        .map(|task| {
            assert!(task.polls > 0, "{} was never polled", task.id);
            task.account
        })
        .collect();
    assert_eq!(used.len(), KEYS, "only {used:?} were used");
    assert_eq!(
        world.sandbox.tasks().len(),
        submitted.load(Ordering::Relaxed)
    );
    assert!(submitted.load(Ordering::Relaxed) >= TASKS);
    Arc::into_inner(world).unwrap().end().await;
}

/// Submits and polls until all tasks are done and all edits are made. Returns what failed.
async fn client(
    world: Arc<World>,
    submitted: Arc<AtomicUsize>,
    edited: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut failed = Vec::new();
    let mut connection = Connection::open(world.http()).await.unwrap();
    while submitted.fetch_add(1, Ordering::Relaxed) < TASKS
        || edited.load(Ordering::Relaxed) < EDITS
    {
        let target = format!("/in.php?key={PLACEHOLDER}&{TASK}");
        let answer = connection.get(&target).await.unwrap();
        let Some(id) = answer.body.strip_prefix("OK|") else {
            failed.push(format!("submit: {}", answer.body));
            continue;
        };
        let target = format!("/res.php?key={PLACEHOLDER}&action=get&id={id}");
        let mut next = Instant::now();
        loop {
            // The pace of a client; nothing waits for it.
            next += Duration::from_millis(150);
            sleep_until(next).await;
            let answer = connection.get(&target).await.unwrap().body;
            if answer == format!("OK|solved-{id}") {
                break;
            }
            if answer != "CAPCHA_NOT_READY" {
                failed.push(format!("poll of {id}: {answer}"));
                break;
            }
        }
    }
    submitted.fetch_sub(1, Ordering::Relaxed);
    failed
}

/// Always three of the keys, now these, now those, now in another order; every sixth time broken. Returns how many of them
/// were seen in force.
async fn edit(world: &World, edited: &AtomicUsize) -> usize {
    let mut adopted = 0;
    for edit in 0..EDITS {
        let next = Instant::now() + EDIT_EVERY;
        let three = [edit, edit + 2 * (edit % 2) + 1, edit + 4].map(|n| n % KEYS + 1);
        let text = keys(three.map(|n| (name(n), key(n)))) + &format!("# edit {edit}\n");
        if edit % (EDITS / BROKEN) == 3 {
            let before = refused(world).await;
            replace(world, &text[..text.len() / 2]);
            until("the broken file is refused", async || {
                refused(world).await > before
            })
            .await;
        } else {
            replace(world, &text);
            until("the edit is in force", async || {
                let snapshot = world.running().server.live.load();
                let listed = snapshot.keys.listed().map(|key| key.name.to_string());
                listed.eq(three.map(name))
            })
            .await;
            adopted += 1;
        }
        edited.fetch_add(1, Ordering::Relaxed);
        sleep_until(next).await;
    }
    adopted
}

/// In one step: whoever reads meanwhile finds the old file or the new one, so that it is known how many were broken.
fn replace(world: &World, text: &str) {
    let new = world.place.path().join("keys.toml.new");
    write(&new, text);
    std::fs::rename(new, world.keys_path()).unwrap();
}

async fn refused(world: &World) -> f64 {
    let series = "sidekey_config_reloads_total{result=\"refused\"}";
    world.metric(series).await
}
