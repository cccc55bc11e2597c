use std::fs;
use std::os::unix::fs::PermissionsExt;

use rusqlite::{Connection, OpenFlags};

use super::*;

fn refusal(path: &Path) -> String {
    match Store::open(path, Sync::Full) {
        Ok(_) => panic!("it was opened"),
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.contains("sidekey.db") || text.contains("missing"),
                "{text}"
            );
            text
        }
    }
}

/// As another process would find it after `kill -9`: what is in the files now, without the lock.
fn copy(from: &tempfile::TempDir) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in ["sidekey.db", "sidekey.db-wal"] {
        fs::copy(from.path().join(name), to.path().join(name)).unwrap();
    }
    to
}

async fn closed_store_with_a_task() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, Sync::Full);
    submit(&store, task("7", "main")).await;
    store.close().await.unwrap();
    directory
}

#[tokio::test]
async fn what_was_durable_is_there_after_a_crash_and_open_intents_are_uncertain() {
    for sync in [Sync::Full, Sync::Process] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory, sync);
        for number in 0..50 {
            submit(&store, task(&number.to_string(), "main")).await;
        }
        let (open_intent, written) = store.intend(intent("main"), None);
        written.await.unwrap();

        let crashed = copy(&directory);
        let (again, recovered) = Store::open(&file_in(crashed.path()), sync).unwrap();
        assert_eq!(recovered, Recovered { open_intents: 1 });
        assert_eq!(again.salt(), store.salt());
        for number in 0..50 {
            let found = again.find_task(&key("", &number.to_string())).await;
            assert!(found.unwrap().is_some(), "{number}");
        }
        let uncertain = again.uncertain_list(10).await.unwrap();
        assert_eq!(uncertain.len(), 1);
        assert_eq!(uncertain[0].intent, intent("main"));
        assert_eq!(&*uncertain[0].why, rows::ENDED_IN_MID_SUBMIT);
        let (next, _) = again.intend(intent("main"), None);
        assert!(next > open_intent, "an id was given twice");
    }
}

#[tokio::test]
async fn after_a_crash_a_claim_is_what_was_durable_and_its_number_is_not_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, Sync::Full);
    let (open_intent, written) = store.intend(intent("main"), Some(claim(1, 0)));
    written.await.unwrap();
    let in_mid_submit = copy(&directory);
    store.accept(open_intent, task("7", "main")).await.unwrap();
    let accepted = copy(&directory);

    let store = open(&in_mid_submit, Sync::Full);
    assert!(came_to(&store, 1).await == Some(CameTo::Unknown));
    assert_eq!(store.uncertain_list(10).await.unwrap().len(), 1);
    let store = open(&accepted, Sync::Full);
    assert!(came_to(&store, 1).await == Some(CameTo::Task("7".into())));
    assert!(store.uncertain_list(10).await.unwrap().is_empty());
    let (next, _) = store.intend(intent("main"), None);
    store.accept(next, task("8", "main")).await.unwrap();
    assert!(came_to(&store, 1).await == Some(CameTo::Task("7".into())));
}

#[tokio::test]
async fn a_file_of_any_version_before_is_opened_and_gets_what_is_new() {
    for taken in 1..schema::STEPS.len() {
        let directory = tempfile::tempdir().unwrap();
        let before = Connection::open(file_in(directory.path())).unwrap();
        for step in &schema::STEPS[..taken] {
            before.execute_batch(step).unwrap();
        }
        let rest = format!(
            "INSERT INTO meta (name, value) VALUES ('salt', zeroblob(32));
             PRAGMA application_id = {}; PRAGMA user_version = {}; PRAGMA journal_mode = WAL;",
            schema::APPLICATION_ID,
            1000 + taken
        );
        before.execute_batch(&rest).unwrap();
        drop(before);
        let store = open(&directory, Sync::Full);
        let (id, _) = store.intend(intent("main"), Some(claim(1, 0)));
        store.accept(id, task("7", "main")).await.unwrap();
        assert!(came_to(&store, 1).await == Some(CameTo::Task("7".into())));
    }
}

#[tokio::test]
async fn close_writes_what_nobody_waited_for_and_leaves_one_file() {
    let directory = closed_store_with_a_task().await;
    let store = open(&directory, Sync::Full);
    store.touch(&key("", "7"), 4_000, TaskState::Final);
    let (id, _) = store.intend(intent("main"), None);
    store.forget(id);
    store.find_task(&key("", "7")).await.unwrap();
    let later = store.clone();
    store.close().await.unwrap();
    assert_eq!(later.flush().await, Err(StoreError::Closed));
    assert!(!directory.path().join("sidekey.db-wal").exists());
    assert!(!directory.path().join("sidekey.db-shm").exists());

    let (store, recovered) = Store::open(&file_in(directory.path()), Sync::Full).unwrap();
    assert_eq!(recovered.open_intents, 0);
    let found = store.find_task(&key("", "7")).await.unwrap().unwrap();
    assert_eq!(found.state, TaskState::Final);
}

#[tokio::test]
async fn a_second_store_on_one_file_is_refused_until_the_first_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = file_in(directory.path());
    let store = open(&directory, Sync::Full);
    assert!(refusal(&path).contains("locked by another process"));
    store.close().await.unwrap();
    Store::open(&path, Sync::Full).unwrap();
}

#[tokio::test]
async fn an_operator_reads_while_the_store_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, Sync::Full);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let operator = Connection::open_with_flags(file_in(directory.path()), flags).unwrap();
    let count = || -> i64 {
        operator
            .query_row("SELECT count(*) FROM tasks", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(count(), 0);
    // In the middle of the operator's own look-up too.
    operator
        .execute_batch("BEGIN; SELECT count(*) FROM tasks")
        .unwrap();
    submit(&store, task("7", "main")).await;
    operator.execute_batch("COMMIT").unwrap();
    assert_eq!(count(), 1);
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_was() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(Damage, &str); 5] = [
        (|bytes| bytes.clear(), "is empty"),
        (|bytes| bytes.truncate(10), "damaged"),
        (|bytes| bytes.truncate(8192), "damaged"),
        (|bytes| bytes[4096..4200].fill(0xff), "damaged"),
        // The tasks themselves, which opening does not read.
        (|bytes| bytes[8192..8300].fill(0xff), "damaged"),
    ];
    for (damage, wanted) in damages {
        let directory = closed_store_with_a_task().await;
        let path = file_in(directory.path());
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let text = refusal(&path);
        assert!(text.contains(wanted), "{text}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_log_whose_file_is_gone_is_not_thrown_away() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, Sync::Full);
    submit(&store, task("7", "main")).await;
    let crashed = copy(&directory);
    fs::remove_file(file_in(crashed.path())).unwrap();
    assert!(refusal(&file_in(crashed.path())).contains("its log"));
}

#[tokio::test]
async fn a_torn_log_loses_no_more_than_its_tail() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, Sync::Full);
    submit(&store, task("7", "main")).await;
    let whole = fs::metadata(directory.path().join("sidekey.db-wal"))
        .unwrap()
        .len();
    submit(&store, task("8", "main")).await;
    let crashed = copy(&directory);
    fs::OpenOptions::new()
        .write(true)
        .open(crashed.path().join("sidekey.db-wal"))
        .unwrap()
        .set_len(whole + 100)
        .unwrap();
    let again = open(&crashed, Sync::Full);
    assert!(again.find_task(&key("", "7")).await.unwrap().is_some());
    assert!(again.find_task(&key("", "8")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_newer_major_version_is_refused_and_a_newer_minor_one_is_not() {
    let directory = closed_store_with_a_task().await;
    let path = file_in(directory.path());
    let set = |version: i64| {
        let connection = Connection::open(&path).unwrap();
        connection
            .pragma_update(None, "user_version", version)
            .unwrap();
    };
    set(1_999);
    let store = open(&directory, Sync::Full);
    assert!(store.find_task(&key("", "7")).await.unwrap().is_some());
    store.close().await.unwrap();
    set(2_001);
    assert!(refusal(&path).contains("newer sidekey"));
}

#[test]
fn a_database_of_another_program_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = file_in(directory.path());
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE tasks (id)").unwrap();
    drop(other);
    assert!(refusal(&path).contains("another program"));
}

#[test]
fn a_missing_directory_is_told_and_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing/sidekey.db");
    assert!(refusal(&path).contains("create it"));
    assert!(!directory.path().join("missing").exists());
}

#[tokio::test]
async fn a_start_that_was_interrupted_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("sidekey.db.new"), b"half").unwrap();
    let store = open(&directory, Sync::Full);
    submit(&store, task("7", "main")).await;
    assert!(!directory.path().join("sidekey.db.new").exists());
}

/// Parked submits stand in there as clients sent them.
#[tokio::test]
async fn the_file_and_all_beside_it_are_for_their_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, Sync::Full);
    submit(&store, task("7", "main")).await;
    let mut seen = Vec::new();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
        seen.push(entry.file_name().into_string().unwrap());
    }
    seen.sort();
    let beside = ["", "-shm", "-wal", ".lock"].map(|end| format!("sidekey.db{end}"));
    assert_eq!(seen, beside);
    store.close().await.unwrap();
}
