//! What a tenant hears of tasks that are not its own: nothing, in the same words and the same time as of ids that nobody has.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::Duration;

use sidekey::keys::secret::Identity;
use sidekey::sandbox::Dialect;
use sidekey::store::{TaskKey, TaskRecord, TaskState};
use tokio::time::Instant;

use crate::redis_server::RedisServer;
use crate::support::http::{Answer, Connection};
use crate::support::team::token;
use crate::support::{World, vendor};

const TWO: [(&str, &str); 2] = [("alice", ""), ("mallory", "")];
const GUESSES: usize = 10_000;
/// Of alice's tasks every other one is in memory too, as those of the last minutes are.
const FIRST_ID: usize = 1_000_000;
/// Of each kind in the comparison of all ways.
const FOREIGN: usize = 100;
const WAYS: [&str; 5] = [
    "action=get&id=",
    "action=get&ids=",
    "action=get2&json=1&id=",
    "action=reportgood&id=",
    "action=reportbad&id=",
];
const PAIRS: usize = 600;
/// The mean of so many coins deviates by 0.02: by chance one comparison in ten million is outside. Noise of the machine falls on
/// both of a pair alike, so it makes a difference harder to see and never one that is none.
const ALIKE: Range<f64> = 0.39..0.61;
const LONG_AGO_MS: i64 = 1_700_000_000_000;

#[tokio::test]
async fn ten_thousand_guesses_around_an_own_id_bring_one_answer_in_one_time() {
    let world = World::start_for(vendor(Dialect::Twocaptcha, 2), "", &TWO).await;
    let server = &world.running().server;
    for id in (FIRST_ID..FIRST_ID + GUESSES).step_by(2) {
        let record = of_alice(id);
        server.store.learn(record.clone()).await.unwrap();
        if id % 4 == 0 {
            server.tasks.remember(record, Instant::now());
        }
    }
    let own = world.submit_as("mallory").await;
    // Else it is followed to its end while the guesses go on.
    world.poll_as("mallory", &own).await;
    let before = world.sandbox.counts();

    let mut client = Client::of(&world, "mallory").await;
    let heard = client.poll(&own_neighbour(0)).await.0;
    assert_eq!(heard.body, "ERROR_WRONG_CAPTCHA_ID");
    let guess = |pair| (own_neighbour(2 * pair), own_neighbour(2 * pair + 1));
    let pairs = client.compare("action=get&id=", GUESSES / 2, guess).await;
    assert_eq!(world.sandbox.counts(), before, "an account was asked");
    // The mean of 5,000 coins deviates by 0.007: by chance one run in ten million is outside, however noisy the machine.
    let slower = slower(&pairs);
    assert!(
        (0.46..0.54).contains(&slower),
        "foreign ids are slower in {slower}"
    );
    let (foreign, unknown) = (
        median(pairs.iter().map(|it| it.0)),
        median(pairs.iter().map(|it| it.1)),
    );
    let apart = foreign.abs_diff(unknown);
    assert!(apart * 20 < unknown, "{foreign:?} and {unknown:?}");

    // The same measure tells ids apart that are answered by other ways.
    let mut pairs = Vec::new();
    for _ in 0..500 {
        let known = client.poll(&own).await.1;
        pairs.push((known, client.poll(&own_neighbour(1)).await.1));
    }
    let slower = self::slower(&pairs);
    assert!(
        !(0.3..0.7).contains(&slower),
        "own ids are slower in {slower}"
    );

    let touched =
        "SELECT count(*) FROM tasks WHERE tenant = 'alice' AND used_at_ms <> 1700000000000";
    assert_eq!(world.stored::<i64>(touched), 0);
    world.end().await;
}

#[tokio::test]
async fn no_way_of_asking_tells_a_foreign_id_by_its_time() {
    let server = RedisServer::start();
    for (store, dearer) in [("sqlite", 2), ("redis", 2), ("memory", 40)] {
        let url = match store {
            "redis" => format!("state.url = {:?}", server.url()),
            _ => String::new(),
        };
        let config = format!("submit.when_empty = \"park\"\nstate.store = {store:?}\n{url}");
        let mut accounts = vendor(Dialect::Twocaptcha, 1);
        accounts.accounts[0].balance_micros = 0;
        let world = World::start_for(accounts, &config, &TWO).await;
        let server = &world.running().server;
        for id in (FIRST_ID..FIRST_ID + 2 * FOREIGN).step_by(2) {
            server.store.learn(of_alice(id)).await.unwrap();
            if id % 4 == 0 {
                server.tasks.remember(of_alice(id), Instant::now());
            }
        }
        // Among them ids that nobody has, or how many lie below would make a difference.
        let mut parked = Vec::new();
        for _ in 0..FOREIGN {
            let foreign = world.submit_as("alice").await;
            assert_eq!(foreign.len(), 16, "it is not parked");
            parked.push((foreign, server.store.next_own_id().0.to_string()));
        }
        let mut client = Client::of(&world, "mallory").await;
        for way in WAYS {
            let task = |pair: usize| {
                let n = 2 * (pair % FOREIGN);
                (own_neighbour(n), own_neighbour(n + 1))
            };
            let own = |pair: usize| parked[pair % FOREIGN].clone();
            let tasks = slower(&client.compare(way, PAIRS, task).await);
            let parked = slower(&client.compare(way, PAIRS, own).await);
            for (slower, of) in [(tasks, "tasks"), (parked, "parked ones")] {
                assert!(
                    ALIKE.contains(&slower),
                    "{store}, {way}: foreign {of} are slower in {slower}"
                );
            }
        }
        // The same measure sees so many look-ups more. In memory one takes less than a microsecond.
        let unknown = |pair: usize| own_neighbour(2 * pair + 1);
        let more = |pair| {
            let ids: Vec<_> = (pair..pair + dearer).map(unknown).collect();
            (ids.join(","), unknown(pair))
        };
        let times = client.time(WAYS[1], PAIRS, more).await;
        let times: Vec<_> = times.iter().map(|[(_, a), (_, b)]| (*a, *b)).collect();
        let slower = slower(&times);
        assert!(
            slower > ALIKE.end,
            "{store}: {dearer} look-ups are slower than one in {slower}"
        );
        world.end().await;
    }
}

#[tokio::test]
async fn no_action_on_a_foreign_task_is_answered_other_than_on_an_unknown_one() {
    for way in [
        "poll.unknown_task = \"ask\"",
        "poll.unknown_task = \"refuse\"",
    ] {
        let world = World::start_for(vendor(Dialect::Twocaptcha, 2), way, &TWO).await;
        let (alices, own) = (
            world.submit_as("alice").await,
            world.submit_as("mallory").await,
        );
        let before = world.sandbox.record().calls.len();
        for action in [
            "get",
            "get2",
            "",
            "reportgood",
            "reportbad",
            "report",
            "cancel",
        ] {
            for format in ["", "&json=1", "&json=1&header_acao=1"] {
                let ask = async |id: &str| {
                    let target = format!(
                        "/res.php?key={}&action={action}&id={id}{format}",
                        token("mallory")
                    );
                    undated(world.send("GET", &target, "", "").await)
                };
                let (foreign, unknown) = (ask(&alices).await, ask("73540000").await);
                assert_eq!(foreign, unknown, "{action}{format}");
                assert!(
                    foreign.body.contains("ERROR_WRONG_CAPTCHA_ID"),
                    "{foreign:?}"
                );
            }
        }
        for unheard in [&*alices, "73540000", "-1", "0", "1e3", "073540000"] {
            let ids = format!("/res.php?key={{}}&action=get&ids={unheard}");
            assert_eq!(
                world.try_as("mallory", &ids).await,
                "ERROR_WRONG_CAPTCHA_ID"
            );
        }
        assert_eq!(
            world.sandbox.record().calls.len(),
            before,
            "an account was asked"
        );

        let mixed = format!("/res.php?key={{}}&action=get&ids={alices},{own},73540000");
        let heard = world.try_as("mallory", &mixed).await;
        let expected = format!("ERROR_WRONG_CAPTCHA_ID|solved-{own}|ERROR_WRONG_CAPTCHA_ID");
        assert_eq!(heard, expected);
        assert_eq!(
            world.poll_as("alice", &alices).await,
            format!("OK|solved-{alices}")
        );
        world.end().await;
    }
}

#[tokio::test]
async fn the_log_and_the_metrics_tell_a_foreign_id_from_no_unknown_one() {
    let world = World::start_for(vendor(Dialect::Twocaptcha, 1), "", &TWO).await;
    let alices = world.submit_as("alice").await;
    let series =
        "sidekey_requests_total{endpoint=\"res\",action=\"poll\",outcome=\"unknown_task\"}";
    for (id, count) in [(&*alices, 1.0), ("73540000", 2.0)] {
        world.poll_as("mallory", id).await;
        assert_eq!(world.metric(series).await, count);
    }
    world.end().await;
}

/// One that polls over a connection of its own.
struct Client {
    connection: Connection,
    token: String,
}

impl Client {
    async fn of(world: &World, tenant: &str) -> Self {
        Self {
            connection: Connection::open(world.http()).await.unwrap(),
            token: token(tenant),
        }
    }

    async fn poll(&mut self, id: &str) -> (Answer, Duration) {
        self.ask("action=get&id=", id).await
    }

    /// The times of pairs of ids, all of which are answered alike.
    async fn compare(
        &mut self,
        way: &str,
        pairs: usize,
        ids: impl Fn(usize) -> (String, String),
    ) -> Vec<(Duration, Duration)> {
        let expected = self.ask(way, &ids(0).1).await.0;
        assert!(
            expected.body.contains("ERROR_WRONG_CAPTCHA_ID"),
            "{expected:?}"
        );
        let heard = self.time(way, pairs, ids).await;
        let alike = |[(one, a), (other, b)]: [(Answer, Duration); 2]| {
            assert_eq!((&one, &other), (&expected, &expected), "{way}");
            (a, b)
        };
        heard.into_iter().map(alike).collect()
    }

    async fn time(
        &mut self,
        way: &str,
        pairs: usize,
        ids: impl Fn(usize) -> (String, String),
    ) -> Vec<[(Answer, Duration); 2]> {
        let (coin, mut heard) = (RandomState::new(), Vec::new());
        for pair in 0..pairs {
            let (one, other) = ids(pair);
            // By chance, so that no rhythm of the machine falls on one of them.
            heard.push(if coin.hash_one(pair) % 2 == 0 {
                let one = self.ask(way, &one).await;
                [one, self.ask(way, &other).await]
            } else {
                let other = self.ask(way, &other).await;
                [self.ask(way, &one).await, other]
            });
        }
        heard
    }

    async fn ask(&mut self, way: &str, id: &str) -> (Answer, Duration) {
        let target = format!("/res.php?key={}&{way}{id}", self.token);
        let began = Instant::now();
        let answer = self.connection.get(&target).await.unwrap();
        (undated(answer), began.elapsed())
    }
}

/// All of it but the second in which it was written and the number of the request, which is drawn by chance.
fn undated(mut answer: Answer) -> Answer {
    let lines = answer.head.split("\r\n");
    let kept: Vec<_> = lines
        .filter(|line| !line.starts_with("date:") && !line.starts_with("x-sidekey-request:"))
        .collect();
    answer.head = kept.join("\r\n");
    answer
}

/// Even ones are alice's.
fn own_neighbour(n: usize) -> String {
    (FIRST_ID + n).to_string()
}

fn of_alice(id: usize) -> TaskRecord {
    TaskRecord {
        key: TaskKey {
            profile: "2captcha".into(),
            tenant: "alice".into(),
            id: id.to_string().as_str().into(),
        },
        owner_name: "account-1".into(),
        owner_identity: Identity([1; 32]),
        kind: "image".into(),
        project: None,
        price_micro_usd: None,
        charge_micro_usd: None,
        state: TaskState::Final,
        submitted_at_ms: LONG_AGO_MS,
        used_at_ms: LONG_AGO_MS,
    }
}

/// In which part of the pairs the first one took longer.
fn slower(pairs: &[(Duration, Duration)]) -> f64 {
    pairs.iter().filter(|(a, b)| a > b).count() as f64 / pairs.len() as f64
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}
