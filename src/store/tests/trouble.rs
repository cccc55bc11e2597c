use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::*;

fn max_pages(store: &Store) -> &AtomicI64 {
    match store {
        Store::Sqlite(sqlite) => &sqlite.shared.max_pages,
        Store::Memory(_) | Store::Redis(_) => panic!("only a file has pages"),
    }
}

async fn until(what: impl Fn() -> bool) {
    timeout(Duration::from_secs(20), async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
}

fn large_task(id: &str) -> TaskRecord {
    let mut task = task(id, "main");
    task.kind = Arc::from("x".repeat(20_000));
    task
}

#[tokio::test]
async fn a_full_disk_delays_a_task_and_loses_none() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, Sync::Full);
    max_pages(&store).store(8, Ordering::Relaxed);
    let tasks: Vec<_> = (0..10)
        .map(|number| store.learn(large_task(&number.to_string())))
        .collect();
    until(|| !store.health().writing).await;
    let health = store.health();
    assert!(health.since.is_some());
    assert_eq!((health.queued, health.lost), (10, 0));
    // Half of the callers lose patience.
    let patient: Vec<_> = tasks.into_iter().skip(5).collect();

    max_pages(&store).store(NO_LIMIT, Ordering::Relaxed);
    for task in patient {
        task.await.unwrap();
    }
    for number in 0..10 {
        let found = store.find_task(&key("", &number.to_string())).await;
        assert!(found.unwrap().is_some(), "{number}");
    }
    until(|| store.health().queued == 0).await;
    assert!(store.health().writing);
}

#[tokio::test]
async fn look_ups_go_on_while_another_writer_holds_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, Sync::Process);
    submit(&store, task("7", "main")).await;
    let other = Connection::open(file_in(directory.path())).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = store.learn(task("8", "main"));
    until(|| !store.health().writing).await;
    assert!(store.find_task(&key("", "7")).await.unwrap().is_some());
    other.execute_batch("ROLLBACK").unwrap();
    waiting.await.unwrap();
    assert!(store.find_task(&key("", "8")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_that_cannot_write_at_its_end_says_what_is_lost_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, Sync::Full);
    max_pages(&store).store(8, Ordering::Relaxed);
    let waiting: Vec<_> = (0..3)
        .map(|number| store.learn(large_task(&number.to_string())))
        .collect();
    until(|| !store.health().writing).await;
    assert_eq!(store.close().await, Err(StoreError::Lost(3)));
    for task in waiting {
        assert_eq!(task.await, Err(StoreError::Closed));
    }
}

#[tokio::test]
async fn more_than_can_wait_is_refused_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, Sync::Full);
    max_pages(&store).store(8, Ordering::Relaxed);
    let first = store.learn(large_task("1"));
    until(|| !store.health().writing).await;
    for _ in 0..queue::MAX_QUEUED {
        store.touch(&key("", "1"), 1, TaskState::Running);
    }
    assert_eq!(store.flush().await, Err(StoreError::Overloaded));
    assert_eq!(store.health().lost, 1);
    max_pages(&store).store(NO_LIMIT, Ordering::Relaxed);
    first.await.unwrap();
    until(|| store.health().queued == 0).await;
    store.close().await.unwrap();
}

/// A disk that hangs gives no error. A writer that took work and does not come back stands for it.
#[tokio::test(start_paused = true)]
async fn a_writer_that_hangs_is_seen_after_a_second() {
    let shared = writer::Shared::new("a disk".to_owned(), lifetime::write_seconds());
    shared.takes(1);
    assert!(shared.health().writing);
    tokio::time::advance(Duration::from_millis(1_001)).await;
    let health = shared.health();
    assert!(!health.writing && health.since.is_some());
    assert_eq!(health.queued, 1);
    shared.takes(0);
    assert!(shared.health().writing);
}
