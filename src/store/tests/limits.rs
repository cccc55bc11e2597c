//! What tenants may, counted by the server for all replicas together.

use super::parked::park;
use super::shared::{meeting, until};
use super::*;
use crate::config::settings::TenantLimits;
use crate::request::clock;
use crate::tenants::meter::Limit;
use crate::tenants::shared::SharedReservation;

pub(super) const NO_LIMITS: TenantLimits = TenantLimits {
    daily: None,
    rate_per_minute: None,
    budget_micro_usd: None,
    max_tasks: None,
};
pub(super) const NOW: i64 = 1_796_000_000_000;

pub(super) fn solve(task: &TaskRecord, ended: Ended) -> UsageRow {
    UsageRow {
        task: task.key.clone(),
        submitted_at_ms: task.submitted_at_ms,
        ended_at_ms: NOW,
        ended,
        project: None,
        kind: Arc::clone(&task.kind),
        owner_name: Arc::clone(&task.owner_name),
        cost_micro_usd: 1_200,
        charge_micro_usd: 1_500,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_held_to_its_limits_by_all_replicas_together() {
    let server = RedisServer::start();
    let replicas = [connect(&server), connect(&server), connect(&server)];
    let limits = TenantLimits {
        daily: Some(50),
        max_tasks: Some(8),
        ..NO_LIMITS
    };
    let tenant: Arc<str> = Arc::from("acme");
    let client = async |client: usize| {
        let (mut solved, mut daily) = (0, 0);
        let store = &replicas[client % 3];
        for number in 0..8 {
            let reserve = SharedReservation::reserve(store, &tenant, &limits, 1_500, NOW)
                .await
                .unwrap();
            match reserve.unwrap() {
                Ok(reservation) => {
                    let mut task = task(&format!("{client}-{number}"), "main");
                    task.key.tenant = Arc::clone(&tenant);
                    task.submitted_at_ms = NOW;
                    store.learn(task.clone()).await.unwrap();
                    drop(reservation);
                    let failed = number % 4 == 3;
                    let ended = if failed { Ended::Failed } else { Ended::Solved };
                    // Whoever hears the end, and however often.
                    for at in 1..3 {
                        replicas[(client + at) % 3].settle(solve(&task, ended));
                    }
                    replicas[(client + 1) % 3].flush().await.unwrap();
                    solved += usize::from(!failed);
                }
                Err(Limit::Daily) => daily += 1,
                Err(limit) => assert_eq!(limit, Limit::Tasks),
            }
        }
        (solved, daily)
    };
    let clients = futures_util::future::join_all((0..64).map(client)).await;
    for store in &replicas {
        store.flush().await.unwrap();
    }
    // Room that was left because others held it for a moment.
    let mut solved: usize = clients.iter().map(|(solved, _)| solved).sum();
    let mut more = 0;
    loop {
        let reserve = SharedReservation::reserve(&replicas[0], &tenant, &limits, 1_500, NOW);
        let Ok(reservation) = reserve.await.unwrap().unwrap() else {
            break;
        };
        let mut task = task(&format!("more-{more}"), "main");
        task.key.tenant = Arc::clone(&tenant);
        replicas[0].learn(task.clone()).await.unwrap();
        drop(reservation);
        replicas[0].settle(solve(&task, Ended::Solved));
        replicas[0].flush().await.unwrap();
        solved += 1;
        more += 1;
    }
    assert_eq!(solved, 50);
    let settled = replicas[2].settled(0, 0).await.unwrap();
    assert_eq!(settled[&tenant].solves_today, 50);
    assert_eq!(settled[&tenant].charged_this_month_micro_usd, 50 * 1_500);
    // The next day is another one; money and rate have limits of their own.
    let ask = async |limits: TenantLimits, now_ms| {
        let reserve = SharedReservation::reserve(&replicas[1], &tenant, &limits, 1_500, now_ms);
        reserve.await.unwrap().unwrap()
    };
    assert!(ask(limits, NOW + 86_400_000).await.is_ok());
    let budget = |budget| TenantLimits {
        budget_micro_usd: Some(budget),
        ..NO_LIMITS
    };
    for store in &replicas {
        store.flush().await.unwrap();
    }
    assert_eq!(ask(budget(76_499), NOW).await.err(), Some(Limit::Budget));
    let rate = TenantLimits {
        rate_per_minute: Some(2),
        ..NO_LIMITS
    };
    for reached in [None, None, Some(Limit::Rate)] {
        assert_eq!(ask(rate, NOW).await.err(), reached);
    }
}

#[tokio::test]
async fn a_submit_of_which_nobody_knows_counts_until_the_day_ends() {
    let server = RedisServer::start();
    let store = connect(&server);
    let tenant: Arc<str> = Arc::from("acme");
    let limits = TenantLimits {
        daily: Some(1),
        ..NO_LIMITS
    };
    let now_ms = clock::now_ms();
    let ask = async || {
        let reserve = SharedReservation::reserve(&store, &tenant, &limits, 1_500, now_ms);
        reserve.await.unwrap().unwrap()
    };
    drop(ask().await.unwrap());
    store.flush().await.unwrap();
    ask().await.unwrap().keep(now_ms);
    store.flush().await.unwrap();
    assert_eq!(ask().await.err(), Some(Limit::Daily));
}

#[tokio::test]
async fn what_a_parked_submit_has_reserved_is_held_until_it_ends() {
    let server = RedisServer::start();
    let (store, other) = (connect(&server), connect(&server));
    let tenant: Arc<str> = Arc::from("acme");
    let limits = TenantLimits {
        max_tasks: Some(1),
        ..NO_LIMITS
    };
    let ask = async |store: &Store| {
        store.flush().await.unwrap();
        SharedReservation::reserve(store, &tenant, &limits, 1_500, NOW)
            .await
            .unwrap()
            .unwrap()
    };
    let reservation = ask(&store).await.unwrap();
    let id = park(&store).await;
    reservation.park(id);
    drop(reservation);
    store.flush().await.unwrap();
    assert_eq!(ask(&other).await.err(), Some(Limit::Tasks));
    // Its replica ends, and another one sends it: its task holds it then.
    store.close().await.unwrap();
    assert_eq!(other.waiting_parked().await.unwrap().len(), 1);
    assert_eq!(ask(&other).await.err(), Some(Limit::Tasks));
    let (intent_id, written) = other.intend_parked(id, intent("main"));
    written.await.unwrap();
    let mut record = task("7", "main");
    record.key.tenant = Arc::clone(&tenant);
    let accepted = other.accept_parked(id, intent_id, record.clone());
    accepted.await.unwrap();
    assert_eq!(ask(&other).await.err(), Some(Limit::Tasks));
    other.settle(solve(&record, Ended::Failed));
    assert!(ask(&other).await.is_ok());
}

#[tokio::test]
async fn of_what_a_dead_replica_had_reserved_only_that_of_sent_submits_is_held_on() {
    let server = RedisServer::start();
    let (dead, living) = (connect(&server), connect(&server));
    let tenant: Arc<str> = Arc::from("acme");
    let now_ms = clock::now_ms();
    let ask = async |store, limits: TenantLimits, price| {
        let reserve = SharedReservation::reserve(store, &tenant, &limits, price, now_ms);
        reserve.await.unwrap().unwrap()
    };
    // One is sent, one waits for a key, and one has made a task that runs.
    let reserved = [
        ask(&dead, NO_LIMITS, 1_500).await.unwrap(),
        ask(&dead, NO_LIMITS, 900).await.unwrap(),
        ask(&dead, NO_LIMITS, 1_500).await.unwrap(),
    ];
    let mut sent = intent("main");
    sent.tenant = Arc::clone(&tenant);
    let (id, written) = dead.intend_within(sent.clone(), None, counted(&reserved[0]));
    written.await.unwrap();
    let mut runs = task("7", "main");
    runs.key.tenant = Arc::clone(&tenant);
    dead.learn(runs.clone()).await.unwrap();
    assert_eq!(server.say("HLEN sidekey:reserved:0"), ":3");
    let gone = Some(Duration::from_millis(100));
    until(async || {
        living.flush().await.unwrap();
        let meeting = Brought {
            lead_for: Duration::from_secs(60),
            ..meeting(gone)
        };
        living
            .replicas()
            .unwrap()
            .meet(meeting)
            .await
            .unwrap()
            .taken_over
            == 1
    })
    .await;
    // The task and the uncertain one.
    let daily = |most| TenantLimits {
        daily: Some(most),
        ..NO_LIMITS
    };
    let tasks = |most| TenantLimits {
        max_tasks: Some(most),
        ..NO_LIMITS
    };
    let budget = |most| TenantLimits {
        budget_micro_usd: Some(most),
        ..NO_LIMITS
    };
    let charge = runs.charge_micro_usd.or(runs.price_micro_usd).unwrap_or(0);
    assert_eq!(ask(&living, daily(2), 1).await.err(), Some(Limit::Daily));
    assert_eq!(
        ask(&living, budget(charge + 1_500), 1).await.err(),
        Some(Limit::Budget)
    );
    assert_eq!(ask(&living, tasks(1), 1).await.err(), Some(Limit::Tasks));
    drop(ask(&living, daily(3), 1).await.unwrap());
    living.flush().await.unwrap();
    drop(ask(&living, budget(charge + 1_501), 1).await.unwrap());
    living.flush().await.unwrap();
    drop(ask(&living, tasks(2), 1).await.unwrap());
    // It only stood still: what it had reserved is another's by now, and must not be sent.
    let (late, written) = dead.intend_within(sent, None, counted(&reserved[1]));
    assert_eq!(written.await, Err(StoreError::Unreserved));
    dead.forget(late);
    // Its submit came to nothing: that is not uncertain any more.
    dead.forget(id);
    drop(reserved);
    dead.flush().await.unwrap();
    living.flush().await.unwrap();
    assert!(ask(&living, daily(2), 1).await.is_ok());
    assert_eq!(server.say("HLEN sidekey:reserved:0"), ":0");
}

fn counted(reservation: &SharedReservation) -> Within {
    let reserved = Reserved {
        is_limited: true,
        ..reservation.reserved()
    };
    Within {
        reserved: Some(reserved),
        ..Within::default()
    }
}

/// Each holds its own part, so that the end of one frees no other's place.
#[tokio::test]
async fn an_uncertain_submit_holds_its_place_until_its_own_id_comes_late() {
    let server = RedisServer::start();
    let store = connect(&server);
    let tenant: Arc<str> = Arc::from("acme");
    let now_ms = clock::now_ms();
    let limits = TenantLimits {
        daily: Some(2),
        ..NO_LIMITS
    };
    let ask = async || {
        store.flush().await.unwrap();
        let reserve = SharedReservation::reserve(&store, &tenant, &limits, 1_500, now_ms);
        reserve.await.unwrap().unwrap()
    };
    let mut sent = intent("main");
    sent.tenant = Arc::clone(&tenant);
    let mut uncertain = Vec::new();
    for _ in 0..2 {
        let reservation = ask().await.unwrap();
        let (id, written) = store.intend_within(sent.clone(), None, counted(&reservation));
        written.await.unwrap();
        let row = UncertainRow {
            id,
            intent: sent.clone(),
            why: "the deadline passed".into(),
            parameters_hash: None,
            resolved: None,
        };
        store.uncertain(row).await.unwrap();
        uncertain.push((id, reservation));
    }
    assert_eq!(ask().await.err(), Some(Limit::Daily));
    let (late, of_late) = uncertain.pop().unwrap();
    let mut made = task("7", "main");
    made.key.tenant = Arc::clone(&tenant);
    store.resolve_uncertain(late, made.clone()).await.unwrap();
    drop(of_late);
    assert_eq!(ask().await.err(), Some(Limit::Daily));
    store.settle(solve(&made, Ended::Failed));
    let (_, of_other) = uncertain.pop().unwrap();
    of_other.keep(now_ms);
    drop(of_other);
    let last = ask().await.unwrap();
    assert_eq!(ask().await.err(), Some(Limit::Daily));
    drop(last);
}
