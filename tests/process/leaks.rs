//! Every key, every client's token and the admin token is a canary. Every kind of call, fault and mistake is driven at log
//! level trace; then the canaries are searched for wherever the program writes.
//!
//! A client's token may come back to that client alone, and only where the vendor echoed the key: it is what Sidekey puts
//! there instead. Nothing else is allowed, but bytes to the vendor and the files that hold the secrets.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use sidekey::background::Background;
use sidekey::config::environment::Environment;
use sidekey::config::settings::{Log, LogFormat, LogLevel};
use sidekey::sandbox::{
    self, AccountConfig, Fault, FaultRule, Place as At, Sandbox, SandboxConfig,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::canary::{Search, canary};
use crate::receiver::{Mood, Receiver};
use crate::support::{PATIENCE, Place, Program, sidekey};

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_anywhere_with_a_text_log() {
    Watched::run("text").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_anywhere_with_a_json_log() {
    Watched::run("json").await;
}

/// Everything that was seen of the program, by where it was seen.
struct Watched {
    sandbox: Sandbox,
    collector: Receiver,
    place: Place,
    program: Program,
    keys: [String; 3],
    tokens: Vec<String>,
    /// The only one that may come back, in answers.
    echoed: String,
    seen: Vec<(String, Vec<u8>)>,
    echoes: Vec<u8>,
}

impl Watched {
    async fn run(format: &str) {
        let background = Background::new();
        let keys = [canary(), canary(), canary()];
        let sandbox = vendor(&keys, &background).await;
        let place = Place::new(&sandbox);
        let collector = Receiver::start(Mood::Takes, &background).await;
        let admin_token = canary();
        place.write("admin-token", &admin_token);
        place.write("key-3", &format!("{}\n", keys[2]));
        place.write("keys.toml", &good_keys(&keys));
        place.configure(
            &sandbox,
            &format!(
                "[log]\nlevel = \"trace\"\nformat = \"{format}\"\notlp = \"http://{}\"\n",
                collector.address
            ),
        );
        let settings = fs::read_to_string(place.path("sidekey.toml")).unwrap();
        place.write(
            "sidekey.toml",
            &settings
                .replace("[admin]\n", "[admin]\ntoken_file = \"admin-token\"\n")
                .replace("[listen]\n", "[listen]\nmax_body = \"64KiB\"\n"),
        );
        let program = place.start();
        let mut watched = Self {
            sandbox,
            collector,
            place,
            program,
            keys,
            tokens: Vec::new(),
            echoed: canary(),
            seen: Vec::new(),
            echoes: Vec::new(),
        };
        watched.good_calls().await;
        watched.faults().await;
        watched.broken_requests().await;
        watched.admin(&admin_token).await;
        let broken = watched.broken_reloads();
        watched.check(&broken);
        watched.search(&admin_token, &broken);
    }

    /// A token that no other request has.
    fn token(&mut self) -> String {
        self.tokens.push(canary());
        self.tokens.last().unwrap().clone()
    }

    /// One request on a connection of its own; `TOKEN` in it becomes a new one.
    async fn ask(&mut self, request: &str) -> String {
        let request = request.replace("TOKEN", &self.token());
        let answer = exchange(self.program.http, &request).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let about: String = request.chars().take(40).collect();
        self.seen.push((format!("the answer to {about:?}"), answer));
        text
    }

    async fn get(&mut self, target: &str) -> String {
        self.ask(&get(target)).await
    }

    async fn submit(&mut self) -> String {
        let answer = self.get(&format!("/in.php?key=TOKEN&{TASK}")).await;
        let id = answer.split_once("OK|").map(|(_, id)| id.to_owned());
        id.unwrap_or_else(|| panic!("{answer}"))
    }

    async fn good_calls(&mut self) {
        let multipart = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nTOKEN\r\n\
             --b\r\nContent-Disposition: form-data; name=\"method\"\r\n\r\npost\r\n\
             --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"TOKEN.png\"\r\n\r\nPNG\r\n--b--\r\n";
        let json = "{\"key\":\"TOKEN\",\"method\":\"userrecaptcha\",\"googlekey\":\"k\",\"pageurl\":\"p\"}";
        let form = format!("key=TOKEN&{TASK}");
        for request in [
            get(&format!("/in.php?key=TOKEN&json=1&{TASK}")),
            get(&format!("/in.php?{TASK}&key=TOKEN&key=TOKEN&debug_dump=1")),
            get(&format!("/solve.php?key=TOKEN&{TASK}")),
            get("/load.php?key=TOKEN"),
            get(&format!("http://ocr.captchaai.com/in.php?key=TOKEN&{TASK}")),
            post("/in.php", "application/x-www-form-urlencoded", &form),
            post("/in.php?key=TOKEN", "text/plain", &form),
            post("/in.php", "multipart/form-data; boundary=b", multipart),
            post("/in.php", "application/json", json),
            post("/in.php", "multipart/form-data; boundary=TOKEN", multipart),
        ] {
            let answer = self.ask(&request).await;
            assert!(
                answer.starts_with("HTTP/1.1 "),
                "{request} was answered {answer}"
            );
        }
        let (one, other) = (self.submit().await, self.submit().await);
        for call in [
            format!("action=get&id={one}"),
            format!("action=get2&id={one}&json=1"),
            format!("action=get&ids={one},{other},1"),
            format!("action=reportgood&id={one}"),
            format!("action=reportbad&id={other}&json=1"),
            format!("action=whatever&id={one}"),
            "action=getbalance".into(),
            "action=threadsinfo&json=1".into(),
            "action=get&id=TOKEN".into(),
            "action=TOKEN".into(),
            "action=setpingback&addr=TOKEN".into(),
            "action=get&id=1&id=2&json=0&json=1".into(),
        ] {
            self.get(&format!("/res.php?key=TOKEN&{call}")).await;
        }
    }

    /// Each on a submit and on a poll, with each key.
    async fn faults(&mut self) {
        let html = format!("<html>no key {} here</html>", self.keys.join(" nor "));
        let echo = |place| Fault::EchoKey { place };
        let mut faults: Vec<Fault> = vec![
            Fault::Reset,
            Fault::Close,
            Fault::Status {
                status: 500,
                retry_after: None,
            },
            Fault::Status {
                status: 429,
                retry_after: Some(1),
            },
            Fault::Html { status: 200 },
            Fault::Body { text: html.clone() },
            Fault::Body {
                text: format!("{{\"status\":0,\"request\":\"{html}\"}}"),
            },
            Fault::NotHttp { text: html },
            Fault::Empty,
            Fault::TruncateHead {
                bytes: 20,
                reset: false,
            },
            Fault::TruncateBody {
                bytes: 2,
                reset: true,
            },
            echo(At::Header),
        ];
        faults.extend([301, 302, 307].map(|status| Fault::Redirect {
            location: "http://127.0.0.1:1/in.php?key={key}".into(),
            status,
        }));
        for key in &self.keys {
            for text in ["ERROR_KEY_", "ERROR: ", "ERROR ", "Warning: no account "] {
                faults.push(Fault::Code {
                    code: format!("{text}{key}"),
                });
            }
        }
        let id = self.submit().await;
        for fault in faults {
            self.sandbox.clear_faults();
            self.sandbox.set_fault(FaultRule::new(fault)).unwrap();
            for json in [0, 1] {
                self.get(&format!("/in.php?key=TOKEN&{TASK}&json={json}"))
                    .await;
                self.get(&format!(
                    "/res.php?key=TOKEN&action=get&id={id}&json={json}"
                ))
                .await;
            }
            self.get("/res.php?key=TOKEN&action=getbalance").await;
        }
        self.sandbox.clear_faults();
        self.sandbox
            .set_fault(FaultRule::new(echo(At::Body)))
            .unwrap();
        // The faults before it may have opened the breaker, which its next probe closes.
        let given_up = Instant::now() + Duration::from_secs(20);
        while memchr::memmem::find(&self.echoes, self.echoed.as_bytes()).is_none()
            && Instant::now() < given_up
        {
            for call in [
                format!("in.php?{TASK}"),
                format!("res.php?action=get&id={id}"),
                format!("res.php?action=get&id={id}&json=1"),
                format!("res.php?action=reportgood&id={id}"),
            ] {
                let request = get(&format!("/{call}&key={}", self.echoed));
                self.echoes
                    .extend(exchange(self.program.http, &request).await);
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.sandbox.clear_faults();
    }

    async fn broken_requests(&mut self) {
        let long = "x".repeat(70_000);
        for request in [
            "GET /in.php?key=TOKEN HTTP/1.1\r\n\r\n".into(),
            "GET /in.php?key=TOKEN HTTP/9.9\r\nhost: a\r\n\r\n".into(),
            "GET /in.php?key=TO KEN&TOKEN HTTP/1.1\r\nhost: a\r\n\r\n".into(),
            "TOKEN /in.php HTTP/1.1\r\nhost: a\r\n\r\n".into(),
            "CONNECT TOKEN:TOKEN@ocr.captchaai.com:443 HTTP/1.1\r\nhost: TOKEN\r\n\r\n".into(),
            "GET http://TOKEN:TOKEN@example.com/in.php?key=TOKEN HTTP/1.1\r\nhost: example.com\r\n\r\n".into(),
            "GET /in.php?key=TOKEN HTTP/1.1\r\nhost: TOKEN\r\nhost: a\r\n\r\n".into(),
            "GET /in.php HTTP/1.1\r\nhost: a\r\nTOKEN : x\r\n\r\n".into(),
            "POST /in.php HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nTOKEN".into(),
            "POST /in.php HTTP/1.1\r\nhost: a\r\ntransfer-encoding: TOKEN\r\n\r\nTOKEN".into(),
            "POST /in.php HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nTOKEN\r\n".into(),
            "DELETE /in.php?key=TOKEN HTTP/1.1\r\nhost: a\r\n\r\n".into(),
            "OPTIONS * HTTP/1.1\r\nhost: TOKEN\r\n\r\n".into(),
            "\u{16}\u{3}\u{1}TOKEN\r\n\r\n".into(),
            get("/nothing/TOKEN?key=TOKEN"),
            get("/project/ci/in.php?key=TOKEN"),
            get("/../TOKEN/in.php"),
            get("/%2e%2e/in.php?key=TOKEN"),
            get(&format!("/in.php?key=TOKEN&body={long}")),
            get("/in.php?key[]=TOKEN&key[a]=TOKEN&k%65y=TOKEN"),
            get("/res.php?key=TOKEN&action=get&id=a%00TOKEN"),
            post("/in.php", "application/json", "{\"key\":\"TOKEN\",\"method\":"),
            post("/in.php", "application/json", "{\"key\":[\"TOKEN\"],\"key\":\"TOKEN\"}"),
            post("/in.php", "multipart/form-data; boundary=b", "--b\r\nTOKEN\r\n\r\nTOKEN"),
            post("/in.php", "application/x-www-form-urlencoded", &format!("key=TOKEN&body={long}")),
            format!("GET /in.php?key=TOKEN&{TASK} HTTP/1.1\r\nhost: a\r\norigin: http://TOKEN.example\r\n\r\n"),
            format!(
                "GET /in.php?key=TOKEN&{TASK} HTTP/1.1\r\nhost: a\r\ncookie: a=TOKEN\r\nauthorization: Bearer TOKEN\r\n\
                 proxy-authorization: Basic TOKEN\r\nuser-agent: TOKEN\r\nreferer: http://a/?key=TOKEN\r\nx-a: TOKEN\r\n\r\n"
            ),
        ] {
            self.ask(&request).await;
        }
    }

    async fn admin(&mut self, token: &str) {
        for path in [
            "/livez",
            "/readyz",
            "/startupz",
            "/metrics",
            "/api/status",
            "/api/keys",
            "/api/types",
            "/api/pools",
            "/api/config",
            "/api/calls",
            "/api/events",
            "/api/balances",
            "/api/usage",
            "/api/audit",
            "/api/uncertain",
            "/TOKEN",
        ] {
            for (sent, query) in [(token, ""), (token, "?key=TOKEN"), ("TOKEN", "?key=TOKEN")] {
                let request = format!(
                    "GET {path}{query} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {sent}\r\n\r\n"
                );
                let request = request.replace("TOKEN", &self.token());
                let answer = exchange(self.program.admin, &request).await;
                if path == "/api/uncertain" && query.is_empty() {
                    let text = String::from_utf8_lossy(&answer);
                    assert!(text.contains("\"why\""), "nothing was uncertain: {text}");
                }
                self.seen.push((format!("the admin port's {path}"), answer));
            }
        }
    }

    /// The keys that the broken files hold.
    fn broken_reloads(&mut self) -> Vec<String> {
        let refused = "is not used, the last good one goes on serving";
        let mut keys = Vec::new();
        for broken in BROKEN_KEYS {
            keys.push(canary());
            self.place
                .write("keys.toml", &broken.replace("KEY", keys.last().unwrap()));
            // Each content is judged, and told, once.
            let told = keys.len();
            self.program
                .wait_until(|printed| printed.matches(refused).count() == told);
        }
        self.place.write("keys.toml", &good_keys(&self.keys));
        self.program.wait_for_line("configuration reloaded");
        keys
    }

    fn check(&mut self, keys: &[String]) {
        for (broken, key) in BROKEN_KEYS.iter().zip(keys) {
            let directory = tempfile::tempdir().unwrap();
            fs::write(
                directory.path().join("keys.toml"),
                broken.replace("KEY", key),
            )
            .unwrap();
            for format in ["text", "json"] {
                let mut command = sidekey();
                command
                    .args(["check", "--format", format])
                    .current_dir(directory.path());
                let (status, printed) = Program::spawned(command).wait();
                assert_eq!(status.code(), Some(78), "{broken}: {printed}");
                self.seen
                    .push((format!("check of {broken:?}"), printed.into_bytes()));
            }
        }
        for (n, broken) in BROKEN_SETTINGS.iter().enumerate() {
            let directory = tempfile::tempdir().unwrap();
            fs::write(
                directory.path().join("sidekey.toml"),
                broken.replace("KEY", &keys[n]),
            )
            .unwrap();
            let mut command = sidekey();
            command.arg("check").current_dir(directory.path());
            let (status, printed) = Program::spawned(command).wait();
            assert_eq!(status.code(), Some(78), "{broken}: {printed}");
            self.seen
                .push((format!("check of {broken:?}"), printed.into_bytes()));
        }
    }

    fn search(mut self, admin_token: &str, broken: &[String]) {
        // The control: the secrets were in play.
        let record = self.sandbox.record();
        for key in &self.keys {
            assert!(
                record
                    .calls
                    .iter()
                    .any(|call| call.key.as_ref() == Some(key))
            );
        }
        let process = format!("/proc/{}", self.program.pid().as_raw_nonzero());
        for file in ["cmdline", "environ"] {
            // Unreadable for others than root, as it should be.
            if let Ok(bytes) = fs::read(format!("{process}/{file}")) {
                self.seen.push((file.to_owned(), bytes));
            }
        }
        self.program.signal(Signal::KILL);
        let (_, printed) = self.program.wait();
        self.seen.push(("the log".to_owned(), printed.into_bytes()));
        let traces = self.collector.taken();
        assert!(!traces.is_empty(), "where are the traces?");
        let traces = traces.into_iter();
        self.seen
            .extend(traces.map(|bytes| ("a trace".to_owned(), bytes)));
        for (path, bytes) in self.place.files() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !["keys.toml", "key-3", "admin-token"].contains(&name.as_str()) {
                self.seen.push((name, bytes));
            }
        }
        let seen = |name| {
            self.seen
                .iter()
                .any(|(place, bytes)| place == name && !bytes.is_empty())
        };
        assert!(
            seen("sidekey.db") && seen("sidekey.db-wal"),
            "where is the store?"
        );

        let mut secrets = Search::default();
        for (n, key) in self.keys.iter().chain(broken).enumerate() {
            secrets.add(&format!("key {n}"), key);
        }
        secrets.add("the admin token", admin_token);
        let mut hits = secrets.hits("an answer that echoed the key", &self.echoes);
        assert!(
            memchr::memmem::find(&self.echoes, self.echoed.as_bytes()).is_some(),
            "the echo was not scrubbed, or did not happen"
        );
        for (n, token) in self.tokens.iter().chain([&self.echoed]).enumerate() {
            secrets.add(&format!("token {n}"), token);
        }
        for (place, bytes) in &self.seen {
            hits.extend(secrets.hits(place, bytes).into_iter().take(2));
        }
        assert!(
            hits.is_empty(),
            "{} leaks:\n{}",
            hits.len(),
            hits.join("\n")
        );
    }
}

/// A panic's message may quote what it tripped over.
#[test]
fn a_panic_tells_its_place_and_not_its_words() {
    let this = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new(this);
    command.args(["--exact", "leaks::panics", "--ignored", "--nocapture"]);
    let (_, printed) = Program::spawned(command).wait();
    assert!(printed.contains("a panic was caught"), "{printed}");
    assert!(printed.contains("leaks.rs"), "{printed}");
    assert!(!printed.contains("a secret"), "{printed}");
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn panics() {
    let log = Log {
        format: LogFormat::Text,
        level: LogLevel::Trace,
        otlp: None,
    };
    let guard = sidekey::log::start(&log, &Environment::default());
    let panicked = std::thread::spawn(|| panic!("a secret")).join();
    assert!(panicked.is_err());
    drop(guard);
}

async fn vendor(keys: &[String], background: &Background) -> Sandbox {
    let accounts = keys.iter().zip(1..).map(|(key, n)| AccountConfig {
        solve_ms: 0,
        ..AccountConfig::new(format!("account-{n}"), key)
    });
    let config = SandboxConfig {
        accounts: accounts.collect(),
        ..SandboxConfig::default()
    };
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    sandbox::start(config, anywhere, background).await.unwrap()
}

fn good_keys(keys: &[String; 3]) -> String {
    format!(
        "[[key]]\nname = \"account-1\"\nvalue = \"{}\"\n[[key]]\nname = \"account-2\"\nvalue = \"{}\"\n\
         [[key]]\nname = \"account-3\"\nfile = \"key-3\"\n",
        keys[0], keys[1]
    )
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

fn post(target: &str, kind: &str, body: &str) -> String {
    // `TOKEN` becomes longer by 27 bytes each time.
    let length = body.len() + 27 * body.matches("TOKEN").count();
    format!(
        "POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// All bytes that came back. Whoever is at the end of its own says so, and so the connection ends.
async fn exchange(address: SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A refusal may come before all was sent.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !is_whole(&answer) {
        match timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap() {
            Ok(read @ 1..) => answer.extend_from_slice(&buffer[..read]),
            _ => break,
        }
    }
    answer
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    body.len() >= length
}

const TASK: &str = "method=userrecaptcha&googlekey=k&pageurl=p";

/// `KEY` stands for a key.
const BROKEN_KEYS: &[&str] = &[
    "[[key]]\nname = \"a\"\nvalue = \"KEY\n",
    "[[key]]\nname = \"a\"\nvalue = KEY\n",
    "[[key]]\nname = \"a\"\nvalue = 'KEY\n",
    "[[key]]\nname = \"a\"\nvalue = \"\"\"KEY\n",
    "[[key]]\nname = \"a\"\nvalue = \"KEY\\q\"\n",
    "[[key]]\nname = \"a\"\nvalu = \"KEY\"\n",
    "[[key]]\nname = \"a\"\nvalue = \"KEY KEY\"\n",
    "[[key]]\nname = \"a\"\nvalue = { secret = \"KEY\" }\n",
    "[[key]]\nname = \"a\"\nvalue = [\"KEY\"]\n",
    "[[key]]\nname = \"a\"\nvalue = \"KEY\"\nweight = \"KEY\"\n",
    "[[key]]\nname = \"a\"\nvalue = \"KEY\"\nvalue = \"KEY\"\n",
    "[[key]]\nname = \"a\"\nvalue = \"KEY\"\n[[key]]\nname = \"b\"\nvalue = \"KEY\"\n",
    "[[key]]\nname = \"a\"\nvalue = \"KEY\"\n[[key]]\nname = \"a\"\nvalue = \"other-key-of-some-length\"\n",
    "[[key]\nname = \"a\"\nvalue = \"KEY\"\n",
    "[[key]]\nname = \"a\" value = \"KEY\"\n",
    "[[key]]\nname = \"KEY\"\n",
    "[[key]]\nKEY = \"value\"\n",
    "[KEY]\n",
    "key = \"KEY\"\n",
    "key = [\"KEY\"]\n",
    "KEY\n",
    "\"KEY\"\n",
    "a,KEY,b\n",
];

const BROKEN_SETTINGS: &[&str] = &[
    "CAPTCHAAI_KEYS = \"KEY\"\n",
    "keys = [\"KEY\"]\n",
    "[vendor]\nurl = \"https://user:KEY@example.com\"\n",
    "[vendor]\nurl = \"https://example.com/?key=KEY\"\n",
    "[vendor]\nproxy = \"http://user:KEY@proxy.example\"\n",
    "[vendor]\nproxy = \"KEY\"\n",
    "[admin]\ntoken = \"KEY\"\n",
    "[[key]]\nname = \"a\"\nvalue = \"KEY\"\n",
];
