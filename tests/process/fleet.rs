//! Three programs on one Redis, as behind a service: whichever comes next is asked.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tokio::sync::RwLock;
use tokio::time::{Instant, sleep};

use crate::support::{Client, PATIENCE, Place, Program, body};

pub(crate) const REPLICAS: usize = 3;

pub(crate) struct Fleet {
    place: Place,
    start: fn(&Place) -> Program,
    programs: RwLock<Vec<Program>>,
}

impl Fleet {
    pub(crate) fn start(place: Place, start: fn(&Place) -> Program) -> Self {
        let programs = (0..REPLICAS).map(|_| start(&place)).collect();
        Self {
            place,
            start,
            programs: RwLock::new(programs),
        }
    }

    /// None: the replica is gone, or went in the middle.
    pub(crate) async fn get(&self, turn: usize, target: &str) -> Option<String> {
        let mut client = Client::connect(self.address(turn).await).await.ok()?;
        let answer = client.get(target).await.ok()?;
        Some(body(&answer).to_owned())
    }

    /// The first answer that is not "not ready".
    pub(crate) async fn answer(&self, mut turn: usize, id: &str) -> String {
        let began = Instant::now();
        loop {
            match self.poll(turn, id).await {
                Some(answer) if answer != NOT_READY => return answer,
                _ => assert!(began.elapsed() < PATIENCE, "{id} is never ready"),
            }
            turn += 1;
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn poll(&self, turn: usize, id: &str) -> Option<String> {
        let target = format!("/res.php?key=placeholder&action=get&id={id}");
        self.get(turn, &target).await
    }

    /// `kill -9`, and once it is gone another is started in its place.
    pub(crate) async fn kill(&self, at: usize) {
        // Not under the clients' lock: it is gone while they use it.
        let pid = self.programs.read().await[at % REPLICAS].pid();
        kill_process(pid, Signal::KILL).unwrap();
        let address = self.address(at).await;
        let began = Instant::now();
        while Client::connect(address).await.is_ok() {
            assert!(began.elapsed() < PATIENCE, "it outlives kill -9");
            sleep(Duration::from_millis(10)).await;
        }
        let again = (self.start)(&self.place);
        self.programs.write().await[at % REPLICAS] = again;
    }

    /// As a rolling update does: the new one serves before the old one is told to stop.
    pub(crate) async fn roll(&self, at: usize) {
        let new = (self.start)(&self.place);
        let old = {
            let mut programs = self.programs.write().await;
            std::mem::replace(&mut programs[at % REPLICAS], new)
        };
        old.signal(Signal::TERM);
        let (status, printed) = tokio::task::spawn_blocking(|| old.wait()).await.unwrap();
        assert!(status.success(), "{printed}");
    }

    /// The labels of all uncertain submits, by the bill, which has each as a project.
    pub(crate) async fn uncertain(&self) -> BTreeSet<String> {
        let programs = self.programs.read().await;
        let answer = programs[0].ask_admin("/api/usage?by=project").await;
        let bill: Value = serde_json::from_str(body(answer.as_bytes())).unwrap();
        let lines = bill["lines"].as_array().unwrap().iter();
        let uncertain = lines.filter(|line| line["uncertain"].as_u64() > Some(0));
        uncertain
            .map(|line| line["project"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) async fn sum(&self, metric: &str) -> f64 {
        let mut sum = 0.0;
        for program in &*self.programs.read().await {
            sum += program.metric(metric).await;
        }
        sum
    }

    pub(crate) async fn address(&self, turn: usize) -> SocketAddr {
        self.programs.read().await[turn % REPLICAS].http
    }
}

pub(crate) const NOT_READY: &str = "CAPCHA_NOT_READY";
