//! The balance runs out under load, the program is killed again and again, and the account is refilled.
//!
//! What must hold in the end: every id that a client heard is solved, or is uncertain and listed so; no submit made two
//! tasks; and the vendor's ledger is Sidekey's and the uncertain list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use sidekey::background::Background;
use sidekey::sandbox::{self, AccountConfig, Dialect, Sandbox, SandboxConfig};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::{Client, PATIENCE, Place, Program, body, id, query};

const SUBMITTERS: u64 = 20;
pub(crate) const ACCOUNT: &str = "account-1";
const PRICE: i64 = 1_000;
/// What the money is enough for at first.
const AFFORDED: i64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_is_solved_once_or_uncertain_after_kills_and_a_refill() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    place.configure(&sandbox, "[submit]\nwhen_empty = \"park\"\n");
    let mut heard = Vec::new();

    // The money runs out. Then only parked ones come, and then a start finds out that there is still none.
    for round in 1..=3 {
        let program = start(&place);
        heard.extend(submit_until_killed(program, round, 100 + random_below(100)).await);
    }
    let parked = heard.iter().filter(|heard| heard.is_parked()).count();
    assert!(parked > 100, "only {parked} were parked");
    assert!(sandbox.tasks().len() <= AFFORDED as usize);

    // Refilled, and killed while the parked ones go out.
    sandbox.set_balance(ACCOUNT, 1_000_000_000).unwrap();
    for round in 4..=6 {
        let program = start(&place);
        let kill_after = 20 + random_below(80);
        heard.extend(submit_until_killed(program, round, kill_after).await);
    }

    let program = start(&place);
    let ends = poll_to_the_end(program.http, &heard).await;
    let parked = async || program.metric("sidekey_parked_submits").await;
    let began = Instant::now();
    // Also those whose clients never heard their ids.
    while parked().await > 0.0 {
        assert!(began.elapsed() < PATIENCE, "some are never sent");
        sleep(std::time::Duration::from_millis(20)).await;
    }
    account_for_all(&sandbox, &place, &heard, &ends);
}

#[derive(Clone)]
pub(crate) struct Heard {
    pub(crate) label: String,
    pub(crate) id: String,
}

impl Heard {
    fn is_parked(&self) -> bool {
        self.id.len() == 16
    }
}

/// The vendor's own count, one to one by the labels of the submits.
fn account_for_all(
    sandbox: &Sandbox,
    place: &Place,
    heard: &[Heard],
    ends: &BTreeMap<String, String>,
) {
    let mut made = BTreeMap::new();
    for call in &sandbox.record().calls {
        let label = call.names.iter().find(|name| name.starts_with("round"));
        if call.endpoint == "in.php"
            && let (Some(label), Some(task)) = (label, &call.task)
            && call.done
        {
            let twice = made.insert(label.clone(), task.clone());
            assert_eq!(twice, None, "{label} was made twice");
        }
    }
    assert_eq!(made.len(), sandbox.tasks().len());
    let store = place.path("sidekey.db");
    let known: BTreeMap<String, String> = query(&store, "SELECT project, id FROM tasks", |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
    .into_iter()
    .collect();
    let uncertain: BTreeSet<String> =
        query(&store, "SELECT project FROM uncertain", |row| row.get(0))
            .into_iter()
            .collect();
    for (label, task) in &made {
        match known.get(label) {
            Some(known) => assert_eq!(known, task, "{label}"),
            None => assert!(uncertain.contains(label), "{label} is nowhere"),
        }
    }
    let (mut solved, mut listed) = (0, 0);
    for Heard { label, id } in heard {
        let end = &ends[id];
        if end == "ERROR_SUBMIT_UNCERTAIN" {
            assert!(uncertain.contains(label), "{id} is not listed");
            assert!(!known.contains_key(label), "{id} is known");
            listed += 1;
        } else {
            let task = known
                .get(label)
                .unwrap_or_else(|| panic!("{id} is {end} and not known"));
            assert_eq!(*end, format!("OK|solved-{task}"));
            solved += 1;
        }
    }
    assert_eq!(solved + listed, heard.len());
    let only_uncertain = made
        .keys()
        .filter(|label| !known.contains_key(*label))
        .count();
    assert_eq!(made.len(), known.len() + only_uncertain);
    figures(heard.len(), solved, listed, made.len());
}

async fn submit_until_killed(program: Program, round: u64, kill_at: u64) -> Vec<Heard> {
    let heard = Arc::new(AtomicU64::new(0));
    let (address, pid) = (program.http, program.pid());
    let mut submitters = JoinSet::new();
    for n in 0..SUBMITTERS {
        let heard = Arc::clone(&heard);
        submitters.spawn(submit(
            address,
            pid,
            format!("round{round}x{n}"),
            heard,
            kill_at,
        ));
    }
    let heard = submitters.join_all().await.concat();
    program.wait();
    heard
}

/// Until the connection breaks.
async fn submit(
    address: SocketAddr,
    pid: Pid,
    name: String,
    all_heard: Arc<AtomicU64>,
    kill_at: u64,
) -> Vec<Heard> {
    let mut heard = Vec::new();
    let Ok(mut client) = Client::connect(address).await else {
        return heard;
    };
    for number in 0.. {
        let label = format!("{name}x{number}");
        let form = form(&label);
        let kind = "application/x-www-form-urlencoded";
        let Ok(answer) = client.post("/in.php", kind, form.as_bytes()).await else {
            break;
        };
        if all_heard.fetch_add(1, Ordering::Relaxed) + 1 == kill_at {
            kill_process(pid, Signal::KILL).unwrap();
        }
        let Some(id) = id(&answer) else {
            panic!("a submit was answered {}", body(&answer));
        };
        let id = id.to_owned();
        heard.push(Heard { label, id });
    }
    heard
}

pub(crate) fn form(label: &str) -> String {
    let form = format!("key=placeholder&{label}=1&x_project={label}&method=userrecaptcha");
    format!("{form}&googlekey=k&pageurl=p")
}

/// All in turn, as clients do: whom nobody polls is dropped.
async fn poll_to_the_end(address: SocketAddr, heard: &[Heard]) -> BTreeMap<String, String> {
    let mut pollers = JoinSet::new();
    for ids in heard.chunks(heard.len().div_ceil(10)) {
        let ids: Vec<_> = ids.iter().map(|heard| heard.id.clone()).collect();
        pollers.spawn(async move {
            let mut client = Client::connect(address).await.unwrap();
            let (mut open, mut ends) = (ids, Vec::new());
            let began = Instant::now();
            while !open.is_empty() {
                assert!(began.elapsed() < PATIENCE, "never solved: {open:?}");
                let mut still_open = Vec::new();
                for id in open {
                    let target = format!("/res.php?key=placeholder&action=get&id={id}");
                    let answer = client.get(&target).await.unwrap();
                    match body(&answer) {
                        "CAPCHA_NOT_READY" => still_open.push(id),
                        end => ends.push((id, end.to_owned())),
                    }
                }
                open = still_open;
                sleep(std::time::Duration::from_millis(5)).await;
            }
            ends
        });
    }
    pollers.join_all().await.concat().into_iter().collect()
}

pub(crate) async fn vendor(background: &Background) -> Sandbox {
    let config = SandboxConfig {
        dialect: Dialect::Twocaptcha,
        accounts: vec![AccountConfig {
            solve_ms: 0,
            price_micros: PRICE,
            balance_micros: PRICE * AFFORDED,
            ..AccountConfig::new(ACCOUNT.to_owned(), format!("{:032x}", 1))
        }],
        record_limit: 10_000_000,
        ..SandboxConfig::default()
    };
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    sandbox::start(config, anywhere, background).await.unwrap()
}

pub(crate) fn start(place: &Place) -> Program {
    let mut command: Command = place.command();
    command
        .env("SIDEKEY_VENDOR__PROFILE", "2captcha")
        .env("SIDEKEY_VENDOR__LIMITS__SUBMITS", "0")
        .env("SIDEKEY_VENDOR__LIMITS__POLLS", "0")
        .env("SIDEKEY_POLL__PACE", "0s");
    Program::serving(command)
}

fn random_below(limit: u64) -> u64 {
    getrandom::u64().unwrap() % limit
}

#[expect(
    clippy::print_stderr,
    reason = "the figures of a crash test are what it is run for"
)]
fn figures(heard: usize, solved: usize, uncertain: usize, made: usize) {
    eprintln!(
        "6 kills: {heard} ids heard, {solved} solved, {uncertain} uncertain; {made} tasks made"
    );
}
