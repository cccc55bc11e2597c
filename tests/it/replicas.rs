//! Three replicas, one Redis: whatever reaches whichever of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use sidekey::background::Background;
use sidekey::config::environment::Environment;
use sidekey::sandbox::Dialect;
use tokio::time::{Instant, sleep, timeout};

use crate::support::fleet::{Fleet, QUICK, solving};
use crate::support::team::{tenants, token};
use crate::support::{TASK, key, name, until, vendor, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_one_replica_are_polled_at_the_others_through_restarts_of_all_and_of_redis() {
    const CLIENTS: usize = 12;
    let fleet = Fleet::start(3, solving(4, 400), QUICK).await;
    let sandbox = fleet.world.sandbox.clone();
    let fleet = Arc::new(tokio::sync::RwLock::new(fleet));
    let (background, done) = (Background::new(), Arc::new(AtomicUsize::new(0)));
    let over = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (fleet, done, over) = (Arc::clone(&fleet), Arc::clone(&done), Arc::clone(&over));
            background.spawn(async move {
                let mut turn = client;
                // As a service does: whichever replica is there.
                let mut next = |fleet: &Fleet| loop {
                    turn += 1;
                    if fleet.replicas[turn % 3].is_some() {
                        return turn % 3;
                    }
                };
                while over.load(Ordering::Relaxed) == 0 {
                    let id = {
                        let fleet = fleet.read().await;
                        let at = next(&fleet);
                        fleet.submit(at).await
                    };
                    let began = Instant::now();
                    loop {
                        sleep(Duration::from_millis(120)).await;
                        let answer = {
                            let fleet = fleet.read().await;
                            let at = next(&fleet);
                            fleet.poll(at, &id).await
                        };
                        if answer.starts_with("OK|") {
                            break;
                        }
                        assert_eq!(answer, "CAPCHA_NOT_READY", "{id}");
                        assert!(began.elapsed() < Duration::from_secs(20), "{id} is lost");
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more = async |what: &str| {
        let wanted = done.load(Ordering::Relaxed) + 2 * CLIENTS;
        until(what, async || done.load(Ordering::Relaxed) >= wanted).await;
    };
    more("all work").await;
    for at in 0..3 {
        // The lock stands for the load balancer, which sends nothing more to a replica that is about to end.
        fleet.write().await.stop_replica(at).await;
        more("two are left").await;
        fleet.write().await.start_replica(at).await;
    }
    more("all are new").await;
    fleet.write().await.redis.kill();
    sleep(Duration::from_millis(1500)).await;
    fleet.write().await.redis.start_again();
    more("redis is back").await;
    fleet.read().await.redis.flush_all();
    more("redis was emptied").await;
    over.store(1, Ordering::Relaxed);
    for client in clients {
        timeout(Duration::from_secs(30), client)
            .await
            .unwrap()
            .unwrap();
    }
    let counts = sandbox.counts();
    assert_eq!(counts.foreign, 0, "wrong-key polls");
    let (made, solved) = (sandbox.tasks().len(), done.load(Ordering::Relaxed));
    assert_eq!(made, solved, "tasks that no client got an answer of");
    assert!(
        fleet
            .read()
            .await
            .running(0)
            .server
            .store
            .uncertain_list(9)
            .await
            .unwrap()
            .is_empty()
    );
    let Ok(fleet) = Arc::try_unwrap(fleet) else {
        panic!("clients are gone")
    };
    fleet.into_inner().end().await;
}

/// Calls that no client asked for, by account and action.
fn own_calls(fleet: &Fleet) -> BTreeMap<(String, String), u64> {
    let mut calls = BTreeMap::new();
    for call in &fleet.world.sandbox.record().calls {
        let account = call.account.clone().unwrap_or_default();
        *calls.entry((account, call.action.clone())).or_default() += 1;
    }
    calls
}

/// No clients, so every call is upkeep. Nothing is asked twice within an hour: what is learnt at a start is all there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_start_asks_the_vendor_is_the_same_for_three_replicas_as_for_one_also_when_the_lead_passes_on()
 {
    let asked = async |replicas: usize| {
        let prepaid = vendor(Dialect::Twocaptcha, 3);
        let mut fleet = Fleet::start(replicas, prepaid, "balance.refresh = \"1h\"").await;
        for _ in 0..replicas {
            until("one leads", async || fleet.leaders().len() == 1).await;
            let leader = fleet.leaders()[0];
            fleet.stop_replica(leader).await;
            fleet.start_replica(leader).await;
        }
        until("one leads", async || fleet.leaders().len() == 1).await;
        sleep(Duration::from_secs(1)).await;
        let calls = own_calls(&fleet);
        fleet.end().await;
        calls
    };
    let expected = (1..=3).map(|n| ((name(n), "getbalance".to_owned()), 1));
    let expected: BTreeMap<_, _> = expected.collect();
    assert_eq!(asked(1).await, expected);
    assert_eq!(asked(3).await, expected);
}

/// Turns are drawn by chance, so their number is not the same twice; but nobody asks beside the leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_ask_the_vendor_no_more_than_one_alone() {
    const LONG: Duration = Duration::from_secs(11);
    const ASKED: &str = "sidekey_vendor_requests_total{action=\"balance\"";
    for replicas in [1, 3] {
        let prepaid = vendor(Dialect::Twocaptcha, 3);
        let fleet = Fleet::start(replicas, prepaid, "balance.refresh = \"1s\"").await;
        until("one leads", async || fleet.leaders().len() == 1).await;
        let leaders = fleet.leaders();
        let by_others = async || {
            let mut sum = 0.0;
            for at in (0..replicas).filter(|at| *at != leaders[0]) {
                sum += fleet.metric_of(at, ASKED).await;
            }
            sum
        };
        let (before, before_by_others) = (own_calls(&fleet), by_others().await);
        let began = Instant::now();
        sleep(LONG).await;
        let calls = own_calls(&fleet);
        // A turn is at least 0.9 of the time, and the first may come at once.
        let most = 2.0 + began.elapsed().as_secs_f64() / 0.9;
        assert_eq!(fleet.leaders(), leaders);
        assert_eq!(by_others().await, before_by_others, "beside the leader");
        for (of, calls) in &calls {
            let calls = calls - before.get(of).unwrap_or(&0);
            assert!(
                calls >= 1 && (calls as f64) <= most,
                "{replicas} replicas: {calls} {of:?}, {most} at most"
            );
        }
        assert_eq!(calls.len(), 3, "balances of three accounts: {calls:?}");
        for at in 0..replicas {
            let snapshot = fleet.running(at).server.live.load();
            for key in snapshot.keys.listed() {
                assert!(key.account.money(Instant::now()).is_some(), "replica {at}");
                // Whoever leads next goes on where this one is.
                let due = key.account.refresh_due(&key.limits).unwrap();
                let late = Instant::now().saturating_duration_since(due);
                assert!(late < Duration::from_secs(6), "replica {at}: {late:?}");
            }
        }
        fleet.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_given_no_more_tasks_than_it_has_slots_by_all_together() {
    let mut config = solving(1, 300);
    config.accounts[0].threads = Some(4);
    let fleet = Fleet::start(
        3,
        config,
        "submit.wait = \"15s\"\nsubmit.deadline = \"20s\"\npoll.pace = \"0s\"",
    )
    .await;
    fleet.know_the_slots(4).await;
    let client = async |client: usize| {
        let id = fleet.submit(client % 3).await;
        until("it is solved", async || {
            fleet.poll((client + 1) % 3, &id).await.starts_with("OK|")
        })
        .await;
    };
    join_all((0..36).map(client)).await;
    let record = fleet.world.sandbox.record();
    let refused = record
        .counts
        .outcomes
        .iter()
        .filter(|(outcome, _)| outcome.contains("ERROR"));
    let refused: Vec<_> = refused.collect();
    assert_eq!(refused, [], "the vendor had to refuse");
    assert_eq!(fleet.world.sandbox.tasks().len(), 36);
    fleet.end().await;
}

/// A replica whose submit waits hears of slots that are freed elsewhere at its meetings only, and tries between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_at_one_replica_gets_the_slot_that_another_frees() {
    const SLOTS: u32 = 4;
    let rounds = Environment::of_this_process()
        .get("SLOT_ROUNDS")
        .map_or(12, |rounds| rounds.parse().unwrap());
    let mut config = solving(1, 100);
    config.accounts[0].threads = Some(SLOTS);
    let waits = "submit.wait = \"15s\"\nsubmit.deadline = \"20s\"\npoll.pace = \"0s\"";
    let fleet = Fleet::start(2, config, waits).await;
    fleet.know_the_slots(SLOTS).await;
    let solve = async |id: String| {
        until("it is solved", async || {
            fleet.poll(0, &id).await.starts_with("OK|")
        })
        .await;
    };
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let others = join_all((0..SLOTS).map(|_| fleet.submit(0))).await;
        // So that the slots are freed at any time between two meetings.
        let pause = sleep(Duration::from_millis(round * 7 % 250));
        let (waits, ()) = tokio::join!(
            async {
                let began = Instant::now();
                let id = fleet.submit(1).await;
                (id, began.elapsed())
            },
            async {
                pause.await;
                join_all(others.into_iter().map(solve)).await;
            }
        );
        longest = longest.max(waits.1);
        solve(waits.0).await;
    }
    // Each try and each meeting is a quarter of a second apart.
    assert!(longest < Duration::from_secs(5), "waited for {longest:?}");
    fleet.end().await;
}

/// An empty key rests for a minute at least, and only the leader probes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes more than a minute"]
async fn a_key_that_is_empty_at_one_replica_only_is_used_there_again_when_it_has_money() {
    let mut prepaid = vendor(Dialect::Twocaptcha, 1);
    prepaid.accounts[0].price_micros = 3_000;
    prepaid.accounts[0].balance_micros = 3_000;
    let fleet = Fleet::start(3, prepaid, "balance.refresh = \"1h\"\nbalance.minimum = 0").await;
    until("one leads", async || fleet.leaders().len() == 1).await;
    let leader = fleet.leaders()[0];
    let follower = (leader + 1) % 3;
    let id = fleet.submit(follower).await;
    until("it is solved", async || {
        fleet.poll(follower, &id).await.starts_with("OK|")
    })
    .await;
    let submit = format!("/in.php?key={{}}&{TASK}");
    assert_eq!(fleet.get(follower, &submit).await, "ERROR_ZERO_BALANCE");
    assert_eq!(fleet.states(follower)[0], "empty");
    assert_eq!(fleet.states(leader)[0], "healthy");
    let name = name(1);
    fleet.world.sandbox.set_balance(&name, 9_000_000).unwrap();
    within(Duration::from_secs(90), "it is used again", async || {
        fleet.states(follower)[0] == "healthy"
    })
    .await;
    fleet.submit(follower).await;
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_leader_finds_out_of_a_key_all_go_by_and_the_lead_passes_on() {
    let mut fleet = Fleet::start(3, solving(2, 0), QUICK).await;
    until("one leads", async || fleet.leaders().len() == 1).await;
    let leader = fleet.leaders()[0];
    let follower = (leader + 1) % 3;
    fleet.world.sandbox.remove_account(&name(1)).unwrap();
    until("a client meets it", async || {
        fleet.submit(follower).await;
        fleet.states(follower)[0] != "healthy"
    })
    .await;
    for at in 0..3 {
        until("all know", async || fleet.states(at)[0] == "revoked").await;
    }
    let bad = fleet.world.sandbox.counts().unknown_key;
    assert!(
        bad <= 3,
        "{bad} bad-key answers: the vendor bans the address at five"
    );

    fleet.stop_replica(leader).await;
    let stopped = Instant::now();
    until("another leads", async || !fleet.leaders().is_empty()).await;
    assert!(stopped.elapsed() < Duration::from_secs(4));
    let mut back = solving(1, 0).accounts.remove(0);
    back.key = key(1);
    fleet.world.sandbox.put_account(back).unwrap();
    let next = fleet.leaders()[0];
    let snapshot = fleet.running(next).server.live.load();
    snapshot
        .keys
        .listed()
        .next()
        .unwrap()
        .ask_for_probe(Instant::now());
    for at in (0..3).filter(|at| *at != leader) {
        until("all trust it again", async || {
            fleet.states(at)[0] == "healthy"
        })
        .await;
    }
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_submits_go_on_and_what_they_made_is_written_when_it_is_back() {
    let mut fleet = Fleet::start(2, solving(2, 300), QUICK).await;
    let before = fleet.submit(0).await;
    fleet.redis.kill();
    let mut ids = vec![before];
    for _ in 0..5 {
        ids.push(fleet.submit(0).await);
    }
    for id in &ids {
        // The other cannot know it, and does not say that there is none.
        assert_eq!(fleet.poll(1, id).await, "CAPCHA_NOT_READY");
    }
    fleet.redis.start_again();
    for id in &ids {
        until("the other finds it", async || {
            fleet.poll(1, id).await.starts_with("OK|")
        })
        .await;
    }
    // It hangs: no error, no answer.
    fleet.redis.pause();
    let id = fleet.submit(0).await;
    assert_eq!(fleet.poll(1, &id).await, "CAPCHA_NOT_READY");
    fleet.redis.go_on();
    until("the other finds it", async || {
        fleet.poll(1, &id).await.starts_with("OK|")
    })
    .await;
    assert_eq!(fleet.world.sandbox.counts().foreign, 0);
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_parked_all_know_and_another_sends_once_when_it_ends() {
    let mut config = solving(1, 700);
    config.accounts[0].threads = Some(1);
    let parks = format!("submit.when_busy = \"park\"\n{QUICK}");
    let mut fleet = Fleet::start(3, config, &parks).await;
    fleet.know_the_slots(1).await;
    let mut ids = Vec::new();
    for at in [0, 0, 0, 0, 1, 1] {
        ids.push(fleet.submit(at).await);
    }
    let parked: Vec<_> = ids.iter().filter(|id| id.len() == 16).collect();
    assert!(parked.len() >= 4, "{ids:?}");
    for id in &parked {
        let heard = fleet.poll(2, id).await;
        assert!(
            heard == "CAPCHA_NOT_READY" || heard.starts_with("OK|"),
            "{heard}"
        );
    }
    fleet.stop_replica(0).await;
    // All at the same time: one that nobody polls would hold the only slot.
    let solved = ids.iter().map(async |id| {
        until("it is solved", async || {
            let heard = fleet.poll(2, id).await;
            assert!(
                heard == "CAPCHA_NOT_READY" || heard.starts_with("OK|"),
                "{id}: {heard}"
            );
            heard.starts_with("OK|")
        })
        .await;
    });
    join_all(solved).await;
    assert_eq!(fleet.world.sandbox.tasks().len(), ids.len(), "each once");
    assert_eq!(fleet.world.sandbox.counts().foreign, 0);
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_gets_as_much_from_all_replicas_together_as_its_limit_says() {
    const LIMIT: usize = 12;
    let file = tenants(&[("acme", &format!("daily_limit = {LIMIT}"))]);
    let keys_of = solving(2, 100);
    let fleet = Fleet::start_for(3, keys_of, QUICK, Some(&file)).await;
    let client = async |client: usize| {
        let mut solved = 0;
        for _ in 0..4 {
            let submit = format!("/in.php?key={}&{TASK}", token("acme"));
            let answer = fleet.get(client % 3, &submit).await;
            let Some(id) = answer.strip_prefix("OK|") else {
                assert_eq!(answer, "ERROR_ZERO_BALANCE");
                continue;
            };
            let poll = format!("/res.php?key={}&action=get&id={id}", token("acme"));
            until("it is solved", async || {
                fleet.get((client + 1) % 3, &poll).await.starts_with("OK|")
            })
            .await;
            solved += 1;
        }
        solved
    };
    let solved = join_all((0..9).map(client)).await;
    let solved: usize = solved.iter().sum();
    assert_eq!(solved, LIMIT);
    assert_eq!(fleet.world.sandbox.tasks().len(), LIMIT);
    fleet.end().await;
}
