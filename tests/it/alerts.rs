//! A balance that falls is told to a webhook: once, and again after a refill, whatever the receiver is like.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use sidekey::sandbox::Dialect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::support::{World, name, until, vendor};

#[tokio::test]
async fn a_low_balance_is_told_once_and_again_after_a_refill() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let mut config = vendor(Dialect::Twocaptcha, 1);
    config.accounts[0].balance_micros = 520_000;
    let lines = format!("alerts.webhook = {url:?}\nbalance.refresh = \"1s\"");
    let world = World::start(config, &lines).await;
    let taken = Arc::new(Mutex::new(Vec::new()));
    world.background().spawn({
        let (taken, stop) = (Arc::clone(&taken), world.background().clone());
        async move {
            tokio::select! {
                () = receive(listener, &taken) => {}
                () = stop.stopping() => {}
            }
        }
    });
    // Money that is gone without a task is another cause, and told as well.
    let of_low = |told: &&Value| told["cause"] == "balance_low";
    let count = || taken.lock().unwrap().iter().filter(of_low).count();
    let active = async || {
        world
            .metric("sidekey_alerts_active{cause=\"balance_low\"}")
            .await
    };

    let id = world.submit().await;
    until("somebody is told", async || {
        // The receiver is down at first; no client notices.
        let began = Instant::now();
        world.poll(&id).await;
        assert!(began.elapsed() < Duration::from_secs(1));
        count() == 1
    })
    .await;
    world.sandbox.set_balance(&name(1), 5_000_000).unwrap();
    until("the refill is seen", async || {
        world.get("/res.php?key={}&action=getbalance").await;
        active().await == 0.0
    })
    .await;
    assert_eq!(count(), 1);
    world.sandbox.set_balance(&name(1), 990_000).unwrap();
    until("somebody is told again", async || {
        world.get("/res.php?key={}&action=getbalance").await;
        count() == 2
    })
    .await;
    let told = world
        .metric("sidekey_alerts_total{cause=\"balance_low\"}")
        .await;
    assert_eq!(told, 2.0);
    assert_eq!(active().await, 1.0);
    let first: Value = taken.lock().unwrap()[0].clone();
    assert_eq!(first["cause"], "balance_low");
    assert_eq!(first["key"], name(1));
    let text = first["text"].as_str().unwrap();
    assert!(text.starts_with("sidekey: account-1 has $0."), "{text}");
    world.end().await;
}

/// Fails twice, then takes what comes.
async fn receive(listener: TcpListener, taken: &Mutex<Vec<Value>>) {
    for n in 0.. {
        let (mut stream, _) = listener.accept().await.unwrap();
        let body = read(&mut stream).await;
        let answer = match n {
            0 => "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            1 => continue,
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        };
        if n > 1 {
            taken
                .lock()
                .unwrap()
                .push(serde_json::from_slice(&body).unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if read.len() >= end + 4 + length.unwrap().parse::<usize>().unwrap() {
                return read.split_off(end + 4);
            }
        }
        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
    }
}
