//! The program under measure, as it is run: with its store on a disk, its log on, its metrics counted.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::{Client, get};

pub(crate) struct Sidekey {
    child: Child,
    pub(crate) http: SocketAddr,
    admin: SocketAddr,
    #[expect(dead_code, reason = "held for its drop")]
    place: TempDir,
}

impl Sidekey {
    /// Returns when it is ready. Every poll is forwarded.
    pub(crate) fn start(vendor: SocketAddr, keys: usize) -> io::Result<Self> {
        let mut program = Command::new(PROGRAM);
        Self::run(program.stdout(Stdio::null()), vendor, keys, "0s")
    }

    pub(crate) fn logging_to(log: File, vendor: SocketAddr, keys: usize) -> io::Result<Self> {
        Self::run(Command::new(PROGRAM).stdout(log), vendor, keys, "0s")
    }

    /// With one worker, so that runs are alike. Leaves its profile for callgrind_annotate.
    pub(crate) fn under_valgrind(
        vendor: SocketAddr,
        keys: usize,
        pace: &str,
        name: &str,
    ) -> io::Result<Self> {
        let mut valgrind = Command::new("valgrind");
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.{name}"));
        valgrind
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", profile.display()))
            .arg(PROGRAM)
            .env("TOKIO_WORKER_THREADS", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self::run(&mut valgrind, vendor, keys, pace)
    }

    /// The vendor's limits are off: a load of calls would meet them.
    fn run(command: &mut Command, vendor: SocketAddr, keys: usize, pace: &str) -> io::Result<Self> {
        let place = TempDir::new()?;
        let (http, admin) = (free_port()?, free_port()?);
        let state = place.path().join("state.db");
        let config = format!(
            "[listen]\nhttp = [\"{http}\"]\n[admin]\nlisten = [\"{admin}\"]\n\
             [vendor]\nurl = \"http://{vendor}\"\nallow_plaintext = true\n\
             [vendor.takes]\nids = false\n[vendor.limits]\nsubmits = 0\npolls = 0\npolls_per_task = 0\n\
             [poll]\npace = \"{pace}\"\n[state]\npath = {state:?}\nsync = \"process\"\n"
        );
        fs::write(place.path().join("sidekey.toml"), config)?;
        let keys: String = (0..keys)
            .map(|n| format!("[[key]]\nname = \"account-{n}\"\nvalue = \"{n:032x}\"\n"))
            .collect();
        let keys_file = place.path().join("keys.toml");
        fs::write(&keys_file, keys)?;
        fs::set_permissions(&keys_file, fs::Permissions::from_mode(0o600))?;
        let child = command
            .args(["run", "--config"])
            .arg(place.path().join("sidekey.toml"))
            .spawn()?;
        let mut sidekey = Self {
            child,
            http,
            admin,
            place,
        };
        while sidekey.ask("/readyz").is_err() {
            if let Some(status) = sidekey.child.try_wait()? {
                return Err(io::Error::other(format!("sidekey ended: {status}")));
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(sidekey)
    }

    fn ask(&self, path: &str) -> io::Result<String> {
        Client::connect(self.admin)?.call(&get(path))
    }

    /// Ends it, and says how many instructions it took in its life.
    pub(crate) fn instructions(mut self) -> io::Result<u64> {
        self.signal(Signal::TERM)?;
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        let collected = said
            .lines()
            .find_map(|line| line.split_once("Collected : "));
        collected
            .and_then(|(_, count)| count.trim().parse().ok())
            .ok_or_else(|| io::Error::other(format!("valgrind counted nothing:\n{said}")))
    }

    /// User and system.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in brackets, may hold spaces.
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |at: usize| fields[at].parse::<u64>().map_err(io::Error::other);
        Ok(Duration::from_millis(
            (ticks(11)? + ticks(12)?) * 1000 / TICKS,
        ))
    }

    /// In MiB: what it has made itself, and all that is resident, the pages of the program's file included.
    pub(crate) fn memory(&self) -> io::Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mib = |name: &str| {
            let kib = status.lines().find_map(|line| line.strip_prefix(name));
            kib.and_then(|kib| kib.trim_end_matches("kB").trim().parse::<f64>().ok())
                .map(|kib| kib / 1024.0)
                .ok_or_else(|| io::Error::other(format!("no {name}")))
        };
        Ok((mib("RssAnon:")?, mib("VmRSS:")?))
    }

    pub(crate) fn reload(&self) -> io::Result<()> {
        self.signal(Signal::HUP)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.map_or(Ok(()), |pid| Ok(kill_process(pid, signal)?))
    }
}

impl Drop for Sidekey {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_sidekey");
/// Of /proc: the kernel reports in hundredths of a second everywhere.
const TICKS: u64 = 100;
