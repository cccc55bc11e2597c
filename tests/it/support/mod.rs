//! One Sidekey before one sandbox, in this process: started, asked, stopped and started again.

pub(crate) mod fleet;
pub(crate) mod http;
pub(crate) mod ledger;
pub(crate) mod series;
pub(crate) mod team;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use sidekey::app::{self, Running};
use sidekey::background::Background;
use sidekey::config::{Input, load};
use sidekey::sandbox::{self, AccountConfig, Dialect, Sandbox, SandboxConfig};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub(crate) const PLACEHOLDER: &str = "placeholder-of-a-legacy-client-0";
pub(crate) const ADMIN_TOKEN: &str = "the-right-admin-token-0123456789";
/// A submit without its key.
pub(crate) const TASK: &str = "method=userrecaptcha&googlekey=SITEKEY&pageurl=http://example.com";

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) place: TempDir,
    vendor: Background,
    program: Option<(Running, Background)>,
}

/// Solves at once, and says so when the placeholder reaches it.
pub(crate) fn vendor(dialect: Dialect, accounts: usize) -> SandboxConfig {
    let account = |n| AccountConfig {
        solve_ms: 0,
        ..AccountConfig::new(name(n), key(n))
    };
    SandboxConfig {
        dialect,
        accounts: (1..=accounts).map(account).collect(),
        forbidden: vec![PLACEHOLDER.to_owned()],
        ..SandboxConfig::default()
    }
}

pub(crate) fn name(n: usize) -> String {
    format!("account-{n}")
}

pub(crate) fn key(n: usize) -> String {
    format!("{:0>32}", format!("realkey{n}"))
}

/// A keys file of these names and values.
pub(crate) fn keys<N: AsRef<str>, V: AsRef<str>>(keys: impl IntoIterator<Item = (N, V)>) -> String {
    let entry = |(name, value): (N, V)| {
        format!(
            "[[key]]\nname = {:?}\nvalue = {:?}\n",
            name.as_ref(),
            value.as_ref()
        )
    };
    let text: String = keys.into_iter().map(entry).collect();
    // A blank file is a broken one.
    if text.is_empty() {
        "key = []\n".to_owned()
    } else {
        text
    }
}

/// Accounts for the keys at the positions `live`, counted from 1, and a keys file of `count` keys in this order: the
/// vendor knows none of the others.
pub(crate) fn keys_of_which_live(count: usize, live: &[usize]) -> (Vec<AccountConfig>, String) {
    let accounts = live.iter().map(|n| AccountConfig {
        solve_ms: 0,
        ..AccountConfig::new(name(*n), key(*n))
    });
    let file = keys((1..=count).map(|n| (name(n), key(n))));
    (accounts.collect(), file)
}

impl World {
    /// With a key for each account. `config` is lines such as `submit.wait = "1s"`.
    pub(crate) async fn start(vendor: SandboxConfig, config: &str) -> Self {
        let text = keys(vendor.accounts.iter().map(|a| (&a.name, &a.key)));
        let mut world = Self::prepare(vendor, config).await;
        world.write_keys(&text);
        world.start_again().await;
        // So that tests count their own calls to the vendor and not our probes.
        world.running().server.prober.has_learnt().await;
        world
    }

    /// Everything but the keys file and the start of Sidekey.
    pub(crate) async fn prepare(vendor: SandboxConfig, config: &str) -> Self {
        let background = Background::new();
        let place = TempDir::new().unwrap();
        let profile = match vendor.dialect {
            Dialect::Captchaai => "captchaai",
            Dialect::Twocaptcha => "2captcha",
        };
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let sandbox = sandbox::start(vendor, any_port, &background).await.unwrap();
        // Few tests are about the vendor's rates, and all are faster than vendors allow.
        let unlimited = match config.contains("vendor.limits") {
            true => "",
            false => "vendor.limits.submits = 0\nvendor.limits.polls = 0\n",
        };
        let lines = format!(
            "{unlimited}listen.http = [\"127.0.0.1:0\"]\nadmin.listen = [\"127.0.0.1:0\"]\n\
             vendor.profile = {profile:?}\nvendor.url = {:?}\nvendor.allow_plaintext = true\n\
             state.sync = \"process\"\nstate.path = {:?}\n{config}\n",
            sandbox.url(),
            place.path().join("sidekey.db"),
        );
        fs::write(place.path().join("sidekey.toml"), lines).unwrap();
        Self {
            sandbox,
            place,
            vendor: background,
            program: None,
        }
    }

    /// One account, and an admin port that opens to `ADMIN_TOKEN`.
    pub(crate) async fn start_with_token(dialect: Dialect) -> Self {
        let mut world = Self::prepare(vendor(dialect, 1), "").await;
        world.want_token();
        world.write_keys(&keys([(name(1), key(1))]));
        world.start_again().await;
        world
    }

    /// From the next start on.
    pub(crate) fn want_token(&self) {
        write(&self.place.path().join("admin-token"), ADMIN_TOKEN);
        let config = fs::read_to_string(self.config_path()).unwrap();
        let config = format!("admin.token_file = \"admin-token\"\n{config}");
        fs::write(self.config_path(), config).unwrap();
    }

    pub(crate) async fn start_again(&mut self) {
        assert!(self.program.is_none(), "it runs already");
        let input = Input {
            config: Some(self.config_path()),
            ..Input::default()
        };
        let background = Background::new();
        let attempt = load(&input);
        let running = app::start(input, attempt, &background).await.unwrap();
        self.program = Some((running, background));
    }

    /// In order: whatever was begun is finished.
    pub(crate) async fn stop(&mut self) {
        let (running, background) = self.program.take().unwrap();
        assert_eq!(running.stop(&background).await, 0, "work was cut off");
    }

    /// The end of every test, so that each of them shows a clean stop.
    pub(crate) async fn end(mut self) {
        self.stop().await;
        self.end_vendor().await;
    }

    /// Where the test itself has stopped whatever it started.
    pub(crate) async fn end_vendor(self) {
        assert_eq!(self.sandbox.counts().forbidden, 0, "a placeholder got out");
        self.sandbox.stop().await;
        self.vendor.ask_to_stop();
        assert_eq!(self.vendor.wait(Duration::from_secs(10)).await, 0);
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.place.path().join("sidekey.toml")
    }

    pub(crate) fn keys_path(&self) -> PathBuf {
        self.place.path().join("keys.toml")
    }

    pub(crate) fn write_keys(&self, text: &str) {
        write(&self.keys_path(), text);
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.running().http[0]
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.running().admin[0]
    }

    pub(crate) fn running(&self) -> &Running {
        &self.program.as_ref().unwrap().0
    }

    /// For work beside the test's own.
    pub(crate) fn background(&self) -> &Background {
        &self.vendor
    }

    /// The body of an answer that must be a 200; `{}` is the placeholder: `res.php?key={}&…`.
    pub(crate) async fn get(&self, target: &str) -> String {
        let answer = self.send("GET", target, "", "").await;
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        answer.body
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &str,
        body: &str,
    ) -> http::Answer {
        let target = target.replace("{}", PLACEHOLDER);
        http::send(self.http(), method, &target, headers, body).await
    }

    /// The id of a new task.
    pub(crate) async fn submit(&self) -> String {
        let answer = self.get(&format!("/in.php?key={{}}&{TASK}")).await;
        match answer.strip_prefix("OK|") {
            Some(id) => id.to_owned(),
            None => panic!("refused: {answer}"),
        }
    }

    pub(crate) async fn poll(&self, id: &str) -> String {
        self.get(&format!("/res.php?key={{}}&action=get&id={id}"))
            .await
    }

    /// The sum of all series that begin so: `sidekey_config_reloads_total{result="adopted"}`.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = http::send(self.admin(), "GET", "/metrics", "", "")
            .await
            .body;
        // A name is a whole one: another may begin with it.
        let is_whole = |rest: &&str| series.contains(['{', ' ']) || rest.starts_with(['{', ' ']);
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(series).filter(is_whole)?;
            rest.rsplit(' ').next()
        });
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }

    pub(crate) async fn api(&self, path: &str) -> Value {
        let answer = http::send(self.admin(), "GET", path, "", "").await;
        serde_json::from_str(&answer.body).unwrap()
    }

    /// A change by hand, with the header that it needs.
    pub(crate) async fn change(&self, path: &str) -> (u16, Value) {
        self.change_by("POST", path).await
    }

    pub(crate) async fn change_by(&self, method: &str, path: &str) -> (u16, Value) {
        let answer = http::send(self.admin(), method, path, "X-Sidekey: 1\r\n", "").await;
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    /// One value of the store, read from its file as any other program may.
    pub(crate) fn stored<T: FromSql>(&self, query: &str) -> T {
        let path = self.place.path().join("sidekey.db");
        let store = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        store.query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// Waits until a changed configuration has been adopted, and its new keys were probed.
    pub(crate) async fn adopts(&self, change: impl FnOnce()) {
        let series = "sidekey_config_reloads_total{result=\"adopted\"}";
        let before = self.metric(series).await;
        change();
        until("the change is adopted", async || {
            self.metric(series).await > before
        })
        .await;
        until("the new keys are probed", async || {
            let keys = self.api("/api/keys").await;
            keys["keys"]
                .as_array()
                .unwrap()
                .iter()
                .all(|key| key["state"] != "unproven")
        })
        .await;
    }

    pub(crate) async fn state_of(&self, name: &str) -> Option<String> {
        let all = self.api("/api/keys").await;
        let all = all["keys"].as_array().unwrap();
        let key = all.iter().find(|key| key["name"] == name)?;
        key["state"].as_str().map(str::to_owned)
    }
}

/// Waits until it holds, and fails after a time in which it should have.
pub(crate) async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(20), what, holds).await;
}

pub(crate) async fn within(time: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let patience = Instant::now() + time;
    while !holds().await {
        assert!(Instant::now() < patience, "in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// In place, with the mode that a secret should have.
pub(crate) fn write(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
