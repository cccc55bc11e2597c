//! What several replicas do as one: changes by hand, alerts, counts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidekey::sandbox::Dialect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::fleet::{Fleet, QUICK, solving};
use crate::support::team::{tenants, token};
use crate::support::{TASK, http, key, name, until, vendor, within};

const DISABLE: &str = "/api/keys/account-1/disable";
const DEACTIVATE: &str = "/api/tenants/acme/deactivate";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hand_switches_off_at_one_replica_is_off_at_all_and_at_those_that_start_later() {
    let file = tenants(&[("acme", "")]);
    let mut fleet = Fleet::start_for(3, solving(2, 0), QUICK, Some(&file)).await;
    let is_off = |fleet: &Fleet, at: usize| {
        let snapshot = fleet.running(at).server.live.load();
        let acme = snapshot.tenants.by_name("acme").unwrap();
        let key = fleet.states(at)[0] == "disabled";
        (key, acme.is_deactivated())
    };
    let all = async |fleet: &Fleet, wanted| {
        for at in 0..3 {
            until("all know", async || is_off(fleet, at) == wanted).await;
        }
    };
    assert_eq!(fleet.change(0, DISABLE).await, 200);
    assert_eq!(fleet.change(0, DEACTIVATE).await, 200);
    assert_eq!(is_off(&fleet, 0), (true, true), "at once where it was said");
    let began = Instant::now();
    all(&fleet, (true, true)).await;
    assert!(began.elapsed().as_secs() < 2);
    let submit = format!("/in.php?key={}&{TASK}", token("acme"));
    assert_eq!(fleet.get(2, &submit).await, "ERROR_KEY_DOES_NOT_EXIST");

    // Whoever was told is gone, and the server is emptied; the others know.
    fleet.stop_replica(0).await;
    fleet.redis.flush_all();
    until("the server has it again", async || {
        fleet.redis.say("HLEN sidekey:by_hand") == ":2"
    })
    .await;
    fleet.start_replica(0).await;
    assert_eq!(is_off(&fleet, 0), (true, true), "before it serves anybody");
    assert_eq!(fleet.change(1, "/api/keys/account-1/enable").await, 200);
    assert_eq!(fleet.change(2, "/api/tenants/acme/activate").await, 200);
    all(&fleet, (false, false)).await;
    assert!(fleet.get(0, &submit).await.starts_with("OK|"));

    // While the server is gone it holds here, and elsewhere as soon as it is back.
    fleet.redis.kill();
    assert_eq!(fleet.change(1, DISABLE).await, 200);
    assert_eq!(is_off(&fleet, 1), (true, false));
    fleet.redis.start_again();
    all(&fleet, (true, false)).await;
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_alert_is_told_once_by_all_together() {
    let (url, taken) = webhook().await;
    let file = tenants(&[("acme", "")]);
    let lines = format!("alerts.webhook = {url:?}\n{QUICK}");
    let mut fleet = Fleet::start_for(3, solving(2, 0), &lines, Some(&file)).await;
    let revoked = || {
        let taken = taken.lock().unwrap();
        let of = |text: &&String| text.contains("\"cause\":\"key_revoked\"");
        taken.iter().filter(of).count()
    };
    let active = "sidekey_alerts_active{cause=\"key_revoked\"}";
    fleet.world.sandbox.remove_account(&name(1)).unwrap();
    let submit = format!("/in.php?key={}&{TASK}", token("acme"));
    until("a client meets it", async || {
        fleet.get(1, &submit).await;
        fleet.states(1)[0] != "healthy"
    })
    .await;
    until("all three see it", async || {
        fleet.metric(active).await == 3.0
    })
    .await;
    until("somebody is told", async || revoked() > 0).await;
    // One that starts later sees it as well.
    fleet.stop_replica(0).await;
    fleet.start_replica(0).await;
    until("all three see it", async || {
        fleet.metric(active).await == 3.0
    })
    .await;
    let told = "sidekey_alerts_total{cause=\"key_revoked\"}";
    assert!(fleet.metric(told).await <= 1.0);
    fleet.end().await;
    // Whatever was on its way has been delivered.
    assert_eq!(revoked(), 1, "{:?}", taken.lock().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_others_use_of_an_account_is_no_stranger_and_what_none_used_is() {
    let mut config = vendor(Dialect::Twocaptcha, 1);
    config.accounts[0].balance_micros = 10_000_000;
    config.accounts[0].price_micros = 5_000;
    let lines = "balance.refresh = \"1s\"\nprices.recaptcha_v2 = 0.005\nprices.image = 0.005";
    let fleet = Fleet::start(3, config, lines).await;
    let beyond = "sidekey_key_unexplained_spend_usd_total";
    let balance = |at: usize| {
        let snapshot = fleet.running(at).server.live.load();
        let account = snapshot.keys.accounts().next().unwrap();
        account.money(Instant::now()).map(|money| money.micro_usd)
    };
    let is_solved = async |at: usize, id: &str| {
        until("it is solved", async || {
            fleet.poll(at, id).await.starts_with("OK|")
        })
        .await;
    };
    for at in 0..60 {
        let id = fleet.submit(at % 3).await;
        is_solved(at % 3, &id).await;
        is_solved((at + 1) % 3, &id).await;
    }
    until("the vendor has said what we spent", async || {
        (0..3).all(|at| balance(at) == Some(9_700_000))
    })
    .await;
    assert_eq!(fleet.metric(beyond).await, 0.0);
    // Each was heard of at two replicas, and counts once.
    assert_eq!(fleet.metric("sidekey_solves_total").await, 60.0);
    let submit = format!("/in.php?key={}&{TASK}", key(1));
    for _ in 0..100 {
        let address = fleet.world.sandbox.address();
        let answer = http::send(address, "GET", &submit, "", "").await;
        assert!(answer.body.starts_with("OK|"), "{answer:?}");
    }
    let told = "sidekey_alerts_total{cause=\"spend_beyond_ledger\"}";
    until("somebody is told", async || fleet.metric(told).await > 0.0).await;
    let seen = fleet.metric(beyond).await;
    assert!((0.2..=0.5).contains(&seen), "{seen} of 0.5");
    assert_eq!(fleet.metric(told).await, 1.0);
    fleet.end().await;
}

/// At first nothing is sent that is not counted. Then the limit holds over all as far as each knew when the server fell silent; what
/// runs and is solved meanwhile counts once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_hangs_no_limit_is_overshot_and_when_it_is_gone_for_long_each_holds_a_tenant_to_what_was_left_and_all_to_the_sum_after()
 {
    const LIMIT: usize = 9;
    const BEFORE: usize = 6;
    let limit = format!("daily_limit = {LIMIT}");
    let file = tenants(&[("acme", &limit), ("free", "")]);
    let fleet = Fleet::start_for(3, solving(2, 0), QUICK, Some(&file)).await;
    let submit = format!("/in.php?key={}&{TASK}", token("acme"));
    let solve = async |at: usize| {
        let answer = fleet.get(at, &submit).await;
        let Some(id) = answer.strip_prefix("OK|") else {
            assert_eq!(answer, "ERROR_ZERO_BALANCE");
            return 0;
        };
        let poll = format!("/res.php?key={}&action=get&id={id}", token("acme"));
        until("it is solved", async || {
            fleet.get(at, &poll).await.starts_with("OK|")
        })
        .await;
        1
    };
    let day = sidekey::request::clock::now_ms() / 86_400_000;
    let settled = async || {
        let store = &fleet.running(0).server.store;
        let rows = store.settled(day * 86_400_000, 0).await;
        let acme = rows.ok().and_then(|mut rows| rows.remove("acme"));
        acme.map_or(0, |acme| acme.solves_today as usize)
    };
    for at in 0..BEFORE {
        assert_eq!(solve(at % 3).await, 1);
        until("it is settled", async || settled().await == at + 1).await;
    }
    fleet.redis.pause();
    // At the same time: each waits for the server, which is given up some seconds later.
    let refused = (0..3).map(|at| fleet.get(at, &submit));
    for refused in futures_util::future::join_all(refused).await {
        assert_eq!(refused, "ERROR_NO_SLOT_AVAILABLE");
    }
    assert_eq!(fleet.world.sandbox.tasks().len(), BEFORE);
    let unlimited = format!("/in.php?key={}&{TASK}", token("free"));
    assert!(fleet.get(0, &unlimited).await.starts_with("OK|"));
    within(Duration::from_secs(30), "each is alone", async || {
        (0..3).all(|at| fleet.running(at).server.replicas.is_alone())
    })
    .await;
    let alone = async |at: usize| {
        let mut solved = 0;
        for _ in 0..LIMIT {
            solved += solve(at).await;
        }
        solved
    };
    let alone = futures_util::future::join_all((0..3).map(alone)).await;
    fleet.redis.go_on();
    // When each submitted last, one to three of the six were still to come.
    for solved in &alone {
        assert!((1..=LIMIT - BEFORE + 3).contains(solved), "{alone:?}");
    }
    let solved = BEFORE + alone.iter().sum::<usize>();
    assert_eq!(fleet.world.sandbox.tasks().len(), solved + 1);
    until("it is one limit again", async || {
        (0..3).all(|at| fleet.running(at).server.store.health().writing)
    })
    .await;
    for at in 0..3 {
        assert_eq!(solve(at).await, 0);
    }
    until("each is counted once", async || settled().await == solved).await;
    until("no place is held", async || {
        fleet.redis.say("ZCARD sidekey:tenant:acme:open") == ":0"
    })
    .await;
    fleet.end().await;
}

/// Its address, and the bodies of what it took.
async fn webhook() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let taken: Arc<Mutex<Vec<String>>> = Arc::default();
    let receive = Arc::clone(&taken);
    sidekey::background::Background::new().spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            while !read.ends_with(b"}") && stream.read_buf(&mut read).await.unwrap() > 0 {}
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            let text = String::from_utf8_lossy(&read).into_owned();
            receive.lock().unwrap().push(text);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, taken)
}
