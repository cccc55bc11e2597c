//! A raw vendor on loopback does what vendors' hosts do; each test says what we may claim afterwards.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::*;

mod faults;
mod leaving;
mod requests;
mod reuse;
mod tls;
mod way;

const KEY: &str = "canary0123456789abcdef0123456789";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nOK|123";

#[derive(Clone)]
enum Step {
    /// One whole request, counted.
    Read,
    Write(Vec<u8>),
    /// The same bytes until the other side is gone.
    Flood(Vec<u8>),
    Reset,
    /// Keeps the connection open without a word.
    Silence,
}
use Step::{Flood, Read, Reset, Silence, Write};

fn ok() -> Step {
    Write(OK.to_vec())
}

/// What the vendor saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<Vec<u8>>>,
}

impl Seen {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn copies(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    async fn until(&self, wanted: impl Fn(&Self) -> bool) {
        let seen = async {
            while !wanted(self) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(10), seen)
            .await
            .expect("the vendor never saw it");
    }
}

struct Vendor {
    url: String,
    seen: Arc<Seen>,
    background: Background,
}

impl Vendor {
    /// The n-th connection plays the n-th script, later ones the last; a script that ends closes.
    async fn plays(scripts: &[&[Step]]) -> Self {
        Self::listens(None, scripts).await
    }

    async fn listens(tls: Option<TlsAcceptor>, scripts: &[&[Step]]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let background = Background::new();
        let scripts: Vec<Vec<Step>> = scripts.iter().map(|script| script.to_vec()).collect();
        let (sees, spawner) = (Arc::clone(&seen), background.clone());
        background.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let number = sees.connections.fetch_add(1, Ordering::SeqCst);
                let script = scripts[number.min(scripts.len() - 1)].clone();
                let (sees, tls) = (Arc::clone(&sees), tls.clone());
                spawner.spawn(async move {
                    if let Some(tls) = tls {
                        if let Ok(stream) = tls.accept(tcp).await {
                            play(stream, script, &sees, |_| ()).await;
                        }
                    } else {
                        play(tcp, script, &sees, |tcp: &TcpStream| {
                            tcp.set_zero_linger().unwrap()
                        })
                        .await;
                    }
                });
            }
        });
        Self {
            url,
            seen,
            background,
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.url, None, Duration::from_secs(2), &self.background).unwrap()
    }
}

async fn play<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    script: Vec<Step>,
    seen: &Seen,
    reset: impl Fn(&S),
) {
    for step in script {
        match step {
            Read => match request(&mut stream).await {
                Some(request) => seen.requests.lock().unwrap().push(request),
                None => return,
            },
            Write(bytes) => drop(stream.write_all(&bytes).await),
            Flood(bytes) => while stream.write_all(&bytes).await.is_ok() {},
            Reset => return reset(&stream),
            Silence => pending().await,
        }
    }
}

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if bytes.len() >= head + 4 + length.unwrap_or(0) {
                return Some(bytes);
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

fn submit() -> Outgoing {
    Outgoing {
        method: Method::POST,
        path_and_query: "/in.php".into(),
        content_type: Some("application/x-www-form-urlencoded".into()),
        body: vec![
            format!("key={KEY}").into(),
            Bytes::new(),
            "&method=post".into(),
        ],
        ..Outgoing::default()
    }
}

fn poll() -> Outgoing {
    Outgoing {
        path_and_query: format!("/res.php?key={KEY}&action=get&id=1").into(),
        kind: Kind::Repeatable,
        ..Outgoing::default()
    }
}

async fn call_within(
    client: &Client,
    request: Outgoing,
    patience: Duration,
) -> Result<Answer, CallError> {
    let outcome = timeout(
        Duration::from_secs(30),
        client.call(request, Instant::now() + patience),
    )
    .await
    .expect("the deadline was not kept");
    if let Err(error) = &outcome {
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(
                !text.contains("canary") && !text.contains("res.php") && !text.contains("key="),
                "{text}"
            );
        }
    }
    outcome
}

async fn call(client: &Client, request: Outgoing) -> Result<Answer, CallError> {
    call_within(client, request, Duration::from_secs(10)).await
}

impl Client {
    fn idle_connections(&self) -> usize {
        self.0.idle.len()
    }
}

fn is_unknown(outcome: &Result<Answer, CallError>) -> bool {
    matches!(outcome, Err(CallError::Unknown { .. }))
}

fn is_not_sent(outcome: &Result<Answer, CallError>) -> bool {
    matches!(outcome, Err(CallError::NotSent { .. }))
}

/// Lets the paused clock jump, and only then: with sockets about, a clock paused for longer would run by itself.
async fn jump(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
