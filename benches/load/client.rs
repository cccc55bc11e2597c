//! Clients as the common libraries are: a connection that is kept, one request at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The body of a good answer.
    pub(crate) fn call(&mut self, request: &[u8]) -> io::Result<String> {
        self.0.get_mut().write_all(request)?;
        let (head, body) = read_message(&mut self.0)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if head.starts_with("HTTP/1.1 200") && !body.contains("ERROR") {
            Ok(body)
        } else {
            Err(io::Error::other(format!("{head}{body}")))
        }
    }
}

/// So many requests over so many connections at the same time.
pub(crate) fn load(
    address: SocketAddr,
    connections: usize,
    requests: usize,
    request: &(dyn Fn() -> Vec<u8> + Sync),
) -> io::Result<()> {
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(address)?;
                    while sent.fetch_add(1, Ordering::Relaxed) < requests {
                        client.call(&request())?;
                    }
                    Ok(())
                })
            })
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().expect("a client does not panic"))
    })
}

/// The id in the answer to a submit.
pub(crate) fn id(answer: String) -> String {
    answer.trim_start_matches("OK|").to_owned()
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\n{HEADERS}\r\n").into()
}

pub(crate) fn poll(id: &str) -> Vec<u8> {
    get(&format!("/res.php?key={PLACEHOLDER}&action=get&id={id}"))
}

pub(crate) fn submit() -> Vec<u8> {
    let body = format!(
        "key={PLACEHOLDER}&method=userrecaptcha&googlekey=6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-&pageurl=https%3A%2F%2Fwww.example.com%2Flogin"
    );
    post("application/x-www-form-urlencoded", body.as_bytes())
}

/// As `requests` writes it, with 100 kB that are no field of it.
pub(crate) fn submit_file() -> Vec<u8> {
    let part = |name: &str, more: &str, value: &[u8]| {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n"
        );
        [head.as_bytes(), value, b"\r\n"].concat()
    };
    let image: Vec<u8> = (0..100_000_u32).map(|n| ((n * n) >> 7) as u8).collect();
    let body = [
        part("key", "", PLACEHOLDER.as_bytes()),
        part("method", "", b"post"),
        part("file", "; filename=\"captcha.jpg\"", &image),
        format!("--{BOUNDARY}--\r\n").into_bytes(),
    ];
    post(
        &format!("multipart/form-data; boundary={BOUNDARY}"),
        &body.concat(),
    )
}

fn post(content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /in.php HTTP/1.1\r\n{HEADERS}Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Head and body of a message that states its length.
pub(crate) fn read_message(stream: &mut impl BufRead) -> io::Result<(String, Vec<u8>)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if stream.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = head[start..].trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = Vec::with_capacity(length);
    stream.take(length as u64).read_to_end(&mut body)?;
    Ok((head, body))
}

const PLACEHOLDER: &str = "placeholder-of-a-legacy-client-0";
const BOUNDARY: &str = "d1d3e2a1c5b94a0fb7a8a6f0f4c2e913";
const HEADERS: &str = "Host: captcha.example.com\r\nUser-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n";
