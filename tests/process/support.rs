//! A running `sidekey`, its files, and a client that sees every byte it is sent.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sidekey::background::Background;
use sidekey::sandbox::{self, AccountConfig, Sandbox, SandboxConfig};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything here takes on a busy machine: a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A sandbox with three accounts, solved at once.
pub(crate) async fn vendor(background: &Background) -> Sandbox {
    vendor_of(3, background).await
}

pub(crate) async fn vendor_of(accounts: usize, background: &Background) -> Sandbox {
    let account = |n| AccountConfig {
        solve_ms: 0,
        price_micros: 3_000,
        balance_micros: 1_000_000_000,
        ..AccountConfig::new(format!("account-{n}"), format!("{n:032x}"))
    };
    let config = SandboxConfig {
        accounts: (1..=accounts).map(account).collect(),
        record_limit: 10_000_000,
        task_limit: 10_000_000,
        ..SandboxConfig::default()
    };
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    sandbox::start(config, anywhere, background).await.unwrap()
}

/// A directory with the configuration of one program.
pub(crate) struct Place(TempDir);

impl Place {
    /// With all the sandbox's keys, each under its account's name.
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let keys: String = sandbox
            .accounts()
            .iter()
            .map(|account| {
                format!(
                    // Uncertain submits hold their slots for minutes, and hundreds of kills leave thousands of them.
                    "[[key]]\nname = \"{}\"\nvalue = \"{}\"\nmax_tasks = 100000\n",
                    account.name, account.key
                )
            })
            .collect();
        place.write("keys.toml", &keys);
        place.configure(sandbox, "");
        place
    }

    /// `more` are further sections, or further lines of the last one, `[state]`.
    pub(crate) fn configure(&self, sandbox: &Sandbox, more: &str) {
        let text = format!(
            "[listen]\nhttp = [\"127.0.0.1:0\"]\n\
             [admin]\nlisten = [\"127.0.0.1:0\"]\n\
             [vendor]\nurl = \"{}\"\nallow_plaintext = true\n\
             [poll]\nunknown_task = \"refuse\"\n\
             [state]\npath = \"{}\"\n{more}",
            sandbox.url(),
            self.path("sidekey.db").display(),
        );
        self.write("sidekey.toml", &text);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// In one step: nobody who watches finds half a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new"));
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
        fs::rename(&new, self.path(name)).unwrap();
    }

    /// `sidekey run`, to be started.
    pub(crate) fn command(&self) -> Command {
        let mut command = sidekey();
        command
            .arg("run")
            .arg("--config")
            .arg(self.path("sidekey.toml"))
            .current_dir(self.0.path());
        command
    }

    pub(crate) fn start(&self) -> Program {
        Program::serving(self.command())
    }

    /// Every file of the directory, with its content.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }
}

/// The program, in an empty environment.
pub(crate) fn sidekey() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidekey"));
    command.env_clear();
    command
}

/// A process and all that it printed. Killed when dropped.
pub(crate) struct Program {
    child: Child,
    printed: Arc<Printed>,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

#[derive(Default)]
struct Printed {
    so_far: Mutex<SoFar>,
    more: Condvar,
}

#[derive(Default)]
struct SoFar {
    bytes: Vec<u8>,
    open_pipes: usize,
}

impl Program {
    /// Returns when it serves.
    pub(crate) fn serving(command: Command) -> Self {
        let mut program = Self::spawned(command);
        program.wait_for_line("sidekey serves");
        let log = program.printed();
        let line = log
            .lines()
            .find(|line| line.contains("sidekey serves"))
            .unwrap();
        program.http = address(line, "http");
        program.admin = address(line, "admin");
        program
    }

    /// Returns at once; the addresses are not known.
    pub(crate) fn spawned(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = Arc::new(Printed::default());
        printed.collect(child.stdout.take().unwrap());
        printed.collect(child.stderr.take().unwrap());
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            child,
            printed,
            http: nowhere,
            admin: nowhere,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The end, and everything that was printed until then.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let printed = self.printed.wait_while(|so_far| so_far.open_pipes > 0);
        (status, printed)
    }

    pub(crate) fn printed(&self) -> String {
        self.printed.wait_while(|_| false)
    }

    pub(crate) fn wait_until(&self, holds: impl Fn(&str) -> bool) {
        let printed = self.printed.wait_while(|so_far| {
            so_far.open_pipes > 0 && !holds(&String::from_utf8_lossy(&so_far.bytes))
        });
        assert!(holds(&printed), "it never held:\n{printed}");
    }

    pub(crate) fn wait_for_line(&self, text: &str) {
        let has = |bytes: &[u8]| memchr::memmem::find(bytes, text.as_bytes()).is_some();
        let printed = self
            .printed
            .wait_while(|so_far| so_far.open_pipes > 0 && !has(&so_far.bytes));
        assert!(
            has(printed.as_bytes()),
            "`{text}` was not printed, but:\n{printed}"
        );
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.http).await.unwrap()
    }

    /// An answer of the admin port, whole.
    pub(crate) async fn ask_admin(&self, path: &str) -> String {
        let mut client = Client::connect(self.admin).await.unwrap();
        let answer = client.get(path).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let metrics = self.ask_admin("/metrics").await;
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no metric {name} in\n{metrics}"))
            .parse()
            .unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Printed {
    fn collect(self: &Arc<Self>, mut pipe: impl Read + Send + 'static) {
        let printed = Arc::clone(self);
        printed.so_far.lock().unwrap().open_pipes += 1;
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let read = pipe.read(&mut buffer).unwrap_or(0);
                let mut so_far = printed.so_far.lock().unwrap();
                so_far.bytes.extend_from_slice(&buffer[..read]);
                so_far.open_pipes -= usize::from(read == 0);
                printed.more.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
    }

    fn wait_while(&self, waits: impl Fn(&SoFar) -> bool) -> String {
        let so_far = self.so_far.lock().unwrap();
        let (so_far, _) = self
            .more
            .wait_timeout_while(so_far, PATIENCE, |so_far| waits(so_far))
            .unwrap();
        String::from_utf8_lossy(&so_far.bytes).into_owned()
    }
}

/// `http="127.0.0.1:1234"` in text, `"http":"127.0.0.1:1234"` in JSON.
fn address(line: &str, name: &str) -> SocketAddr {
    let spellings = [format!(" {name}=\""), format!("\"{name}\":\"")];
    let rest = spellings
        .iter()
        .find_map(|before| line.split_once(before.as_str()))
        .unwrap_or_else(|| panic!("no {name} in {line}"))
        .1;
    rest.split_once('"').unwrap().0.parse().unwrap()
}

/// One connection. Answers come back whole, head and body.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) async fn get(&mut self, target: &str) -> io::Result<Vec<u8>> {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())
            .await
    }

    pub(crate) async fn post(
        &mut self,
        target: &str,
        kind: &str,
        body: &[u8],
    ) -> io::Result<Vec<u8>> {
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat()).await
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        timeout(PATIENCE, async {
            self.0.write_all(request).await?;
            self.answer().await
        })
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn answer(&mut self) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            if self.0.read_until(b'\n', &mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let head = String::from_utf8_lossy(&answer).to_lowercase();
        let length: usize = head
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.split_once("\r\n"))
            .map_or(0, |(length, _)| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        answer.extend(body);
        Ok(answer)
    }
}

/// The body of a whole answer.
pub(crate) fn body(answer: &[u8]) -> &str {
    let text = std::str::from_utf8(answer).unwrap();
    text.split_once("\r\n\r\n").unwrap().1
}

/// The id that `OK|id` tells.
pub(crate) fn id(answer: &[u8]) -> Option<&str> {
    body(answer).strip_prefix("OK|")
}

/// Labels of submits, which begin so, and the tasks that the vendor made of them, of each at most one.
pub(crate) fn made(sandbox: &Sandbox, prefix: &str) -> BTreeMap<String, String> {
    let record = sandbox.record();
    assert_eq!(record.counts.dropped, 0);
    let mut made = BTreeMap::new();
    for call in record.calls.iter().filter(|call| call.endpoint == "in.php") {
        let label = call.names.iter().find(|name| name.starts_with(prefix));
        if let (Some(label), Some(id)) = (label, &call.task)
            && call.done
        {
            let twice = made.insert(label.clone(), id.clone());
            assert_eq!(twice, None, "{label} was made twice");
        }
    }
    made
}

/// Asks the store's file as an operator would, beside the program that has it open.
pub(crate) fn query<T>(
    store: &Path,
    sql: &str,
    row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let connection = rusqlite::Connection::open(store).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], row).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}
