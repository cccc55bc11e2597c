//! `kill -9` every second while tenants use up their day: solves counted are solves made, and with the uncertain submits,
//! which are listed apart, they are the limit, to the unit.
//!
//! `TENANT_KILLS=120 cargo test --test process tenant_limits -- --nocapture` is the long form, with 20 tenants of 64 clients.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use sidekey::background::Background;
use sidekey::config::environment::Environment;
use sidekey::sandbox::Sandbox;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::{Client, PATIENCE, Place, body, id, query, vendor};

struct Form {
    tenants: usize,
    clients: usize,
    kills: u64,
    /// Of the first tenant; the others have more, so that they reach theirs at other times.
    daily_limit: u64,
}

const SHORT: Form = Form {
    tenants: 4,
    clients: 16,
    kills: 4,
    daily_limit: 60,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_daily_limit_holds_to_the_unit_over_kill_9() {
    let environment = Environment::of_this_process();
    let kills = environment.get("TENANT_KILLS");
    let form = kills.map_or(SHORT, |kills| {
        let kills: u64 = kills.parse().unwrap();
        Form {
            tenants: 20,
            clients: 64,
            kills,
            // Reached after half of the kills, by what a small machine does.
            daily_limit: 3 * kills,
        }
    });
    let background = Background::new();
    let sandbox = vendor(&background).await;
    for account in ["account-1", "account-2", "account-3"] {
        sandbox.set_solve_time(account, 100).unwrap();
    }
    // What fails is given back, also when it ran while the process was killed.
    let unsolvable = Some("ERROR_CAPTCHA_UNSOLVABLE");
    sandbox.set_answer("account-3", unsolvable).unwrap();
    let place = Place::new(&sandbox);
    place.configure(
        &sandbox,
        "sync = \"process\"\n[clients]\nmode = \"tenants\"\n",
    );
    let config = std::fs::read_to_string(place.path("sidekey.toml")).unwrap();
    let config = format!("tenants_file = \"tenants.toml\"\n{config}");
    // So that a limit is not reached before the kills begin.
    place.write(
        "sidekey.toml",
        &config.replace("[poll]", "[poll]\npace = \"100ms\""),
    );
    let tenants: Vec<Tenant> = (0..form.tenants)
        .map(|n| Tenant::new(n, form.daily_limit + 10 * n as u64))
        .collect();
    let file: String = tenants.iter().map(Tenant::entry).collect();
    place.write("tenants.toml", &file);

    let mut program = place.start();
    let (tell, address) = watch::channel(program.http);
    let ends = Arc::new(AtomicBool::new(false));
    let mut crowd = JoinSet::new();
    for tenant in &tenants {
        let sent = Arc::new(AtomicU64::new(0));
        for _ in 0..form.clients {
            let client = Submitting {
                tenant: tenant.clone(),
                address: address.clone(),
                sent: Arc::clone(&sent),
                ends: Arc::clone(&ends),
            };
            crowd.spawn(client.run());
        }
    }
    for _ in 0..form.kills {
        sleep(Duration::from_secs(1)).await;
        program.signal(Signal::KILL);
        program.wait();
        program = place.start();
        tell.send_replace(program.http);
    }
    // The rest of the day is quiet.
    let began = Instant::now();
    while !tenants.iter().all(|tenant| tenant.is_used_up(&place)) {
        assert!(began.elapsed() < 2 * PATIENCE, "limits were not reached");
        poll_all(&place, &tenants, program.http).await;
        sleep(Duration::from_millis(50)).await;
    }
    ends.store(true, Ordering::Relaxed);
    crowd.join_all().await;
    poll_all(&place, &tenants, program.http).await;
    let sums = compare(&sandbox, &place, &tenants);
    print(&form, &sums);
    assert!(sums.wrong.is_empty(), "{:#?}", sums.wrong);
    assert!(sums.failed > 0 && sums.solved > 0);
}

#[derive(Clone)]
struct Tenant {
    name: String,
    token: String,
    daily_limit: u64,
}

impl Tenant {
    fn new(n: usize, daily_limit: u64) -> Self {
        Self {
            name: format!("tenant{n}x"),
            token: format!("token{n:027x}"),
            daily_limit,
        }
    }

    fn entry(&self) -> String {
        let Self {
            name,
            token,
            daily_limit,
        } = self;
        format!("[[tenant]]\nname = \"{name}\"\ntoken = \"{token}\"\ndaily_limit = {daily_limit}\n")
    }

    fn is_used_up(&self, place: &Place) -> bool {
        let used = self.count(place, "usage", "ended = 'solved'")
            + self.count(place, "uncertain", "resolved_id IS NULL");
        used >= self.daily_limit && self.count(place, "tasks", "final = 0") == 0
    }

    fn count(&self, place: &Place, table: &str, which: &str) -> u64 {
        let name = &self.name;
        let sql = format!("SELECT count(*) FROM {table} WHERE tenant = '{name}' AND {which}");
        let count: Vec<i64> = query(&place.path("sidekey.db"), &sql, |row| row.get(0));
        count[0].unsigned_abs()
    }
}

struct Submitting {
    tenant: Tenant,
    address: watch::Receiver<SocketAddr>,
    sent: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
}

impl Submitting {
    /// Over every kill, and also when the limit is reached: what failed may have made room.
    async fn run(self) {
        while !self.ends.load(Ordering::Relaxed) {
            let address = *self.address.borrow();
            if let Ok(mut client) = Client::connect(address).await {
                while !self.ends.load(Ordering::Relaxed)
                    && let Some(pause) = self.solve(&mut client).await
                {
                    sleep(pause).await;
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// One task to its end. `None` when the process was killed.
    async fn solve(&self, client: &mut Client) -> Option<Duration> {
        let Tenant { name, token, .. } = &self.tenant;
        let label = format!("{name}{}", self.sent.fetch_add(1, Ordering::Relaxed));
        let form = format!("key={token}&{label}=1&x_project={label}&method=userrecaptcha");
        let form = format!("{form}&googlekey=k&pageurl=p");
        let kind = "application/x-www-form-urlencoded";
        let answer = client.post("/in.php", kind, form.as_bytes()).await.ok()?;
        let Some(id) = id(&answer) else {
            // Thousands of clients that ask in vain must not starve the rest.
            return Some(Duration::from_secs(1));
        };
        while poll(client, token, id).await? == "CAPCHA_NOT_READY" {
            sleep(Duration::from_millis(50)).await;
        }
        Some(Duration::ZERO)
    }
}

async fn poll(client: &mut Client, token: &str, id: &str) -> Option<String> {
    let target = format!("/res.php?key={token}&action=get&id={id}");
    let answer = client.get(&target).await.ok()?;
    Some(body(&answer).to_owned())
}

/// As clients do that wrote their ids down: also tasks whose id nobody heard.
async fn poll_all(place: &Place, tenants: &[Tenant], address: SocketAddr) {
    let mut client = Client::connect(address).await.unwrap();
    for tenant in tenants {
        let sql = format!(
            "SELECT id FROM tasks WHERE tenant = '{}' AND final = 0",
            tenant.name
        );
        let ids: Vec<String> = query(&place.path("sidekey.db"), &sql, |row| row.get(0));
        for id in ids {
            poll(&mut client, &tenant.token, &id).await;
        }
    }
}

#[derive(Debug, Default)]
struct Sums {
    solved: u64,
    failed: u64,
    uncertain: u64,
    /// Of these, the vendor made and solved.
    uncertain_solved: u64,
    wrong: Vec<String>,
}

fn compare(sandbox: &Sandbox, place: &Place, tenants: &[Tenant]) -> Sums {
    let record = sandbox.record();
    assert_eq!(record.counts.dropped, 0);
    let tasks = sandbox.tasks();
    let solved: BTreeSet<&str> = tasks
        .iter()
        .filter(|task| task.state == "solved")
        .map(|task| task.id.as_str())
        .collect();
    let mut made: BTreeMap<&str, &str> = BTreeMap::new();
    for call in record.calls.iter().filter(|call| call.endpoint == "in.php") {
        let label = call.names.iter().find(|name| name.starts_with("tenant"));
        if let (Some(label), Some(id)) = (label, &call.task) {
            made.insert(label, id);
        }
    }
    let mut sums = Sums::default();
    for tenant in tenants {
        let Tenant {
            name, daily_limit, ..
        } = tenant;
        let sql = format!(
            "SELECT project FROM uncertain WHERE tenant = '{name}' AND resolved_id IS NULL"
        );
        let uncertain: Vec<String> = query(&place.path("sidekey.db"), &sql, |row| row.get(0));
        let counted = tenant.count(place, "usage", "ended = 'solved'");
        let of_tenant = made.iter().filter(|(label, _)| label.starts_with(name));
        let made: BTreeSet<_> = of_tenant
            .filter(|(_, id)| solved.contains(**id))
            .map(|(label, _)| *label)
            .collect();
        let apart = uncertain
            .iter()
            .filter(|label| made.contains(label.as_str()));
        let apart = apart.count() as u64;
        if counted + apart != made.len() as u64 || counted + uncertain.len() as u64 != *daily_limit
        {
            sums.wrong.push(format!(
                "{name}: {counted} counted and {} uncertain ({apart} of them solved) of {daily_limit}, {} made",
                uncertain.len(),
                made.len()
            ));
        }
        sums.solved += counted;
        sums.failed += tenant.count(place, "usage", "ended = 'failed'");
        sums.uncertain += uncertain.len() as u64;
        sums.uncertain_solved += apart;
    }
    sums
}

#[expect(
    clippy::print_stderr,
    reason = "the figures of a long run are what it is run for"
)]
fn print(form: &Form, sums: &Sums) {
    eprintln!(
        "{} kills under {} tenants of {} clients: {} solves counted, {} failed and given back, {} uncertain ({} of them solved), {} wrong",
        form.kills,
        form.tenants,
        form.clients,
        sums.solved,
        sums.failed,
        sums.uncertain,
        sums.uncertain_solved,
        sums.wrong.len(),
    );
}
