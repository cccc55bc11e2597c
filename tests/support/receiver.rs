//! A real HTTP receiver, of alerts or of traces, that takes what comes or is in trouble.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use sidekey::background::Background;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    /// HTTP 503.
    Fails,
    /// HTTP 400: another try would be answered alike.
    Refuses,
    /// Reads, and never answers.
    Hangs,
    /// Nobody listens.
    Gone,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    mood: watch::Sender<Mood>,
    tries: Arc<AtomicUsize>,
    taken: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Receiver {
    pub(crate) async fn start(mood: Mood, background: &Background) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, moods) = watch::channel(mood);
        let (tries, taken) = (Arc::default(), Arc::default());
        let stop = background.clone();
        let serving = serve(
            listener,
            moods,
            Arc::clone(&tries),
            Arc::clone(&taken),
            background.clone(),
        );
        background.spawn(async move {
            tokio::select! {
                () = serving => {}
                () = stop.stopping() => {}
            }
        });
        Self {
            address,
            mood: sender,
            tries,
            taken,
        }
    }

    pub(crate) fn becomes(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Requests that came, whatever became of them.
    pub(crate) fn tries(&self) -> usize {
        self.tries.load(Ordering::Relaxed)
    }

    /// Head and body of each request that was answered with 200.
    pub(crate) fn taken(&self) -> Vec<Vec<u8>> {
        self.taken.lock().unwrap().clone()
    }

    pub(crate) fn bodies(&self) -> Vec<Value> {
        let body = |request: Vec<u8>| {
            let end = head_end(&request).unwrap();
            serde_json::from_slice(&request[end..]).unwrap()
        };
        self.taken().into_iter().map(body).collect()
    }
}

async fn serve(
    mut listener: TcpListener,
    mut mood: watch::Receiver<Mood>,
    tries: Arc<AtomicUsize>,
    taken: Arc<Mutex<Vec<Vec<u8>>>>,
    background: Background,
) {
    let address = listener.local_addr().unwrap();
    loop {
        if *mood.borrow_and_update() == Mood::Gone {
            drop(listener);
            mood.wait_for(|mood| *mood != Mood::Gone).await.unwrap();
            listener = TcpListener::bind(address).await.unwrap();
        }
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            changed = mood.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let (mood, taken, stop) = (mood.clone(), Arc::clone(&taken), background.clone());
        tries.fetch_add(1, Ordering::Relaxed);
        background.spawn(async move {
            tokio::select! {
                () = answer(stream, &mood, &taken) => {}
                () = stop.stopping() => {}
            }
        });
    }
}

async fn answer(mut stream: TcpStream, mood: &watch::Receiver<Mood>, taken: &Mutex<Vec<Vec<u8>>>) {
    let Some(request) = read(&mut stream).await else {
        return;
    };
    let mood = *mood.borrow();
    let says = match mood {
        Mood::Takes => "200 OK",
        Mood::Refuses => "400 Bad Request",
        Mood::Fails | Mood::Gone => "503 Service Unavailable",
        Mood::Hangs => return std::future::pending().await,
    };
    if mood == Mood::Takes {
        taken.lock().unwrap().push(request);
    }
    let answer = format!("HTTP/1.1 {says}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = head_end(&read) {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))?;
            if read.len() >= end + length.parse::<usize>().ok()? {
                return Some(read);
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

fn head_end(request: &[u8]) -> Option<usize> {
    let end = request.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}
