//! A client of few words: requests as they are written, answers by their `Content-Length`.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any answer of a test takes; shorter than a test's patience.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case, as it came.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// One connection, kept for the next request.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(address).await?)))
    }

    pub(crate) async fn get(&mut self, target: &str) -> std::io::Result<Answer> {
        self.send("GET", target, "", "").await
    }

    /// `headers` are whole lines.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: &str,
    ) -> std::io::Result<Answer> {
        self.write(method, target, headers, body).await?;
        timeout(PATIENCE, self.read()).await?
    }

    pub(crate) async fn write(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: &str,
    ) -> std::io::Result<()> {
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let host = match headers.contains("Host:") {
            true => "",
            false => "Host: localhost\r\n",
        };
        let request = format!("{method} {target} HTTP/1.1\r\n{host}{headers}{length}\r\n{body}");
        self.0.write_all(request.as_bytes()).await
    }

    /// As it is.
    pub(crate) async fn write_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await
    }

    async fn read(&mut self) -> std::io::Result<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let head = head.to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).await?;
        Ok(Answer {
            status: status.unwrap(),
            head,
            body: String::from_utf8(body).unwrap(),
        })
    }
}

/// Over a connection of its own.
pub(crate) async fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> Answer {
    let mut connection = Connection::open(address).await.unwrap();
    connection
        .send(method, target, headers, body)
        .await
        .unwrap()
}
