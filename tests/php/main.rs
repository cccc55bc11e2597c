//! Random requests, once as they came and once rewritten, read by a real PHP: it must see our key alone, and all other fields as
//! before. `.ci/run tools oracle` installs PHP and runs this.

mod generate;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use generate::Random;
use sidekey::wire::{Endpoint, Parts, read};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const CASES: u32 = 6_000;

#[test]
#[ignore = "needs php; `.ci/run oracle` runs it"]
fn php_sees_our_key_and_otherwise_what_the_client_sent() {
    let php = Php::start();
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).expect("randomness");
    let mut seed = u64::from_le_bytes(seed);
    let mut accepted = [0; generate::KINDS];
    for case in 0..CASES {
        seed = seed.wrapping_add(1);
        let kind = case as usize % generate::KINDS;
        let mut parts = generate::parts(&mut Random::new(seed), kind);
        let Ok(message) = read(Endpoint::Result, parts.clone()) else {
            continue;
        };
        accepted[kind] += 1;
        let out = message.with_key(KEY.as_bytes());
        let sent = Parts {
            query: out.query.clone(),
            content_type: out.content_type.clone(),
            body: Bytes::from(out.body.concat()),
            ..parts.clone()
        };
        // A body without a type is a form to us; PHP is asked what it would be if the client had said so.
        parts.content_type.clone_from(&sent.content_type);
        let (before, after) = (php.ask(&parts), php.ask(&sent));
        let report = format!(
            "seed {seed}, kind {kind}\n{}\n{}\n{before:?}\n{after:?}",
            shown(&parts),
            shown(&sent)
        );
        assert_eq!(after.keys, 1, "one key: {report}");
        assert_eq!(after.own, 0, "nothing that is cut: {report}");
        assert_eq!(
            after.token.as_deref(),
            Some(KEY.as_bytes()),
            "our key: {report}"
        );
        assert_eq!(before.others, after.others, "the other fields: {report}");
        let fields = message.fields();
        let text = |field: &Option<String>| field.as_ref().map(|text| text.clone().into_bytes());
        for (ours, theirs) in [
            (text(&fields.action), before.action),
            (text(&fields.id), before.id),
            (text(&fields.ids), before.ids),
            (
                fields.token.as_ref().map(|token| token.to_vec()),
                before.token,
            ),
        ] {
            // PHP does not read the body of a GET; a JSON float or null is nothing that can be compared.
            let unsure = theirs.is_none() && (!parts.post || kind >= generate::JSON);
            assert!(ours == theirs || unsure, "{ours:?} {theirs:?}: {report}");
        }
    }
    for (kind, accepted) in accepted.into_iter().enumerate() {
        let share = accepted * 100 * generate::KINDS as u32 / CASES;
        assert!(
            share >= 20,
            "only {share} % of kind {kind} were accepted: the comparison says little"
        );
    }
}

/// `Parts` does not print what it holds.
fn shown(parts: &Parts) -> String {
    format!(
        "post: {}, {:?}, {:?}, {:?}",
        parts.post, parts.query, parts.content_type, parts.body
    )
}

/// How PHP read a request.
#[derive(Debug)]
struct Seen {
    keys: usize,
    /// `debug_dump`, `x_project` and `x_idempotency_key`.
    own: usize,
    token: Option<Vec<u8>>,
    action: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    ids: Option<Vec<u8>>,
    others: String,
}

struct Php {
    server: Child,
    port: u16,
}

impl Php {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let server = Command::new("php")
            .args([
                "-n",
                "-d",
                "display_errors=0",
                "-d",
                "max_file_uploads=100",
                "-S",
            ])
            .args([&format!("127.0.0.1:{port}"), "tests/php/echo.php"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("php starts; `.ci/run tools` installs it");
        let php = Self { server, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return php;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("php did not listen within 5 s");
    }

    fn ask(&self, parts: &Parts) -> Seen {
        let mut request = Vec::new();
        request.extend_from_slice(if parts.post {
            b"POST /in.php?"
        } else {
            b"GET /in.php?"
        });
        request.extend_from_slice(&parts.query);
        request.extend_from_slice(b" HTTP/1.0\r\nHost: h\r\n");
        if let Some(content_type) = &parts.content_type {
            request.extend_from_slice(b"Content-Type: ");
            request.extend_from_slice(content_type);
            request.extend_from_slice(b"\r\n");
        }
        request
            .extend_from_slice(format!("Content-Length: {}\r\n\r\n", parts.body.len()).as_bytes());
        request.extend_from_slice(&parts.body);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("php listens");
        stream.write_all(&request).expect("php reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("php answers");
        let line = answer.trim_end().lines().last().unwrap_or_default();
        let words: Vec<&str> = line.split(' ').collect();
        let [keys, own, token, action, id, ids, others] = words[..] else {
            panic!("php said {answer}")
        };
        Seen {
            keys: keys.parse().expect("a number"),
            own: own.parse().expect("a number"),
            token: from_hex(token),
            action: from_hex(action),
            id: from_hex(id),
            ids: from_hex(ids),
            others: from_hex(others)
                .map(|text| String::from_utf8_lossy(&text).into_owned())
                .unwrap_or_default(),
        }
    }
}

impl Drop for Php {
    fn drop(&mut self) {
        // A server that has already ended needs no killing.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// `-` is an absent field.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text == "-" {
        return None;
    }
    Some(
        text.as_bytes()
            .chunks(2)
            .map(|pair| {
                let pair = std::str::from_utf8(pair).expect("ASCII");
                u8::from_str_radix(pair, 16).expect("hex digits")
            })
            .collect(),
    )
}
