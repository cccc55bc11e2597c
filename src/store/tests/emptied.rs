//! A server that was emptied or lost its last second: what living replicas hold of limits, and of parked submits, comes back.

use super::limits::{NO_LIMITS, NOW, solve};
use super::parked::{park, parked_submit};
use super::shared::{meeting, until};
use super::*;
use crate::config::settings::TenantLimits;
use crate::tenants::meter::Limit;
use crate::tenants::shared::SharedReservation;

const PRICE: i64 = 1_500;

async fn ask(store: &Store, limits: &TenantLimits) -> Result<SharedReservation, Limit> {
    store.flush().await.unwrap();
    let tenant = Arc::from("acme");
    let reserve = SharedReservation::reserve(store, &tenant, limits, PRICE, NOW);
    reserve.await.unwrap().unwrap()
}

fn most_tasks(most: u32) -> TenantLimits {
    TenantLimits {
        max_tasks: Some(most),
        ..NO_LIMITS
    }
}

fn daily(most: u32) -> TenantLimits {
    TenantLimits {
        daily: Some(most),
        ..NO_LIMITS
    }
}

fn solved(id: &str) -> (TaskRecord, UsageRow) {
    let mut task = task(id, "main");
    task.key.tenant = Arc::from("acme");
    let row = solve(&task, Ended::Solved);
    (task, row)
}

/// What the server lacks while it says nothing of it.
async fn comes_back(server: &RedisServer, stores: &[&Store]) {
    for store in stores {
        store.flush().await.unwrap();
    }
    server.say("DEL sidekey:restoring");
}

#[tokio::test]
async fn what_is_reserved_uncertain_or_parked_is_held_after_the_server_was_emptied() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    let limits = daily(4);
    let on_its_way = ask(&one, &limits).await.unwrap();
    ask(&one, &limits).await.unwrap().keep(NOW);
    let parked = ask(&one, &limits).await.unwrap();
    parked.park(park(&one).await);
    drop(parked);
    let (task, row) = solved("7");
    one.learn(task).await.unwrap();
    assert_eq!(ask(&other, &limits).await.err(), Some(Limit::Daily));
    one.settle(row);
    assert_eq!(ask(&other, &limits).await.err(), Some(Limit::Daily));

    server.flush_all();
    comes_back(&server, &[&other, &one]).await;
    assert_eq!(ask(&other, &limits).await.err(), Some(Limit::Daily));
    assert_eq!(ask(&other, &most_tasks(2)).await.err(), Some(Limit::Tasks));
    let budget = TenantLimits {
        budget_micro_usd: Some(5 * PRICE - 1),
        ..NO_LIMITS
    };
    assert_eq!(ask(&other, &budget).await.err(), Some(Limit::Budget));
    drop(on_its_way);
    one.flush().await.unwrap();
    assert!(ask(&other, &limits).await.is_ok(), "given back as ever");
}

#[tokio::test]
async fn the_rate_of_a_tenant_is_kept_through_the_loss_of_the_server() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    let rate = TenantLimits {
        rate_per_minute: Some(2),
        ..NO_LIMITS
    };
    let now_ms = crate::request::clock::now_ms();
    let tenant = Arc::from("acme");
    let ask = async |store: &Store| {
        let reserve = SharedReservation::reserve(store, &tenant, &rate, PRICE, now_ms);
        reserve.await.unwrap().unwrap()
    };
    assert!(ask(&one).await.is_ok() && ask(&one).await.is_ok());
    one.flush().await.unwrap();
    server.flush_all();
    comes_back(&server, &[&one, &other]).await;
    assert_eq!(ask(&other).await.err(), Some(Limit::Rate));
}

#[tokio::test]
async fn a_submit_waits_until_an_emptied_server_has_everything_back() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    let _held = ask(&one, &most_tasks(1)).await.unwrap();
    server.flush_all();
    let redis = other.replicas().unwrap();
    let (tenant, limits) = (Arc::from("acme"), most_tasks(1));
    let reserve = async || {
        let submit = redis.next_submit();
        redis.reserve(submit, &tenant, &limits, PRICE, NOW).await
    };
    assert_eq!(reserve().await, Ok(None), "nobody has written back");
    other.flush().await.unwrap();
    assert_eq!(reserve().await, Ok(None), "one may have more");
    one.flush().await.unwrap();
    let waited = SharedReservation::reserve(&other, &tenant, &limits, PRICE, NOW);
    let reached = waited.await.unwrap().unwrap().err();
    assert_eq!(reached, Some(Limit::Tasks));
}

#[tokio::test]
async fn solves_of_a_replica_that_ended_count_also_after_the_server_was_emptied() {
    let server = RedisServer::start();
    let (ended, one, other) = (connect(&server), connect(&server), connect(&server));
    for id in ["1", "2", "3"] {
        ended.settle(solved(id).1);
    }
    ended.close().await.unwrap();
    for id in ["4", "5"] {
        one.settle(solved(id).1);
    }
    other.settle(solved("6").1);
    other.flush().await.unwrap();
    // The last that it hears: six are used.
    drop(ask(&one, &NO_LIMITS).await);
    server.flush_all();
    comes_back(&server, &[&one, &other]).await;
    assert_eq!(ask(&other, &daily(6)).await.err(), Some(Limit::Daily));
    assert!(ask(&other, &daily(7)).await.is_ok(), "each once");
    one.settle(solved("7").1);
    one.flush().await.unwrap();
    assert_eq!(ask(&other, &daily(7)).await.err(), Some(Limit::Daily));
    let used = other.replicas().unwrap().used_together("acme", NOW);
    assert_eq!(used.unwrap().charged_this_month_micro_usd, 7 * PRICE);
}

#[tokio::test]
async fn what_ended_in_the_second_that_was_lost_is_not_open_again() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    let reserved = ask(&one, &most_tasks(1)).await.unwrap();
    let sent = park(&one).await;
    let (intent_id, written) = one.intend_within(intent("main"), None, slots(Some(1)));
    written.await.unwrap();
    let before = server.say("DUMP sidekey:parked_of:0");
    assert!(!before.is_empty());
    // As the server was a second ago: all three are open, and the replica knows that none is.
    let copies = [
        "COPY sidekey:tenant:acme:open keep:open",
        "COPY sidekey:tenant:acme:prices keep:prices",
        "COPY sidekey:intents:0 keep:intents",
        "COPY sidekey:slots:main keep:slots",
        "COPY sidekey:parked_of:0 keep:parked_of",
    ];
    let parked = format!("COPY sidekey:parked:{sent} keep:parked");
    let copies = copies.iter().map(|it| (*it).to_owned()).chain([parked]);
    let copies: Vec<_> = copies.collect();
    for copy in &copies {
        assert_eq!(server.say(copy), ":1", "{copy}");
    }
    drop(reserved);
    one.forget(intent_id);
    one.end_parked(sent, ParkedState::Unsent(Unsent::Dropped), 9);
    one.flush().await.unwrap();
    for copy in &copies {
        let mut words = copy.split(' ').skip(1);
        let (to, from) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(server.say(&format!("COPY {from} {to} REPLACE")), ":1");
    }
    server.say("SET sidekey:applied:0 1");
    comes_back(&server, &[&one]).await;
    assert!(ask(&other, &most_tasks(1)).await.is_ok());
    let (_, written) = other.intend_within(intent("main"), None, slots(Some(1)));
    written.await.unwrap();
    one.close().await.unwrap();
    assert!(other.uncertain_list(9).await.unwrap().is_empty());
    // Sent or dropped, another replica must not send it.
    assert!(other.waiting_parked().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_asked_for_and_given_up_is_not_reserved_when_the_server_goes_on() {
    let server = RedisServer::start();
    let store = connect(&server);
    drop(ask(&store, &most_tasks(1)).await.unwrap());
    store.flush().await.unwrap();
    server.pause();
    let tenant = Arc::from("acme");
    let limits = most_tasks(1);
    for _ in 0..3 {
        let reserve = SharedReservation::reserve(&store, &tenant, &limits, PRICE, NOW);
        assert!(reserve.await.unwrap().is_err());
    }
    server.go_on();
    until(async || store.flush().await.is_ok()).await;
    until(async || {
        let asked = store.replicas().unwrap().meet(meeting(None));
        asked.await.is_ok()
    })
    .await;
    store.flush().await.unwrap();
    assert_eq!(server.say("ZCARD sidekey:tenant:acme:open"), ":0");
    // Its answer comes behind the giving back: the connections are two.
    let redis = store.replicas().unwrap();
    let submit = redis.next_submit();
    store.give_back(&tenant, submit, None);
    store.flush().await.unwrap();
    let late = redis.reserve(submit, &tenant, &limits, PRICE, NOW).await;
    assert_eq!(late, Ok(Some(Ok(()))));
    assert_eq!(server.say("ZCARD sidekey:tenant:acme:open"), ":0");
    // Said again because the answer was lost, it does not stand in its own way.
    let submit = redis.next_submit();
    for _ in 0..2 {
        let reserved = redis.reserve(submit, &tenant, &limits, PRICE, NOW).await;
        assert_eq!(reserved, Ok(Some(Ok(()))));
    }
}

#[tokio::test]
async fn a_parked_submit_that_was_taken_over_survives_the_loss_of_the_server() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    let reserved = ask(&one, &most_tasks(1)).await.unwrap();
    let (record, request) = parked_submit(one.next_own_id(), 120);
    let id = record.id;
    one.park(record, request, None).1.await.unwrap();
    reserved.park(id);
    drop(reserved);
    one.close().await.unwrap();
    assert_eq!(other.waiting_parked().await.unwrap().len(), 1);
    other.flush().await.unwrap();
    server.flush_all();
    comes_back(&server, &[&other]).await;
    assert!(other.parked_request(id).await.unwrap().is_some());
    assert_eq!(ask(&other, &most_tasks(1)).await.err(), Some(Limit::Tasks));
    let (_, written) = other.intend_parked(id, intent("main"));
    written.await.unwrap();
    let found = other.find_parked(id, "acme").await.unwrap().unwrap();
    assert_eq!(found.state, ParkedState::Sending);
}
