//! `sidekey demo`: a fake vendor, Sidekey and a client in one process, to see it work without an account.

use std::fs::OpenOptions;
use std::future::pending;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::app::{self, Running};
use crate::background::Background;
use crate::config::environment::Environment;
use crate::config::settings::{Log, LogFormat, LogLevel};
use crate::config::{Input, load};
use crate::log;
use crate::sandbox::{self, Sandbox, SandboxConfig};
use crate::vendor::client::{Client, Outgoing};

/// See it work: a fake vendor, Sidekey before it, and a client that submits and polls
///
/// The vendor has three accounts, and each task shows which of them submitted and polled it. Everything is on loopback and in a
/// temporary directory; no account and no file is needed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey demo                     solve six captchas, then serve until Ctrl-C
  sidekey demo --exit-after 6      solve six captchas and end")]
pub struct Args {
    /// End after so many solves instead of serving until Ctrl-C
    #[arg(long, value_name = "N")]
    pub exit_after: Option<u32>,
}

const SOLVES: u32 = 6;
const PLACEHOLDER: &str = "placeholder-of-a-legacy-client-0";
const POLL_EVERY: Duration = Duration::from_millis(300);
/// The fake vendor solves in about a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the exit code. `out` gets the show, `err` what went wrong.
pub async fn run(
    args: &Args,
    environment: Environment,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    let warnings = Log {
        format: LogFormat::Text,
        level: LogLevel::Warn,
        otlp: None,
    };
    let _log = log::start(&warnings, &environment);
    let (mut interrupt, mut terminate, mut hangup) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    );
    let background = Background::new();
    let place = TempDir::with_prefix("sidekey-demo-")?;
    let demo = match Demo::start(place.path(), &background).await {
        Ok(demo) => demo,
        Err(error) => {
            writeln!(err, "sidekey demo: {error}")?;
            return Ok(69);
        }
    };
    demo.introduce(out)?;
    let keys = place.path().join("keys.toml");
    let played = tokio::select! {
        played = demo.play(args.exit_after, &keys, out) => played,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        // The terminal was closed.
        _ = hangup.recv() => Ok(()),
    };
    demo.running.stop(&background).await;
    match played {
        Ok(()) => Ok(0),
        Err(Failure::Show(error)) => Err(error),
        Err(failure) => {
            writeln!(err, "sidekey demo: {failure}")?;
            Ok(70)
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Show(#[from] io::Error),
    #[error("a submit was refused: {0}")]
    Refused(String),
    #[error("task {id} was not solved: {answer}")]
    Unsolved { id: String, answer: String },
}

struct Demo {
    sandbox: Sandbox,
    running: Running,
    client: Client,
    url: String,
}

impl Demo {
    async fn start(place: &Path, background: &Background) -> anyhow::Result<Self> {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let accounts = SandboxConfig::default().with_three_accounts();
        let keys: String = accounts
            .accounts
            .iter()
            .map(|account| {
                format!(
                    "[[key]]\nname  = {:?}\nvalue = {:?}\n\n",
                    account.name, account.key
                )
            })
            .collect();
        let sandbox = sandbox::start(accounts, any_port, background).await?;
        let config = format!(
            "[listen]\nhttp = [\"127.0.0.1:0\"]\n[admin]\nlisten = [\"127.0.0.1:0\"]\n\
             [vendor]\nurl = {:?}\nallow_plaintext = true\n[state]\npath = {:?}\n",
            sandbox.url(),
            place.join("demo.db"),
        );
        let config_path = place.join("sidekey.toml");
        std::fs::write(&config_path, config)?;
        let mut keys_file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(place.join("keys.toml"))?;
        keys_file.write_all(keys.as_bytes())?;
        let input = Input {
            config: Some(config_path),
            environment: Environment::default(),
        };
        let attempt = load(&input);
        let running = app::start(input, attempt, background).await?;
        let url = running
            .http
            .first()
            .map(|address| format!("http://{address}"))
            .unwrap_or_default();
        let client = Client::new(&url, None, Duration::from_secs(1), background)?;
        Ok(Self {
            sandbox,
            running,
            client,
            url,
        })
    }

    fn introduce(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "vendor (sandbox)  {}", self.sandbox.url())?;
        writeln!(out, "sidekey           {}", self.url)?;
        if let Some(admin) = self.running.admin.first() {
            writeln!(out, "dashboard         http://{admin}/")?;
            writeln!(
                out,
                "admin port        http://{admin}/metrics  http://{admin}/api/keys"
            )?;
        }
        writeln!(
            out,
            "\nA client submits with the key {PLACEHOLDER:?} and polls:\n"
        )?;
        writeln!(
            out,
            "{:<12} {:<22} {:<10} answer",
            "task", "submitted by account", "polled by"
        )?;
        out.flush()
    }

    /// Returns after so many solves, or never.
    async fn play(
        &self,
        exit_after: Option<u32>,
        keys: &Path,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        self.show(exit_after.unwrap_or(SOLVES), out).await?;
        if exit_after.is_none() {
            self.invite(out, keys)?;
            pending().await
        }
        Ok(())
    }

    /// Submits two tasks at a time, so that it is seen that each is polled by its own account.
    async fn show(&self, solves: u32, out: &mut impl Write) -> Result<(), Failure> {
        let mut left = solves;
        while left > 0 {
            let mut ids = Vec::new();
            for _ in 0..left.min(2) {
                let answer = self
                    .get(
                        "/in.php",
                        "method=userrecaptcha&googlekey=SITEKEY&pageurl=http://example.com",
                    )
                    .await;
                match answer.strip_prefix("OK|") {
                    Some(id) => ids.push(id.to_owned()),
                    None => return Err(Failure::Refused(answer)),
                }
                left -= 1;
            }
            for id in ids {
                let answer = self.answer(&id).await?;
                let (submitted, polled) = self.accounts_of(&id);
                writeln!(out, "{id:<12} {submitted:<22} {polled:<10} {answer}")?;
                out.flush()?;
            }
        }
        Ok(())
    }

    async fn answer(&self, id: &str) -> Result<String, Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.get("/res.php", &format!("action=get&id={id}")).await;
            if let Some(solution) = answer.strip_prefix("OK|") {
                return Ok(solution.to_owned());
            }
            if answer != "CAPCHA_NOT_READY" || Instant::now() >= until {
                let id = id.to_owned();
                return Err(Failure::Unsolved { id, answer });
            }
            sleep(POLL_EVERY).await;
        }
    }

    /// By the vendor's own record.
    fn accounts_of(&self, id: &str) -> (String, String) {
        let record = self.sandbox.record();
        let by = |endpoint: &str| {
            let call = record
                .calls
                .iter()
                .rev()
                .find(|call| call.endpoint == endpoint && call.task.as_deref() == Some(id));
            call.and_then(|call| call.account.clone())
                .unwrap_or_else(|| "?".to_owned())
        };
        (by("in.php"), by("res.php"))
    }

    async fn get(&self, path: &str, query: &str) -> String {
        let path_and_query = format!("{path}?key={PLACEHOLDER}&{query}").into();
        let request = Outgoing {
            path_and_query,
            ..Outgoing::default()
        };
        match self.client.call(request, Instant::now() + PATIENCE).await {
            Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn invite(&self, out: &mut impl Write, keys: &Path) -> io::Result<()> {
        let url = &self.url;
        writeln!(
            out,
            "\nGo on yourself; edit {} and see the keys change at once. Ctrl-C ends.\n\n\
             curl '{url}/in.php?key={PLACEHOLDER}&method=userrecaptcha&googlekey=SITEKEY&pageurl=http://example.com'\n\
             curl '{url}/res.php?key={PLACEHOLDER}&action=get&id=ID'\n\
             curl '{}/sandbox/record'",
            keys.display(),
            self.sandbox.url(),
        )?;
        out.flush()
    }
}
