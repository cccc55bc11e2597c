//! A real receiver, on a clock that runs as fast as the test.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::alerts::cause::Cause;
use crate::alerts::findings::Finding;
use crate::store::Store;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Takes,
    Says(&'static str),
    Closes,
    Hangs,
    /// Nobody listens.
    Gone,
}

struct World {
    address: SocketAddr,
    /// Bound and not listening: so the port is no other test's while nobody listens here.
    _port: TcpSocket,
    background: Background,
    receiving: Option<Background>,
    outbox: Arc<Outbox>,
    metrics: Arc<Metrics>,
    heard: Arc<Heard>,
}

/// By itself the paused clock jumps to the next deadline as soon as nothing is ready, also while bytes are on their way from
/// one socket to the other. In steps it looks for them before each.
const STEP: Duration = Duration::from_millis(250);

async fn steps() {
    loop {
        sleep(STEP).await;
        std::thread::yield_now();
    }
}

#[derive(Default)]
struct Heard {
    mood: Mutex<Option<Mood>>,
    tries: Mutex<Vec<Instant>>,
    taken: Mutex<Vec<String>>,
}

#[tokio::test(start_paused = true)]
async fn whatever_is_wrong_for_a_minute_every_alert_arrives_once_and_in_order() {
    for mood in [
        Mood::Says("500 Internal Server Error\r\n"),
        Mood::Says("503 Service Unavailable\r\nRetry-After: 5\r\n"),
        Mood::Says("429 Too Many Requests\r\n"),
        Mood::Says("408 Request Timeout\r\n"),
        Mood::Closes,
        Mood::Hangs,
        Mood::Gone,
    ] {
        let mut world = World::start(mood).await;
        ["a", "b", "c"].iter().for_each(|text| world.push(text));
        sleep(Duration::from_secs(60)).await;
        assert!(world.taken().is_empty(), "{mood:?}");
        assert!(mood == Mood::Gone || world.tries().len() > 2, "{mood:?}");
        world.becomes(Mood::Takes).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.taken(), ["a", "b", "c"], "{mood:?}");
        sleep(Duration::from_secs(600)).await;
        assert_eq!(world.taken().len(), 3, "{mood:?}");
        assert_eq!(world.lost_in_all(), 0);
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_tried_again_and_holds_up_nothing() {
    for says in [
        "404 Not Found\r\n",
        "302 Found\r\nLocation: http://127.0.0.1:1/\r\n",
    ] {
        let mut world = World::start(Mood::Says(says)).await;
        world.push("a");
        sleep(Duration::from_secs(600)).await;
        assert_eq!(world.tries().len(), 1);
        world.becomes(Mood::Takes).await;
        world.push("b");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(world.taken(), ["b"]);
        assert_eq!(world.lost("refused"), 1);
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for() {
    let world = World::start(Mood::Says("429 Too Many Requests\r\nRetry-After: 90\r\n")).await;
    world.push("a");
    sleep(Duration::from_secs(200)).await;
    let tries = world.tries();
    assert_eq!(tries.len(), 3);
    assert!(tries[1] - tries[0] >= Duration::from_secs(90));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_to_half_a_minute_and_end_after_an_hour() {
    let world = World::start(Mood::Says("500 Oops\r\n")).await;
    world.push("a");
    sleep(GIVEN_UP_AFTER + LONGEST_PAUSE * 2).await;
    let tries = world.tries();
    let pauses: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, least) in pauses.iter().zip([1, 2, 4, 8, 16, 30, 30, 30]) {
        let least = Duration::from_secs(least);
        // Beside the pause there is the try itself.
        let most = least.mul_f64(1.25) + STEP * 4;
        assert!((least..most).contains(pause), "{pauses:?}");
    }
    assert!(tries[tries.len() - 1] - tries[0] <= GIVEN_UP_AFTER);
    assert_eq!(world.lost("given_up"), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_tries_once_more_and_waits_for_no_hanging_receiver() {
    let mut world = World::start(Mood::Says("500 Oops\r\n")).await;
    world.push("a");
    world.is_asked().await;
    world.push("b");
    world.becomes(Mood::Takes).await;
    world.stops().await;
    assert_eq!(world.taken(), ["a", "b"]);

    let world = World::start(Mood::Hangs).await;
    ["a", "b", "c"].iter().for_each(|text| world.push(text));
    world.is_asked().await;
    let began = Instant::now();
    world.stops().await;
    assert!(began.elapsed() <= LAST_TRY * 2 + Duration::from_millis(100));
    assert_eq!(world.lost("shutdown"), 3);
}

impl World {
    async fn start(mood: Mood) -> Self {
        let port = TcpSocket::new_v4().unwrap();
        port.set_reuseaddr(true).unwrap();
        port.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = port.local_addr().unwrap();
        Background::new().spawn(steps());
        let (background, outbox) = (Background::new(), Arc::new(Outbox::default()));
        let metrics = Arc::new(Metrics::new(&Store::memory()));
        let webhook = Webhook::parse(&format!("http://{address}/hook?token=x")).unwrap();
        background.spawn({
            let (outbox, metrics) = (Arc::clone(&outbox), Arc::clone(&metrics));
            let background = background.clone();
            async move {
                deliver(&outbox, || Some(webhook.clone()), &metrics, &background).await;
            }
        });
        let mut world = Self {
            address,
            _port: port,
            background,
            receiving: None,
            outbox,
            metrics,
            heard: Arc::default(),
        };
        world.becomes(mood).await;
        world
    }

    async fn becomes(&mut self, mood: Mood) {
        if let Some(receiving) = self.receiving.take() {
            receiving.ask_to_stop();
            receiving.wait(Duration::from_secs(1)).await;
        }
        *lock(&self.heard.mood) = Some(mood);
        if mood == Mood::Gone {
            return;
        }
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (receiving, heard) = (Background::new(), Arc::clone(&self.heard));
        receiving.spawn({
            let receiving = receiving.clone();
            async move {
                loop {
                    let accepted = tokio::select! {
                        accepted = listener.accept() => accepted,
                        () = receiving.stopping() => return,
                    };
                    let (stream, heard) = (accepted.unwrap().0, Arc::clone(&heard));
                    let until = receiving.clone();
                    receiving.spawn(async move {
                        tokio::select! {
                            _ = receive(stream, &heard) => {}
                            () = until.stopping() => {}
                        }
                    });
                }
            }
        });
        self.receiving = Some(receiving);
    }

    fn push(&self, text: &str) {
        let finding = Finding {
            cause: Cause::KeyRevoked,
            subject: "account-1".into(),
            text: text.to_owned(),
        };
        self.outbox.push(Alert {
            finding,
            at_ms: 0,
            since: Instant::now(),
        });
    }

    fn taken(&self) -> Vec<String> {
        lock(&self.heard.taken).clone()
    }

    fn tries(&self) -> Vec<Instant> {
        lock(&self.heard.tries).clone()
    }

    async fn is_asked(&self) {
        let asked = async {
            while self.tries().is_empty() {
                sleep(STEP).await;
            }
        };
        let asked = timeout(GIVEN_UP_AFTER, asked).await;
        assert!(asked.is_ok(), "the receiver was never asked");
    }

    fn lost(&self, reason: &str) -> usize {
        let series = format!("sidekey_alerts_lost_total{{reason={reason:?}}} ");
        let text = self.metrics.text(|_| {});
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.map_or(0, |value| value.parse().unwrap())
    }

    fn lost_in_all(&self) -> usize {
        let text = self.metrics.text(|_| {});
        let lost = text
            .lines()
            .filter(|line| line.starts_with("sidekey_alerts_lost_total{"))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap());
        lost.sum()
    }

    async fn stops(&self) {
        self.background.ask_to_stop();
        assert_eq!(self.background.wait(Duration::from_secs(30)).await, 0);
    }

    async fn end(mut self) {
        self.becomes(Mood::Gone).await;
        self.stops().await;
    }
}

/// Requests of one connection, until its end.
async fn receive(mut stream: TcpStream, heard: &Heard) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
        assert!(
            text.starts_with("post /hook?token=x http/1.1\r\n"),
            "{text}"
        );
        assert!(
            text.contains("\r\ncontent-type: application/json\r\n"),
            "{text}"
        );
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let whole = head + length.unwrap().parse::<usize>().unwrap();
        while read.len() < whole {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        lock(&heard.tries).push(Instant::now());
        let body: Value = serde_json::from_slice(&read[head..whole]).unwrap();
        read.drain(..whole);
        let mood = lock(&heard.mood).unwrap_or(Mood::Gone);
        let says = match mood {
            Mood::Takes => {
                let text = body["text"].as_str().unwrap();
                let text = text.strip_prefix("sidekey: ").unwrap().to_owned();
                lock(&heard.taken).push(text);
                "200 OK\r\n"
            }
            Mood::Says(says) => says,
            Mood::Closes | Mood::Gone => return Ok(()),
            Mood::Hangs => std::future::pending().await,
        };
        let answer = format!("HTTP/1.1 {says}Content-Length: 2\r\n\r\nok");
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
