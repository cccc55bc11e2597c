//! What replicas count and tell as one, and how each of them talks to the server.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use super::limits::{NOW, solve};
use super::redis::connection::Conversation;
use super::*;

fn owned(id: &str) -> (TaskRecord, UsageRow) {
    let mut task = task(id, "main");
    task.submitted_at_ms = NOW;
    let row = solve(&task, Ended::Solved);
    (task, row)
}

#[tokio::test]
async fn of_all_that_hear_the_end_of_a_task_one_counts_it() {
    let server = RedisServer::start();
    let replicas = [connect(&server), connect(&server), connect(&server)];
    let (task, row) = owned("7");
    replicas[0].learn(task).await.unwrap();
    let mut counted = 0;
    for store in &replicas {
        counted += store.settle_together(row.clone()).await.unwrap();
        counted += store.settle_together(row.clone()).await.unwrap();
    }
    assert_eq!(counted, 1);
    let mut expired = owned("8").1;
    expired.ended = Ended::Expired;
    assert_eq!(replicas[1].settle_together(expired).await, Ok(1));
    // Solved after all.
    assert_eq!(replicas[2].settle_together(owned("8").1).await, Ok(1));
}

#[tokio::test]
async fn what_all_replicas_used_of_an_account_is_counted_on_the_server() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    let spent = async || {
        for store in [&one, &other] {
            store.flush().await.unwrap();
        }
        let redis = one.replicas().unwrap();
        redis.spent(&Arc::from("main")).await.unwrap().unwrap()
    };
    let first = spent().await;
    assert_eq!((first.settled, first.running, first.unknown), (0, 0, 0));
    let (task, row) = owned("7");
    let (id, written) = one.intend(intent("main"), None);
    written.await.unwrap();
    assert_eq!(spent().await.unknown, 1);
    one.accept(id, task).await.unwrap();
    assert_eq!(spent().await.running, 1_200);
    other.settle(row.clone());
    one.settle(row);
    let used = spent().await;
    assert_eq!(
        (used.settled, used.running, used.dearest),
        (1_200, 0, 1_200)
    );
    assert_eq!(used.born, first.born);
    let (id, written) = other.intend(intent("main"), None);
    written.await.unwrap();
    let row = uncertain(id, intent("main"), "reset");
    other.uncertain(row).await.unwrap();
    let mut expired = owned("8").1;
    expired.ended = Ended::Expired;
    other.settle(expired);
    assert_eq!(spent().await.lost, 2);
    // While one of them writes nothing, nobody knows what it used.
    server.say("ZADD sidekey:runs 1 1");
    let redis = one.replicas().unwrap();
    assert_eq!(redis.spent(&Arc::from("main")).await, Ok(None));
    other.flush().await.unwrap();
    server.flush_all();
    assert_ne!(
        spent_when_complete(&server, &one, &other).await.born,
        first.born
    );
}

async fn spent_when_complete(server: &RedisServer, one: &Store, other: &Store) -> Spent {
    one.flush().await.unwrap();
    other.flush().await.unwrap();
    server.say("DEL sidekey:restoring");
    let redis = one.replicas().unwrap();
    redis.spent(&Arc::from("main")).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_alert_is_one_replicas_to_tell_while_it_holds_at_any() {
    let server = RedisServer::start();
    let (one, other) = (connect(&server), connect(&server));
    let due = |every| Due {
        name: "low\0main".to_owned(),
        told_every: every,
    };
    let tell = async |store: &Store, held: &[&str], due: Vec<Due>| {
        let held = held.iter().map(|name| (*name).to_owned()).collect();
        store.replicas().unwrap().tell(held, due).await.unwrap()
    };
    let another = Due {
        name: "low\0other".to_owned(),
        told_every: None,
    };
    assert_eq!(tell(&one, &[], vec![due(None)]).await, [true]);
    assert_eq!(
        tell(&other, &[], vec![due(None), another]).await,
        [false, true]
    );
    // Told again while it lasts, where the cause has it so: by one of them.
    let hour = Some(Duration::from_secs(3600));
    assert_eq!(tell(&other, &[], vec![due(hour)]).await, [false]);
    let at_once = Some(Duration::ZERO);
    assert_eq!(tell(&other, &[], vec![due(at_once)]).await, [true]);
    // A sign of whoever has it keeps it, also where the server forgot.
    server.flush_all();
    tell(&one, &["low\0main"], Vec::new()).await;
    assert_eq!(tell(&other, &[], vec![due(None)]).await, [false]);
}

#[test]
fn a_reply_that_comes_late_is_not_taken_for_the_next() {
    let server = RedisServer::start();
    server.say("SET a of-a");
    server.say("SET b of-b");
    let patience = Duration::from_millis(200);
    let address = Address::parse(&server.url()).unwrap();
    let mut conversation = Conversation::new(&address, patience);
    let mut get = |name: &str| {
        conversation.say(|connection| ::redis::cmd("GET").arg(name).query::<String>(connection))
    };
    assert_eq!(get("b").unwrap(), "of-b");
    // Beside it one that goes on with its connection: the late reply is there, and would be believed.
    let mut careless = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    careless.set_read_timeout(Some(patience)).unwrap();
    let mut replies = BufReader::new(careless.try_clone().unwrap());
    let mut line = String::new();

    server.pause();
    assert!(get("a").is_err());
    careless.write_all(b"GET a\r\n").unwrap();
    assert!(replies.read_line(&mut line).is_err());
    server.go_on();
    careless.write_all(b"GET b\r\n").unwrap();
    let second = (&mut replies).lines().nth(1);
    assert_eq!(second.unwrap().unwrap(), "of-a", "the control");
    let began = Instant::now();
    let answered = std::iter::repeat_with(|| get("b")).find(|reply| {
        std::thread::sleep(Duration::from_millis(20));
        reply.is_ok() || began.elapsed() > Duration::from_secs(20)
    });
    assert_eq!(answered.unwrap().unwrap(), "of-b");
}
