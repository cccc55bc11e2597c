//! Replicas on one Redis, each started and stopped by itself.

use sidekey::app::{self, Running};
use sidekey::background::Background;
use sidekey::config::{Input, load};
use sidekey::sandbox::{Dialect, SandboxConfig};
use tokio::time::Instant;

use super::{PLACEHOLDER, TASK, World, http, keys, until, vendor};
use crate::redis_server::RedisServer;

/// A sandbox, a Redis, and replicas that are started and stopped one by one.
pub(crate) struct Fleet {
    pub(crate) world: World,
    pub(crate) redis: RedisServer,
    pub(crate) replicas: Vec<Option<(Running, Background)>>,
}

impl Fleet {
    pub(crate) async fn start(count: usize, vendor: SandboxConfig, config: &str) -> Self {
        Self::start_for(count, vendor, config, None).await
    }

    /// With these tenants.
    pub(crate) async fn start_for(
        count: usize,
        vendor: SandboxConfig,
        config: &str,
        entries: Option<&str>,
    ) -> Self {
        let redis = RedisServer::start();
        let text = keys(vendor.accounts.iter().map(|a| (&a.name, &a.key)));
        let config = format!(
            "state.store = \"redis\"\nstate.url = {:?}\npoll.unknown_task = \"refuse\"\n{config}",
            redis.url()
        );
        let config = match entries {
            Some(_) => format!("clients.mode = \"tenants\"\n{config}"),
            None => config,
        };
        let world = World::prepare(vendor, &config).await;
        world.write_keys(&text);
        if let Some(entries) = entries {
            world.use_tenants_file();
            world.write_tenants(entries);
        }
        let mut fleet = Self {
            world,
            redis,
            replicas: Vec::new(),
        };
        for at in 0..count {
            fleet.replicas.push(None);
            fleet.start_replica(at).await;
        }
        for at in 0..count {
            fleet.running(at).server.prober.has_learnt().await;
            until("the keys are known", async || {
                fleet.states(at).iter().all(|s| *s == "healthy")
            })
            .await;
        }
        fleet
    }

    pub(crate) async fn start_replica(&mut self, at: usize) {
        let input = Input {
            config: Some(self.world.config_path()),
            ..Input::default()
        };
        let background = Background::new();
        let attempt = load(&input);
        let running = app::start(input, attempt, &background).await.unwrap();
        self.replicas[at] = Some((running, background));
    }

    pub(crate) async fn stop_replica(&mut self, at: usize) {
        let (running, background) = self.replicas[at].take().unwrap();
        assert_eq!(running.stop(&background).await, 0, "work was cut off");
    }

    pub(crate) fn running(&self, at: usize) -> &Running {
        &self.replicas[at].as_ref().unwrap().0
    }

    pub(crate) fn states(&self, at: usize) -> Vec<&'static str> {
        let snapshot = self.running(at).server.live.load();
        let keys = snapshot.keys.listed();
        keys.map(|key| key.describe(Instant::now()).state.as_str())
            .collect()
    }

    /// So many, of the first account, at all replicas.
    pub(crate) async fn know_the_slots(&self, slots: u32) {
        for at in 0..self.replicas.len() {
            until("the limit is known", async || {
                let snapshot = self.running(at).server.live.load();
                let key = snapshot.keys.listed().next().unwrap();
                key.account.most_tasks(&key.limits) == Some(slots)
            })
            .await;
        }
    }

    pub(crate) fn leaders(&self) -> Vec<usize> {
        let leads = |at: &usize| {
            let replica = self.replicas[*at].as_ref();
            replica.is_some_and(|(running, _)| running.server.replicas.leads())
        };
        (0..self.replicas.len()).filter(leads).collect()
    }

    pub(crate) async fn get(&self, at: usize, target: &str) -> String {
        let target = target.replace("{}", PLACEHOLDER);
        http::send(self.running(at).http[0], "GET", &target, "", "")
            .await
            .body
    }

    pub(crate) async fn submit(&self, at: usize) -> String {
        let answer = self.get(at, &format!("/in.php?key={{}}&{TASK}")).await;
        answer
            .strip_prefix("OK|")
            .unwrap_or_else(|| panic!("refused: {answer}"))
            .to_owned()
    }

    pub(crate) async fn poll(&self, at: usize, id: &str) -> String {
        self.get(at, &format!("/res.php?key={{}}&action=get&id={id}"))
            .await
    }

    pub(crate) async fn change(&self, at: usize, path: &str) -> u16 {
        let admin = self.running(at).admin[0];
        http::send(admin, "POST", path, "X-Sidekey: 1\r\n", "")
            .await
            .status
    }

    /// The sum over all replicas of all series that begin so.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let mut sum = 0.0;
        for at in 0..self.replicas.len() {
            if self.replicas[at].is_some() {
                sum += self.metric_of(at, series).await;
            }
        }
        sum
    }

    pub(crate) async fn metric_of(&self, at: usize, series: &str) -> f64 {
        let text = http::send(self.running(at).admin[0], "GET", "/metrics", "", "").await;
        let lines = text.body.lines();
        let values = lines.filter_map(|line| line.strip_prefix(series)?.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }

    pub(crate) async fn end(mut self) {
        for at in 0..self.replicas.len() {
            if self.replicas[at].is_some() {
                self.stop_replica(at).await;
            }
        }
        self.world.end_vendor().await;
    }
}

pub(crate) fn solving(accounts: usize, ms: u64) -> SandboxConfig {
    let mut vendor = vendor(Dialect::Captchaai, accounts);
    for account in &mut vendor.accounts {
        account.solve_ms = ms;
    }
    vendor
}

pub(crate) const QUICK: &str = "poll.pace = \"100ms\"\nbalance.refresh = \"10s\"";
