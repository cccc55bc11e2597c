//! Limits of tenants in the middle of a crowd: solves counted are solves made, and with the uncertain submits, which are
//! listed apart, they are the limit, to the unit. On a file, and at three replicas on one Redis; in peace, and with a `kill -9`
//! every second.
//!
//! `TENANT_KILLS=120 cargo test --test process tenant_limits -- --nocapture` is the long form, with 20 tenants of 64 clients.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use sidekey::background::Background;
use sidekey::config::environment::Environment;
use sidekey::sandbox::Sandbox;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::redis_server::RedisServer;
use crate::support::{Client, PATIENCE, Place, Program, body, id, made, vendor};

struct Form {
    replicas: usize,
    tenants: usize,
    clients: usize,
    /// One a second.
    kills: u64,
    /// Solves of the first tenant; the others have more, so that they reach theirs at other times.
    limit: u64,
    /// For the rest of the day.
    patience: Duration,
}

const SOLVE_MS: u64 = 100;
/// Of a solve, in micro-dollars, at the vendor and here.
const PRICE: u64 = 3_000;
const MAX_TASKS: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_to_the_unit_over_kill_9() {
    crowd(form(1, true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_to_the_unit_at_three_replicas() {
    crowd(form(3, false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_to_the_unit_at_three_replicas_over_kill_9() {
    crowd(form(3, true)).await;
}

fn form(replicas: usize, has_kills: bool) -> Form {
    let environment = Environment::of_this_process();
    let long = environment.get("TENANT_KILLS");
    let long: Option<u64> = long.map(|kills| kills.parse().unwrap());
    let kills = long.unwrap_or(4);
    Form {
        replicas,
        tenants: if long.is_some() { 20 } else { 6 },
        clients: if long.is_some() { 64 } else { 16 },
        kills: if has_kills { kills } else { 0 },
        // Reached after half of the kills, by what a small machine does.
        limit: long.map_or(60, |kills| 3 * kills),
        // A machine that does much else besides.
        patience: PATIENCE * if long.is_some() { 15 } else { 3 },
    }
}

async fn crowd(form: Form) {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    for account in ["account-1", "account-2", "account-3"] {
        sandbox.set_solve_time(account, SOLVE_MS).unwrap();
    }
    // What fails is given back, also when it ran while the process was killed.
    let unsolvable = Some("ERROR_CAPTCHA_UNSOLVABLE");
    sandbox.set_answer("account-3", unsolvable).unwrap();
    let tenants: Vec<Tenant> = (0..form.tenants)
        .map(|n| Tenant::new(n, form.limit + 10 * n as u64))
        .collect();
    let mut service = Service::start(&sandbox, &tenants, form.replicas);
    let (tell, addresses) = watch::channel(service.addresses());
    let ends = Arc::new(AtomicBool::new(false));
    let mut crowd = JoinSet::new();
    for tenant in &tenants {
        let sent = Arc::new(AtomicU64::new(0));
        for turn in 0..form.clients {
            let client = Submitting {
                tenant: tenant.clone(),
                addresses: addresses.clone(),
                turn,
                sent: Arc::clone(&sent),
                ends: Arc::clone(&ends),
            };
            crowd.spawn(client.run());
        }
    }
    for kill in 0..form.kills {
        sleep(Duration::from_secs(1)).await;
        service.kill_and_start(kill as usize % form.replicas);
        tell.send_replace(service.addresses());
    }
    // The rest of the day is quiet.
    let began = Instant::now();
    let mut ended = BTreeSet::new();
    while !service.are_used_up(&tenants).await {
        assert!(
            began.elapsed() < form.patience,
            "limits were not reached: {:#?}",
            compare(&sandbox, &service, &tenants).await.wrong
        );
        service.poll_all(&sandbox, &tenants, &mut ended).await;
        sleep(Duration::from_millis(50)).await;
    }
    ends.store(true, Ordering::Relaxed);
    crowd.join_all().await;
    // Whatever would still be made or counted.
    let mut sums = Sums::default();
    for _ in 0..3 {
        service.poll_all(&sandbox, &tenants, &mut ended).await;
        sleep(Duration::from_millis(500)).await;
        sums = compare(&sandbox, &service, &tenants).await;
    }
    service.listen();
    print(&form, &sums, &service.said);
    assert!(sums.wrong.is_empty(), "{:#?}", sums.wrong);
    assert!(sums.failed > 0 && sums.solved > 0);
    assert_eq!(sandbox.counts().foreign, 0, "wrong-key polls");
}

/// One program on its file, or several on one Redis.
struct Service {
    place: Place,
    programs: Vec<Program>,
    said: Said,
    _redis: Option<RedisServer>,
}

/// What the programs logged, added up.
#[derive(Debug, Default)]
struct Said {
    /// Submits that were not counted in time, and not sent.
    not_counted: usize,
    /// Replicas that counted limits alone for a while.
    alone: usize,
    /// Times that the submits of a dead replica became uncertain.
    taken_over: usize,
    /// Submits of which Redis had no record in time.
    unwritten: usize,
}

impl Said {
    fn add(&mut self, printed: &str) {
        let count = |text: &str| printed.lines().filter(|line| line.contains(text)).count();
        self.not_counted += count("not_counted");
        self.alone += count("no meeting on the Redis server");
        self.taken_over += count("another replica ended in mid-submit");
        self.unwritten += count("the store is in trouble, this is kept in memory");
    }
}

impl Service {
    fn start(sandbox: &Sandbox, tenants: &[Tenant], replicas: usize) -> Self {
        let redis = (replicas > 1).then(RedisServer::start);
        let store = match &redis {
            Some(redis) => format!("store = \"redis\"\nurl = {:?}\n", redis.url()),
            None => "sync = \"process\"\n".to_owned(),
        };
        let place = Place::new(sandbox);
        place.configure(sandbox, &format!("{store}[clients]\nmode = \"tenants\"\n"));
        let config = std::fs::read_to_string(place.path("sidekey.toml")).unwrap();
        let config = format!("tenants_file = \"tenants.toml\"\n{config}");
        // So that a limit is not reached before the kills begin.
        place.write(
            "sidekey.toml",
            &config.replace("[poll]", "[poll]\npace = \"100ms\""),
        );
        let file: String = tenants.iter().map(Tenant::entry).collect();
        place.write("tenants.toml", &file);
        let programs = (0..replicas).map(|_| place.start()).collect();
        Self {
            place,
            programs,
            said: Said::default(),
            _redis: redis,
        }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.programs.iter().map(|program| program.http).collect()
    }

    fn kill_and_start(&mut self, at: usize) {
        let killed = self.programs.remove(at);
        killed.signal(Signal::KILL);
        let (_, printed) = killed.wait();
        self.said.add(&printed);
        self.programs.insert(at, self.place.start());
    }

    fn listen(&mut self) {
        for program in &self.programs {
            self.said.add(&program.printed());
        }
    }

    /// The lines of a bill, by what they are of.
    async fn usage(&self, query: &str, of: &str) -> BTreeMap<String, Value> {
        let path = format!("/api/usage?{query}");
        let answer = self.programs[0].ask_admin(&path).await;
        let bill: Value = serde_json::from_str(body(answer.as_bytes())).unwrap();
        let lines = bill["lines"].as_array().unwrap().iter();
        lines
            .map(|line| (line[of].as_str().unwrap().to_owned(), line.clone()))
            .collect()
    }

    async fn are_used_up(&self, tenants: &[Tenant]) -> bool {
        let usage = self.usage("by=tenant", "tenant").await;
        tenants.iter().all(|tenant| {
            let number = |what: &str| usage.get(&tenant.name).map_or(0, |line| number(line, what));
            number("solves") + number("uncertain") >= tenant.limit
        })
    }

    /// As clients do that wrote their ids down: also tasks whose id nobody heard.
    async fn poll_all(&self, sandbox: &Sandbox, tenants: &[Tenant], ended: &mut BTreeSet<String>) {
        let mut client = Client::connect(self.programs[0].http).await.unwrap();
        for (label, id) in made(sandbox, "tenant") {
            let mut owner = tenants.iter().filter(|tenant| tenant.has(&label));
            if !ended.contains(&id) {
                let token = &owner.next().unwrap().token;
                let answer = poll(&mut client, token, &id).await.unwrap();
                // One that is uncertain is nobody's.
                if answer != "CAPCHA_NOT_READY" {
                    ended.insert(id);
                }
            }
        }
    }
}

fn number(line: &Value, what: &str) -> u64 {
    line[what].as_u64().unwrap()
}

#[derive(Clone)]
struct Tenant {
    name: String,
    token: String,
    limit: u64,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Daily,
    Budget,
    /// And daily, or it would have no end.
    Tasks,
}

impl Tenant {
    fn new(n: usize, limit: u64) -> Self {
        Self {
            name: format!("tenant{n}x"),
            token: format!("token{n:027x}"),
            limit,
            kind: [Kind::Daily, Kind::Budget, Kind::Tasks][n % 3],
        }
    }

    fn entry(&self) -> String {
        let Self {
            name, token, limit, ..
        } = self;
        let limits = match self.kind {
            Kind::Daily => format!("daily_limit = {limit}"),
            // With a rest that is a micro-dollar too small for one more.
            Kind::Budget => {
                let micro_usd = (limit + 1) * PRICE - 1;
                let (usd, rest) = (micro_usd / 1_000_000, micro_usd % 1_000_000);
                format!("monthly_budget = {usd}.{rest:06}")
            }
            Kind::Tasks => format!("max_tasks = {MAX_TASKS}\ndaily_limit = {limit}"),
        };
        format!("[[tenant]]\nname = \"{name}\"\ntoken = \"{token}\"\n{limits}\n")
    }

    fn has(&self, label: &str) -> bool {
        label.starts_with(&self.name)
    }
}

struct Submitting {
    tenant: Tenant,
    /// Of all replicas. Whichever comes next, as behind a service.
    addresses: watch::Receiver<Vec<SocketAddr>>,
    turn: usize,
    sent: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
}

impl Submitting {
    /// Over every kill, and also when the limit is reached: what failed may have made room.
    async fn run(mut self) {
        while !self.ends.load(Ordering::Relaxed) {
            self.turn += 1;
            let address = {
                let addresses = self.addresses.borrow();
                addresses[self.turn % addresses.len()]
            };
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

#[derive(Debug, Default)]
struct Sums {
    solved: u64,
    failed: u64,
    uncertain: u64,
    /// Of these, the vendor made and solved.
    uncertain_solved: u64,
    wrong: Vec<String>,
}

/// Each submit has a label, which the vendor sees as a parameter and the bill has as a project.
async fn compare(sandbox: &Sandbox, service: &Service, tenants: &[Tenant]) -> Sums {
    let made = made(sandbox, "tenant");
    let tasks: BTreeMap<_, _> = sandbox
        .tasks()
        .into_iter()
        .map(|task| (task.id.clone(), task))
        .collect();
    let usage = service.usage("by=tenant", "tenant").await;
    let mut sums = Sums::default();
    for tenant in tenants {
        let name = &tenant.name;
        let bill = format!("by=project&tenant={name}");
        let bill = service.usage(&bill, "project").await;
        let of = |label: &str, what| bill.get(label).map_or(0, |line| number(line, what));
        let mut wrong = |what: String| sums.wrong.push(format!("{name}: {what}"));
        let (mut apart, mut charged, mut running) = (0, 0, Vec::new());
        for (label, id) in made.iter().filter(|(label, _)| tenant.has(label)) {
            let (task, solves, uncertain) =
                (&tasks[id], of(label, "solves"), of(label, "uncertain"));
            let is_solved = u64::from(task.state == "solved");
            charged += is_solved * solves * task.charged_micros.unsigned_abs();
            apart += is_solved * uncertain;
            if solves + uncertain * is_solved != is_solved {
                wrong(format!(
                    "{label} is {} and {solves} on the bill",
                    task.state
                ));
            }
            if uncertain == 0 {
                running.push((task.made_ms, 1_i64));
                running.push((task.made_ms + SOLVE_MS, -1));
            }
        }
        // One that ends makes room for one that begins in the same millisecond.
        running.sort_unstable();
        let (mut now, mut most) = (0, 0);
        for (_, change) in running {
            now += change;
            most = most.max(now);
        }
        if matches!(tenant.kind, Kind::Tasks) && most > MAX_TASKS as i64 {
            wrong(format!("{most} tasks at once"));
        }
        let total = |what| usage.get(name).map_or(0, |line| number(line, what));
        let (solves, uncertain) = (total("solves"), total("uncertain"));
        if solves + uncertain != tenant.limit {
            let limit = tenant.limit;
            wrong(format!(
                "{solves} counted and {uncertain} uncertain of {limit}"
            ));
        }
        let billed = [total("charged_micro_usd"), total("cost_micro_usd")];
        if billed != [charged; 2] || charged != solves * PRICE {
            wrong(format!("{billed:?} on the bill, {charged} taken"));
        }
        sums.solved += solves;
        sums.failed += total("failed");
        sums.uncertain += uncertain;
        sums.uncertain_solved += apart;
    }
    sums
}

#[expect(
    clippy::print_stderr,
    reason = "the figures of a long run are what it is run for"
)]
fn print(form: &Form, sums: &Sums, said: &Said) {
    eprintln!(
        "{} replicas, {} kills, {} tenants of {} clients: {} solves counted, {} failed and given back, {} uncertain ({} of them solved), {} wrong; {said:?}",
        form.replicas,
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
