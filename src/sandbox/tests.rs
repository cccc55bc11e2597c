//! Seen from a raw socket, as a client sees it.

mod control;
mod dialects;
mod documents;
mod faults;
mod limits;
mod record;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{
    AccountConfig, Ban, Dialect, Fault, FaultRule, Later, Limits, Mistake, Sandbox, SandboxConfig,
    start,
};
use crate::background::Background;

const ONE: &str = "1111111111111111aaaaaaaaaaaaaaaa";
const TWO: &str = "2222222222222222bbbbbbbbbbbbbbbb";

/// Two accounts whose tasks are ready at once.
fn config(dialect: Dialect) -> SandboxConfig {
    let account = |name, key| AccountConfig {
        solve_ms: 0,
        price_micros: 850,
        ..AccountConfig::new(name, key)
    };
    SandboxConfig {
        dialect,
        accounts: vec![account("one", ONE), account("two", TWO)],
        ..SandboxConfig::default()
    }
}

async fn begin(config: SandboxConfig) -> Sandbox {
    start(config, ([127, 0, 0, 1], 0).into(), &Background::new())
        .await
        .unwrap()
}

/// Everything that comes back until the vendor closes, and how it ended.
async fn exchange(sandbox: &Sandbox, request: &str) -> (String, Option<std::io::ErrorKind>) {
    let mut stream = TcpStream::connect(sandbox.address()).await.unwrap();
    let mut got = Vec::new();
    if let Err(error) = stream.write_all(request.as_bytes()).await {
        return (String::new(), Some(error.kind()));
    }
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut got))
        .await
        .unwrap();
    (
        String::from_utf8_lossy(&got).into_owned(),
        end.err().map(|error| error.kind()),
    )
}

fn get_request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n")
}

fn post_request(target: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Head and body.
async fn get(sandbox: &Sandbox, target: &str) -> (String, String) {
    send(sandbox, &get_request(target)).await
}

async fn send(sandbox: &Sandbox, request: &str) -> (String, String) {
    let (text, end) = exchange(sandbox, request).await;
    assert_eq!(end, None, "{request}");
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {text:?}"));
    (head.to_ascii_lowercase(), body.to_owned())
}

async fn body(sandbox: &Sandbox, target: &str) -> String {
    get(sandbox, target).await.1
}

/// The id of a new task.
async fn submit(sandbox: &Sandbox, key: &str) -> String {
    let answer = body(sandbox, &submit_target(key)).await;
    answer
        .strip_prefix("OK|")
        .unwrap_or_else(|| panic!("not accepted: {answer}"))
        .to_owned()
}

fn submit_target(key: &str) -> String {
    format!("/in.php?key={key}&method=userrecaptcha&googlekey=6L&pageurl=https%3A%2F%2Fe.com")
}

fn poll_target(key: &str, id: &str) -> String {
    format!("/res.php?key={key}&action=get&id={id}")
}
