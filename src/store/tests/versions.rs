//! Versions take turns on one store: an upgrade, the way back, and replicas of two versions beside each other.
//!
//! `versions/schema.sql` and `rows.sql` are a file as the version before left it, `before` what that version does with a file.
//! At a release they become those of the version that was released. `versions/*.redis` are commands that leave a server as
//! another version does.

mod before;

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::parked::park;
use super::*;

const SCHEMA: &str = include_str!("versions/schema.sql");
const ROWS: &str = include_str!("versions/rows.sql");
/// In both fixtures.
const PARKED: OwnId = OwnId(9_000_000_000_000_123);

#[tokio::test]
async fn a_file_of_the_version_before_is_opened_with_all_that_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = file_in(directory.path());
    let file = Connection::open(&path).unwrap();
    file.execute_batch(SCHEMA).unwrap();
    file.execute_batch(ROWS).unwrap();
    drop(file);

    let (store, recovered) = Store::open(&path, Sync::Full).unwrap();
    assert_eq!(recovered.open_intents, 1);
    assert!(store.salt() == Salt([0; 32]));
    is_there(&store).await;
    assert!(came_to(&store, 1).await == Some(CameTo::Task("7".into())));
    let uncertain = store.uncertain_list(9).await.unwrap();
    assert_eq!(
        uncertain.iter().map(|row| row.id.0).collect::<Vec<_>>(),
        [41, 40]
    );
    assert_eq!(store.bad_key_answers_since(0).await.unwrap(), [100]);
    assert!(
        store
            .good_keys()
            .await
            .unwrap()
            .contains(&Identity([4; 32]))
    );
    assert!(store.next_own_id() > PARKED);
    // What is new works on it.
    store.settle(used("8", Ended::Solved));
    store.flush().await.unwrap();
    assert_eq!(store.settled(0, 0).await.unwrap().len(), 1);
}

/// What both fixtures hold: whose task 7 is, decides with which key it is polled.
async fn is_there(store: &Store) {
    let runs = store.find_task(&key("", "7")).await.unwrap().unwrap();
    assert_eq!(&*runs.owner_name, "main");
    assert_eq!(runs.owner_identity, Identity([4; 32]));
    assert_eq!(
        (runs.price_micro_usd, runs.state),
        (Some(1_200), TaskState::Running)
    );
    let over = store.find_task(&key("acme", "8")).await.unwrap().unwrap();
    assert_eq!((&*over.owner_name, over.state), ("other", TaskState::Final));
    assert_eq!(store.running_tasks(0, 9).await.unwrap().len(), 1);
    let parked = store.find_parked(PARKED, "acme").await.unwrap().unwrap();
    assert_eq!(parked.state, ParkedState::Waiting);
    let request = store.parked_request(PARKED).await.unwrap().unwrap();
    assert_eq!(request.query, "key=&a=1");
}

#[tokio::test]
async fn the_version_before_works_on_a_file_of_this_one_and_this_one_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = file_in(directory.path());
    let store = open(&directory, Sync::Full);
    let salt = store.salt();
    for id in ["7", "8"] {
        submit(&store, task(id, "main")).await;
    }
    let (id, written) = store.intend(intent("main"), Some(claim(1, 9)));
    written.await.unwrap();
    store
        .uncertain(uncertain(id, intent("main"), "reset"))
        .await
        .unwrap();
    let parked = park(&store).await;
    store.settle(used("9", Ended::Solved));
    store.note_good_key(Identity([4; 32]), 5);
    store.close().await.unwrap();

    let before = before::open(&path);
    before::find_tasks(&before);
    before::submit(&before, 50, "10");
    before::touch(&before, "7", 9_000);
    before::repeat(&before, "8");
    before::resolve(&before, id.0, "11");
    before::claim(&before, 51);
    before::send_parked(&before, parked.0);
    before::forget_what_is_old(&before);
    // It is killed in mid-submit.
    before::intend(&before, 60);
    before.close().unwrap();

    let (store, recovered) = Store::open(&path, Sync::Full).unwrap();
    assert_eq!(recovered.open_intents, 1);
    assert!(store.salt() == salt);
    let state = async |id| {
        let found = store.find_task(&key("", id)).await.unwrap();
        found.map(|task| (task.state, task.used_at_ms, task.charge_micro_usd))
    };
    assert_eq!(
        state("7").await,
        Some((TaskState::Final, 9_000, Some(1_500)))
    );
    // It does not know of charges: the tenant pays what the vendor takes.
    assert_eq!(state("8").await, Some((TaskState::Running, 2_000, None)));
    assert_eq!(state("10").await, Some((TaskState::Running, 2_000, None)));
    let uncertain = store.uncertain_list(9).await.unwrap();
    assert_eq!(uncertain[0].id, IntentId(60));
    assert_eq!(&*uncertain[1].resolved.as_ref().unwrap().task_id, "11");
    assert!(came_to(&store, 1).await == Some(CameTo::Task("11".into())));
    assert!(came_to(&store, 2).await == Some(CameTo::Task("10".into())));
    let found = store.find_parked(parked, "acme").await.unwrap().unwrap();
    assert_eq!(found.state, ParkedState::Submitted("12".into()));
    assert_eq!(store.settled(0, 0).await.unwrap().len(), 1, "the bill");
    let (next, _) = store.intend(intent("main"), None);
    assert!(next.0 > 60, "a number was given twice");
}

#[tokio::test]
async fn a_state_of_a_newer_version_is_no_unknown_id_and_hides_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, Sync::Full);
    let (known, newer) = (park(&store).await, park(&store).await);
    store.close().await.unwrap();
    let file = Connection::open(file_in(directory.path())).unwrap();
    let changed = file.execute("UPDATE parked SET state = 'later' WHERE id = ?", [newer.0]);
    assert_eq!(changed, Ok(1));
    drop(file);
    let store = open(&directory, Sync::Full);
    let found = store.find_parked(newer, "acme").await;
    assert!(matches!(found, Err(StoreError::Unreadable(_))), "{found:?}");
    assert_eq!(store.waiting_parked().await.unwrap()[0].id, known);
}

#[test]
fn the_steps_of_the_version_before_are_what_they_were() {
    let (before, now) = (
        Connection::open_in_memory().unwrap(),
        Connection::open_in_memory().unwrap(),
    );
    before.execute_batch(SCHEMA).unwrap();
    let version: i64 = before
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    for step in &schema::STEPS[..(version % 1000) as usize] {
        now.execute_batch(step).unwrap();
    }
    let tables = shape(&now);
    assert!(tables.len() > 5);
    assert_eq!(tables, shape(&before));
}

/// Then a version that does not know a step can leave it alone: its own statements mean the same as before.
#[test]
fn a_step_only_adds() {
    let file = Connection::open_in_memory().unwrap();
    let mut before = BTreeMap::new();
    for (at, step) in schema::STEPS.iter().enumerate() {
        file.execute_batch(step).unwrap();
        let now = shape(&file);
        for (table, old) in &before {
            let Table { columns, unique } = &now[table];
            let Table {
                columns: known,
                unique: known_unique,
            } = old;
            assert_eq!(columns[..known.len()], known[..], "step {at}, {table}");
            for added in &columns[known.len()..] {
                assert!(added.may_be_left_out, "step {at}, {table}: {added:?}");
            }
            assert_eq!(unique, known_unique, "step {at}, {table}");
        }
        before = now;
    }
    let triggers = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'";
    assert_eq!(file.query_row(triggers, [], |row| row.get(0)), Ok(0));
}

#[derive(Debug, PartialEq)]
struct Table {
    columns: Vec<Column>,
    /// How many unique indexes.
    unique: i64,
}

#[derive(Debug, PartialEq)]
struct Column {
    name: String,
    kind: String,
    primary: bool,
    may_be_left_out: bool,
}

fn shape(file: &Connection) -> BTreeMap<String, Table> {
    let mut names = file
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .unwrap();
    let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let table = |name: String| {
        let mut columns = file
            .prepare("SELECT name, type, pk > 0, \"notnull\" = 0 OR dflt_value IS NOT NULL FROM pragma_table_info(?)")
            .unwrap();
        let columns = columns.query_map([&name], |row| {
            Ok(Column {
                name: row.get(0)?,
                kind: row.get(1)?,
                primary: row.get(2)?,
                may_be_left_out: row.get(3)?,
            })
        });
        let columns = columns.unwrap().map(Result::unwrap).collect();
        let unique = "SELECT count(*) FROM pragma_index_list(?) WHERE \"unique\"";
        let unique = file.query_row(unique, [&name], |row| row.get(0)).unwrap();
        (name, Table { columns, unique })
    };
    names.map(Result::unwrap).map(table).collect()
}

/// `#` begins a comment.
fn tell(server: &RedisServer, commands: &str) {
    for command in commands
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let reply = server.say(command);
        assert!(!reply.starts_with('-'), "{command}: {reply}");
    }
}

#[tokio::test]
async fn a_server_that_the_version_before_wrote_is_read() {
    let server = RedisServer::start();
    tell(&server, include_str!("versions/before.redis"));
    let store = connect(&server);
    assert!(store.salt() == Salt([7; 32]));
    is_there(&store).await;
    assert!(came_to(&store, 1).await == Some(CameTo::Task("7".into())));
    let uncertain = store.uncertain_list(9).await.unwrap();
    assert_eq!((uncertain.len(), &*uncertain[0].why), (1, "reset"));
    assert_eq!(
        store.settled(0, 0).await.unwrap()["acme"].charged_this_month_micro_usd,
        1_500
    );
    assert_eq!(store.audit_list(9).await.unwrap().len(), 1);
    assert_eq!(store.refusals(2).await.unwrap()[0].count, 3);
    assert_eq!(store.bad_key_answers_since(0).await.unwrap(), [100]);
    assert!(store.next_own_id() > PARKED);
}

/// Two versions write at once while replicas are replaced one by one.
#[tokio::test]
async fn what_a_newer_replica_writes_besides_is_left_alone() {
    let server = RedisServer::start();
    tell(&server, include_str!("versions/before.redis"));
    tell(&server, include_str!("versions/newer.redis"));
    let store = connect(&server);
    // Further fields of rows that are known.
    is_there(&store).await;
    let acme = store.settled(0, 0).await.unwrap()["acme"];
    assert_eq!(acme.charged_this_month_micro_usd, 1_500);
    let asked = Asked {
        by: By::Tenant,
        from_ms: 0,
        until_ms: i64::MAX,
        today_ms: 0,
        tenant: None,
        project: None,
    };
    let lines = store.bill(asked).await.unwrap();
    assert_eq!(
        (lines.len(), lines[0].solves),
        (1, 1),
        "an end that is not known is no solve"
    );
    // Its rows are changed without losing what it wrote.
    store.touch(&key("", "7"), 9_000, TaskState::Final);
    store.settle(UsageRow {
        submitted_at_ms: 1_000,
        ..used("8", Ended::Solved)
    });
    store.flush().await.unwrap();
    let kept =
        server.say("EVAL \"return {ok=redis.call('GET','sidekey:task:captchaai\\x00\\x007')}\" 0");
    assert!(kept.contains("\"later\""), "{kept}");
    // What is there and not understood is not unknown: the replica that can read it answers the next poll.
    for found in [
        store
            .find_task(&key("", "13"))
            .await
            .map(|found| found.is_some()),
        store
            .find_parked(OwnId(9_000_000_000_000_124), "acme")
            .await
            .map(|found| found.is_some()),
    ] {
        assert!(matches!(found, Err(StoreError::Unreadable(_))), "{found:?}");
    }
    let brought = Brought {
        lead_for: Duration::from_secs(1),
        heard_within: Duration::from_secs(60),
        ..Brought::default()
    };
    let met = store.replicas().unwrap().meet(brought).await.unwrap();
    assert_eq!(
        met.news,
        ["{\"Later\":1}"],
        "told to whoever knows what it means"
    );
}

#[tokio::test]
async fn a_server_of_a_newer_major_version_is_refused_also_after_it_was_emptied() {
    let server = RedisServer::start();
    let store = connect(&server);
    submit(&store, task("7", "main")).await;
    server.flush_all();
    store.flush().await.unwrap();
    assert_eq!(server.say("EXISTS sidekey:version"), ":1");
    server.say("SET sidekey:version 2");
    let address = Address::parse(&server.url()).unwrap();
    let refusal = Store::connect(&address).err().unwrap().to_string();
    assert!(
        refusal.contains("a newer sidekey (its version is 2)"),
        "{refusal}"
    );
}
