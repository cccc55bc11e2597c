//! Clients that take their time, against the settled deadlines, on a paused clock.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use super::*;
use crate::listen::connection::Connection;
use crate::listen::line::{Line, Socket};

struct Talk {
    client: DuplexStream,
    seen: Arc<Seen>,
    background: Background,
    /// The socket that is looked at, which never closes here.
    _other_end: std::net::TcpStream,
}

impl Talk {
    /// `room` is what the network holds of an answer that the client does not read.
    fn start(room: usize) -> Self {
        let (client, stream) = duplex(room);
        let (line, other_end) = line();
        let (seen, limits, background) =
            (Arc::default(), Arc::new(Limits::new(1)), Background::new());
        let connection = Connection {
            peer: Peer {
                address: here("127.0.0.1:1").address,
                tls: false,
            },
            tls: None,
            limits: Arc::clone(&limits),
            loops: Loops::default(),
            drain: Drain::new(),
            handler: handler(Arc::clone(&seen), Arc::clone(&limits)),
        };
        background.spawn(connection.converse(stream, line, Instant::now() + limits.header));
        Self {
            client,
            seen,
            background,
            _other_end: other_end,
        }
    }

    async fn ask(&mut self) {
        self.client.write_all(POLL).await.expect("it is open");
        assert!(hear_one(&mut self.client).await.contains("[/res.php"));
    }

    /// What comes until the server closes, and when it does.
    async fn hear_out(&mut self) -> (String, u64) {
        let start = Instant::now();
        let mut heard = String::new();
        self.client.read_to_string(&mut heard).await.expect("text");
        (heard, start.elapsed().as_secs())
    }

    /// Sends a byte now and every nine seconds until the server closes.
    async fn drip(&mut self) -> u64 {
        let start = Instant::now();
        let mut scrap = [0; 1];
        for byte in b"GET /in.php?aaaa" {
            self.client.write_all(&[*byte]).await.expect("it is open");
            tokio::select! {
                closed = self.client.read(&mut scrap) => {
                    assert_eq!(closed.expect("closed"), 0);
                    return start.elapsed().as_secs();
                }
                () = sleep(Duration::from_secs(9)) => {}
            }
        }
        panic!("the server bears it for ever");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_cut_after_10_s() {
    assert_eq!(Talk::start(4096).drip().await, 10);
    // A later one too, from its first byte on.
    let mut talk = Talk::start(4096);
    talk.ask().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(talk.drip().await, 10);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_75_s() {
    let mut talk = Talk::start(4096);
    talk.ask().await;
    sleep(Duration::from_secs(70)).await;
    talk.ask().await;
    assert_eq!(talk.hear_out().await, (String::new(), 75));
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_longer_than_any_deadline_of_the_client() {
    let mut talk = Talk::start(4096);
    let load = b"GET /load.php HTTP/1.1\r\nHost: a\r\n\r\n";
    talk.client.write_all(load).await.expect("it is open");
    sleep(Duration::from_secs(600)).await;
    talk.seen.go_on.notify_one();
    assert!(hear_one(&mut talk.client).await.contains("[/load.php"));
    talk.ask().await;
    assert_eq!(talk.hear_out().await, (String::new(), 75));
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_answered_after_5_s() {
    let mut talk = Talk::start(4096);
    let head = b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhello";
    talk.client.write_all(head).await.expect("it is open");
    let (answer, seconds) = talk.hear_out().await;
    assert!(
        answer.contains("connection: close") && answer.ends_with("TooSlow"),
        "{answer}"
    );
    assert_eq!((seconds, talk.seen.calls.load(Ordering::Relaxed)), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_after_30_s() {
    let mut talk = Talk::start(64);
    talk.client.write_all(POLL).await.expect("it is open");
    let start = Instant::now();
    assert_eq!(talk.background.wait(Duration::from_secs(1000)).await, 0);
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn a_silent_client_is_cut_at_the_deadline_of_a_head() {
    let limits = Limits {
        header: Duration::from_millis(300),
        ..Limits::new(10)
    };
    let server = Server::start(limits).await;
    let start = Instant::now();
    assert_eq!(server.exchange(b"").await, "");
    assert!(
        start.elapsed() >= Duration::from_millis(290),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn slow_clients_do_not_slow_others() {
    let server = Server::start(Limits::new(1000)).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut client = server.connect().await;
        let start = b"POST /in.php HTTP/1.1\r\nHost: ";
        client.write_all(start).await.expect("it is open");
        slow.push(client);
    }
    let start = Instant::now();
    for _ in 0..20 {
        assert!(server.exchange(LAST_POLL).await.contains("[/res.php"));
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

fn line() -> (Line, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let other_end = std::net::TcpStream::connect(address).expect("it listens");
    let (stream, _) = listener.accept().expect("it is connected");
    stream.set_nonblocking(true).expect("it is a socket");
    let stream = TcpStream::from_std(stream).expect("it does not block");
    (Socket::new(stream).line(), other_end)
}
