//! The store that replicas share: what one writes the others find, and what happens when the server is slow, gone or empty.

use super::parked::parked_submit;
use super::*;

pub(super) async fn until(mut what: impl AsyncFnMut() -> bool) {
    let done = async {
        while !what().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), done).await.unwrap();
}

#[tokio::test]
async fn what_one_replica_writes_the_others_find() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    assert!(one.salt() == other.salt());
    submit(&one, task("7", "main")).await;
    assert!(other.find_task(&key("", "7")).await.unwrap().is_some());
    assert!(other.find_task(&key("acme", "7")).await.unwrap().is_none());
    other.touch(&key("", "7"), 9_000, TaskState::Final);
    other.flush().await.unwrap();
    let found = one.find_task(&key("", "7")).await.unwrap().unwrap();
    assert_eq!((found.state, found.used_at_ms), (TaskState::Final, 9_000));
}

#[tokio::test]
async fn replicas_together_take_no_more_slots_than_an_account_has() {
    let server = RedisServer::start();
    let replicas = [connect(&server), connect(&server), connect(&server)];
    let mut taken = Vec::new();
    let mut full = 0;
    for round in 0..10 {
        for store in &replicas {
            let (id, written) = store.intend_within(intent("main"), None, slots(Some(5)));
            match written.await {
                Ok(_) => taken.push((store, id)),
                Err(StoreError::Full { used }) => {
                    assert_eq!(used, 5);
                    store.forget(id);
                    full += 1;
                }
                Err(error) => panic!("{round}: {error}"),
            }
        }
    }
    assert_eq!((taken.len(), full), (5, 25));
    // A task holds the slot of its submit; whoever hears its end gives it back.
    let (store, id) = taken[0];
    store.accept(id, task("7", "main")).await.unwrap();
    let try_again = async || {
        let (id, written) = replicas[2].intend_within(intent("main"), None, slots(Some(5)));
        let taken = written.await.is_ok();
        replicas[2].forget(id);
        replicas[2].flush().await.unwrap();
        taken
    };
    assert!(!try_again().await);
    replicas[1].touch(&key("", "7"), 2_000, TaskState::Final);
    replicas[1].flush().await.unwrap();
    assert!(try_again().await && try_again().await);
    // Another account has its own.
    let (_, written) = replicas[0].intend_within(intent("other"), None, slots(Some(1)));
    written.await.unwrap();
}

#[tokio::test]
async fn of_two_replicas_one_has_an_idempotency_key() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    let (first, written) = one.intend(intent("main"), Some(claim(1, 9)));
    written.await.unwrap();
    let (second, written) = other.intend(intent("main"), Some(claim(1, 9)));
    assert_eq!(written.await, Err(StoreError::Claimed));
    other.forget(second);
    other.flush().await.unwrap();
    one.accept(first, task("7", "main")).await.unwrap();
    assert!(came_to(&other, 1).await == Some(CameTo::Task("7".into())));
}

#[tokio::test]
async fn a_replica_that_ends_in_mid_submit_leaves_an_uncertain_one() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    one.intend(intent("main"), None).1.await.unwrap();
    other.intend(intent("other"), None).1.await.unwrap();
    one.close().await.unwrap();
    let rows = other.uncertain_list(10).await.unwrap();
    assert_eq!(rows.len(), 1, "only its own");
    assert_eq!(&*rows[0].intent.owner_name, "main");
    assert_eq!(&*rows[0].why, "the process ended in mid-submit");
}

#[tokio::test]
async fn an_emptied_server_is_given_back_all_that_the_replicas_remember() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    for number in 0..3_000 {
        drop(one.learn(task(&number.to_string(), "main")));
    }
    submit(&other, task("theirs", "main")).await;
    let (open, written) = other.intend(intent("open"), Some(claim(1, 9)));
    written.await.unwrap();
    let (id, _) = one.intend(intent("main"), None);
    let written = one.uncertain(uncertain(id, intent("main"), "reset"));
    written.await.unwrap();
    one.note_bad_key_answer(5);
    one.flush().await.unwrap();

    server.flush_all();
    // It was the other's task, and the other has not looked yet: nobody may call it unknown.
    let found = one.find_task(&key("", "theirs")).await;
    assert!(matches!(found, Err(StoreError::Unreadable(_))), "{found:?}");
    one.flush().await.unwrap();
    let found = one.find_task(&key("", "theirs")).await;
    assert!(matches!(found, Err(StoreError::Unreadable(_))), "{found:?}");
    other.flush().await.unwrap();
    server.say("DEL sidekey:restoring");

    let third = connect(&server);
    assert!(third.salt() == one.salt());
    for id in ["0", "2999", "theirs"] {
        let found = third.find_task(&key("", id)).await.unwrap();
        assert!(found.is_some(), "{id}");
    }
    assert_eq!(third.running_tasks(0, 9_999).await.unwrap().len(), 3_001);
    assert_eq!(third.uncertain_list(9).await.unwrap().len(), 1);
    assert_eq!(third.bad_key_answers_since(0).await.unwrap(), [5]);
    assert!(came_to(&third, 1).await == Some(CameTo::Unknown));
    // Numbers are not given twice.
    let (id, _) = third.intend(intent("main"), None);
    assert!(id.0 >> 32 > open.0 >> 32);
    other.accept(open, task("8", "open")).await.unwrap();
    assert!(came_to(&third, 1).await == Some(CameTo::Task("8".into())));
}

#[tokio::test]
async fn a_server_that_is_gone_delays_changes_and_loses_none() {
    let mut server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    submit(&one, task("1", "main")).await;
    server.kill();
    let waiting = one.learn(task("2", "main"));
    until(async || !one.health().writing).await;
    // Known where it was submitted; elsewhere nobody says that there is no such task.
    for id in ["1", "2"] {
        assert!(one.find_task(&key("", id)).await.unwrap().is_some());
        let found = other.find_task(&key("", id)).await;
        assert!(matches!(found, Err(StoreError::Unreadable(_))), "{found:?}");
    }
    server.start_again();
    waiting.await.unwrap();
    assert!(one.health().writing);
    // The first may have been in the second that was lost. It is back.
    until(async || {
        let one = other.find_task(&key("", "1")).await;
        let two = other.find_task(&key("", "2")).await;
        matches!((one, two), (Ok(Some(_)), Ok(Some(_))))
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stands_still_does_not_mix_up_answers() {
    let server = RedisServer::start();
    let store = connect(&server);
    for number in 0..20 {
        let mut task = task(&number.to_string(), &format!("owner-{number}"));
        task.key.tenant = Arc::from(format!("tenant-{number}"));
        store.learn(task).await.unwrap();
    }
    let reader = connect(&server);
    let look = async |number: usize| {
        let place = key(&format!("tenant-{number}"), &number.to_string());
        (number, reader.find_task(&place).await)
    };
    server.pause();
    // Its callers give up; the replies come later, when nobody waits for them.
    let given_up: Vec<_> = (0..10).map(look).collect();
    let given_up = futures_util::future::join_all(given_up);
    let patience = Duration::from_millis(300);
    assert!(timeout(patience, given_up).await.is_err());
    let touched = store.learn(task("new", "main"));
    until(async || !store.health().writing).await;
    server.go_on();
    touched.await.unwrap();
    for round in 0..5 {
        for (number, found) in futures_util::future::join_all((0..20).map(look)).await {
            let owner = match found {
                Ok(found) => found.unwrap().owner_name,
                // The server was just back, or not yet.
                Err(_) if round < 4 => continue,
                Err(error) => panic!("{error}"),
            };
            assert_eq!(&*owner, format!("owner-{number}"));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(store.health().replaced, 0, "carried out once");
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let server = RedisServer::start();
    let store = connect(&server);
    submit(&store, task("1", "main")).await;
    assert_eq!(server.say("SCRIPT FLUSH"), "+OK");
    submit(&store, task("2", "main")).await;
    assert!(store.find_task(&key("", "2")).await.unwrap().is_some());
    assert_eq!(store.health().lost, 0);
}

#[tokio::test]
async fn a_server_without_memory_refuses_changes_until_it_has_some() {
    let server = RedisServer::start();
    let store = connect(&server);
    server.say("CONFIG SET maxmemory 1mb");
    let waiting = store.learn(task("1", "main"));
    until(async || !store.health().writing).await;
    server.say("CONFIG SET maxmemory 0");
    waiting.await.unwrap();
    assert_eq!(store.health().lost, 0);
}

#[test]
fn an_address_without_a_server_is_an_error_that_says_what_to_do() {
    let mut server = RedisServer::start();
    server.kill();
    let address = Address::parse(&format!("redis://:CANARY@127.0.0.1:{}", server.port)).unwrap();
    let error = Store::connect(&address).err().unwrap().to_string();
    assert!(error.contains("start it, or correct state.url"), "{error}");
    assert!(!error.contains("CANARY"), "{error}");
}

pub(super) fn meeting(dead_after: Option<Duration>) -> Brought {
    Brought {
        lead_for: Duration::from_millis(300),
        dead_after,
        ..Brought::default()
    }
}

#[tokio::test]
async fn the_lead_and_the_open_submits_of_a_replica_that_died_pass_on() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    let (id, written) = one.intend(intent("main"), None);
    written.await.unwrap();
    let meet =
        async |store: &Store, dead| store.replicas().unwrap().meet(meeting(dead)).await.unwrap();
    assert!(meet(&one, None).await.leads);
    assert!(!meet(&other, None).await.leads);
    assert!(meet(&one, None).await.leads);
    // It gives no more sign of life.
    let dead = Some(Duration::from_millis(100));
    let mut taken_over = 0;
    until(async || {
        other.flush().await.unwrap();
        taken_over += meet(&other, dead).await.taken_over;
        taken_over > 0
    })
    .await;
    assert!(!meet(&one, None).await.leads);
    let rows = other.uncertain_list(9).await.unwrap();
    assert_eq!((rows.len(), taken_over), (1, 1));
    assert_eq!(rows[0].id, id);
    // It only stood still, and its submit had an answer after all.
    one.accept(id, task("7", "main")).await.unwrap();
    let rows = other.uncertain_list(9).await.unwrap();
    assert_eq!(&*rows[0].resolved.as_ref().unwrap().task_id, "7");
}

#[tokio::test]
async fn what_one_replica_learns_the_others_hear_once() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    let tell = Brought {
        news: vec!["a".to_owned(), "b".to_owned()],
        heard_within: Duration::from_secs(60),
        ..meeting(None)
    };
    let met = one.replicas().unwrap().meet(tell.clone()).await.unwrap();
    assert!(met.news.is_empty(), "its own");
    let first = Brought {
        news: Vec::new(),
        ..tell
    };
    let met = other.replicas().unwrap().meet(first.clone()).await.unwrap();
    assert_eq!(met.news, ["a", "b"]);
    let again = Brought {
        heard: Some(met.heard),
        ..first
    };
    let met = other.replicas().unwrap().meet(again).await.unwrap();
    assert!(met.news.is_empty());
}

pub(super) async fn park(store: &Store) -> OwnId {
    let (record, request) = parked_submit(store.next_own_id(), 120);
    let id = record.id;
    store.park(record, request, None).1.await.unwrap();
    id
}

#[tokio::test]
async fn a_parked_submit_is_sent_by_the_replica_that_has_it_and_by_no_other() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    let id = park(&one).await;
    // Any replica finds it, and none but its own starts to send it.
    assert!(other.find_parked(id, "acme").await.unwrap().is_some());
    assert_eq!(other.find_parked(id, "").await.unwrap(), None);
    assert!(other.waiting_parked().await.unwrap().is_empty());
    let (intent_id, written) = other.intend_parked(id, intent("main"));
    assert_eq!(written.await, Err(StoreError::Claimed));
    other.forget_parked_intent(id, intent_id, 9);
    other.end_parked(id, ParkedState::Unsent(Unsent::Dropped), 9);
    other.flush().await.unwrap();
    let state = async |id| {
        let found = other.find_parked(id, "acme").await.unwrap();
        found.unwrap().state
    };
    assert_eq!(state(id).await, ParkedState::Waiting);

    // Its replica ends: what waits is another's, with its request; what was on its way is uncertain.
    let sent = park(&one).await;
    let (_, written) = one.intend_parked(sent, intent("main"));
    written.await.unwrap();
    one.close().await.unwrap();
    let waiting = other.waiting_parked().await.unwrap();
    let ids: Vec<_> = waiting.iter().map(|record| record.id).collect();
    assert_eq!(ids, [id]);
    assert_eq!(state(sent).await, ParkedState::Uncertain);
    assert_eq!(other.parked_request(sent).await.unwrap(), None);
    assert!(other.parked_request(id).await.unwrap().is_some());
    let third = connect(&server);
    assert!(third.waiting_parked().await.unwrap().is_empty());
    let (intent_id, written) = other.intend_parked(id, intent("main"));
    written.await.unwrap();
    let accepted = other.accept_parked(id, intent_id, task("7", "main"));
    accepted.await.unwrap();
    assert_eq!(state(id).await, ParkedState::Submitted(Arc::from("7")));
    assert_eq!(third.uncertain_list(9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_replica_that_stood_still_sends_nothing_that_was_taken_over() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    let (waits, sent) = (park(&one).await, park(&one).await);
    let (intent_id, written) = one.intend_parked(sent, intent("main"));
    written.await.unwrap();
    let dead = Some(Duration::from_millis(100));
    until(async || {
        other.flush().await.unwrap();
        let met = other.replicas().unwrap().meet(meeting(dead)).await.unwrap();
        met.orphans
    })
    .await;
    let (_, written) = one.intend_parked(waits, intent("main"));
    assert_eq!(written.await, Err(StoreError::Claimed));
    assert_eq!(other.waiting_parked().await.unwrap().len(), 1);
    let met = other.replicas().unwrap().meet(meeting(None)).await.unwrap();
    assert!(!met.orphans);
    // The vendor had answered after all: that is the truth.
    let accepted = one.accept_parked(sent, intent_id, task("7", "main"));
    accepted.await.unwrap();
    let found = other.find_parked(sent, "acme").await.unwrap().unwrap();
    assert_eq!(found.state, ParkedState::Submitted(Arc::from("7")));
}

#[tokio::test]
async fn parked_submits_bills_and_the_audit_log_come_back_to_an_emptied_server() {
    let server = RedisServer::start();
    let store = connect(&server);
    let (waits, ended) = (park(&store).await, park(&store).await);
    store.end_parked(ended, ParkedState::Unsent(Unsent::Dropped), 9);
    store.settle(used("7", Ended::Solved));
    store.note_refused(Refused {
        tenant: Arc::from("acme"),
        day: 2,
        reason: Arc::from("daily_limit"),
        count: 3,
    });
    store.flush().await.unwrap();
    server.flush_all();
    store.flush().await.unwrap();
    server.say("DEL sidekey:restoring");
    let other = connect(&server);
    let state = async |id| {
        let found = other.find_parked(id, "acme").await.unwrap();
        found.map(|record| record.state)
    };
    assert_eq!(state(waits).await, Some(ParkedState::Waiting));
    assert_eq!(
        state(ended).await,
        Some(ParkedState::Unsent(Unsent::Dropped))
    );
    assert!(other.parked_request(waits).await.unwrap().is_some());
    assert_eq!(store.waiting_parked().await.unwrap().len(), 1);
    assert_eq!(other.refusals(2).await.unwrap()[0].count, 3);
    assert_eq!(other.audit_list(9).await.unwrap().len(), 1);
    assert_eq!(other.settled(0, 0).await.unwrap().len(), 1);
    assert!(other.next_own_id() > store.next_own_id());
}
