//! Many clients, and a vendor with everything wrong at once: nothing is made twice, nothing is lost, no limit is broken.
//!
//! `FAULT_SUBMITS=100000 cargo test --test measured faulty_vendor -- --nocapture` is the long form. `FAULT_SEED` throws the
//! dice of an earlier run again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use sidekey::config::environment::Environment;
use sidekey::sandbox::{Dialect, Fault, FaultRule, SandboxConfig};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::http::Connection;
use crate::support::ledger::{Compared, labelled};
use crate::support::{PLACEHOLDER, World, key, vendor};

const SUBMITS: usize = 2000;
const CLIENTS: usize = 64;
/// So many that some serve while others rest.
const ACCOUNTS: usize = 40;
/// One client of so many leaves as soon as it has sent its submit.
const ONE_LEAVES: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vendors_ledger_is_sidekeys_and_the_uncertain_list() {
    let _alone = crate::alone().await;
    let environment = Environment::of_this_process();
    let number = |name| environment.get(name).map(|n| n.parse::<u64>().unwrap());
    let submits = number("FAULT_SUBMITS").map_or(SUBMITS, |n| usize::try_from(n).unwrap());
    let seed = number("FAULT_SEED").unwrap_or_else(|| getrandom::u32().unwrap().into());
    let mut world = World::start(remembers_all(ACCOUNTS), &quick_recovery()).await;
    for (at, rule) in (0..).zip(fault_mix()) {
        let seed = seed + at;
        world.sandbox.set_fault(FaultRule { seed, ..rule }).unwrap();
    }
    let began = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(submit(world.http(), Arc::clone(&next), submits));
    }
    let idle_time_outs = async {
        loop {
            sleep(Duration::from_millis(500)).await;
            world.sandbox.close_idle();
        }
    };
    tokio::select! {
        _ = clients.join_all() => {}
        () = idle_time_outs => {}
    }
    let took = began.elapsed();
    // Whoever left is not waited for by anybody but this.
    world.stop().await;
    let compared = Compared::of(&world, "load");
    print_figures(&world, submits, seed, took, &compared);
    compared.assert_exact();
    let ledger = world.sandbox.ledger();
    let made: u64 = ledger.accounts.values().map(|account| account.made).sum();
    assert_eq!(made, compared.tasks as u64, "tasks without a label");
    assert!(compared.known > submits / 2, "{compared:?}");
    assert!(
        compared.uncertain_made > 0 && compared.uncertain_unmade > 0,
        "{compared:?}"
    );
    let counts = world.sandbox.counts();
    assert!(
        counts.violations.is_empty() && counts.foreign == 0,
        "{counts:?}"
    );
    world.sandbox.clear_faults();
    world.start_again().await;
    world.end().await;
}

/// The negative control: clients of today, before the same vendor. The comparison finds what they pay for twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_submits_again_at_any_error_pays_twice_and_the_comparison_sees_it() {
    let _alone = crate::alone().await;
    let world = World::start(remembers_all(1), "").await;
    for (seed, rule) in (0..).zip(fault_mix()) {
        world.sandbox.set_fault(FaultRule { seed, ..rule }).unwrap();
    }
    let impatient = |n: usize| {
        let address = world.sandbox.address();
        async move {
            let label = labelled(&format!("direct{n}"));
            let target = format!("/in.php?key={}&{label}", key(1));
            for _ in 0..5 {
                let answer = async { Connection::open(address).await?.get(&target).await };
                // Shorter than the vendor is slow, and longer than it ever is without a fault.
                let answer = tokio::time::timeout(Duration::from_secs(2), answer).await;
                if answer.is_ok_and(|answer| answer.is_ok_and(|a| a.body.starts_with("OK|"))) {
                    return;
                }
            }
        }
    };
    let clients = stream::iter((0..500).map(impatient));
    clients.buffer_unordered(CLIENTS).collect::<()>().await;
    let compared = Compared::of(&world, "direct");
    assert!(!compared.duplicates.is_empty(), "{compared:?}");
    assert!(compared.wrong.len() > 400, "{compared:?}");
    world.end().await;
}

fn remembers_all(accounts: usize) -> SandboxConfig {
    SandboxConfig {
        record_limit: 10_000_000,
        task_limit: 10_000_000,
        ..vendor(Dialect::Twocaptcha, accounts)
    }
}

/// The vendor's bans end a thousand times as soon as in reality, and so do a client's hopes.
fn quick_recovery() -> String {
    let codes = [
        ("MAX_USER_TURN", "key-busy", 10),
        ("ERROR: 1001", "key-busy", 600),
        ("ERROR: 1002", "key-busy", 300),
        ("ERROR: 1003", "key-busy", 30),
        ("ERROR: 1005", "key-busy", 300),
        ("ERROR: 1004", "egress-ip", 600),
        ("IP_BANNED", "egress-ip", 300),
    ];
    let codes = codes.map(|(code, class, ms)| {
        format!("vendor.codes.{code:?} = {{ class = {class:?}, cooldown = \"{ms}ms\" }}\n")
    });
    format!(
        "submit.deadline = \"1s\"\nsubmit.wait = \"500ms\"\npoll.unknown_task = \"refuse\"\n{}",
        codes.concat()
    )
}

/// About one submit in six meets one of these.
fn fault_mix() -> Vec<FaultRule> {
    let code = |code: &str| {
        FaultRule::new(Fault::Code {
            code: code.to_owned(),
        })
    };
    let truncated = |bytes, reset| FaultRule::new(Fault::TruncateBody { bytes, reset });
    let status = |status| {
        FaultRule::new(Fault::Status {
            status,
            retry_after: None,
        })
    };
    let somewhere_else = Fault::Redirect {
        location: "/elsewhere".to_owned(),
        status: 302,
    };
    let not_http = Fault::NotHttp {
        text: "220 mail.example.com ESMTP\r\n".to_owned(),
    };
    let head = Fault::TruncateHead {
        bytes: 20,
        reset: true,
    };
    let extra = Fault::Extra {
        text: "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
    };
    // Longer than `submit.deadline`.
    let too_late = |rule: FaultRule| rule.delay_ms(3000);
    let half = [
        FaultRule::new(Fault::Reset),
        FaultRule::new(Fault::Reset).done(),
        FaultRule::new(Fault::Close),
        FaultRule::new(Fault::Close).done(),
        FaultRule::new(Fault::Html { status: 502 }),
        FaultRule::new(Fault::Html { status: 200 }).done(),
        FaultRule::new(Fault::Empty),
        FaultRule::new(Fault::Empty).done(),
        status(503),
        status(503).done(),
        FaultRule::new(somewhere_else).done(),
        FaultRule::new(not_http).done(),
        FaultRule::new(head),
        FaultRule::new(extra),
        truncated(4, true),
        truncated(4, false),
        truncated(0, false),
        too_late(FaultRule::new(Fault::Slow)),
        too_late(FaultRule::new(Fault::Empty)),
        code("ERROR_SERVER_ERROR").done(),
        code("ERROR_NO_SLOT_AVAILABLE"),
        status(429),
        code("MAX_USER_TURN"),
        code("ERROR: 1001"),
        code("ERROR: 1005"),
        code("ERROR_PAGEURL"),
    ];
    let half = half.into_iter().map(|rule| often(rule, 0.005));
    // What makes a key rest for minutes, whatever the configuration says, strikes a few only.
    let few = [code("ERROR_KEY_DOES_NOT_EXIST"), code("ERROR_ZERO_BALANCE")];
    let few = few.map(|rule| often(rule.times(ACCOUNTS as u64 / 8), 0.005));
    let bans = [code("ERROR: 1004"), code("IP_BANNED")].map(|rule| often(rule, 0.0003));
    let connections = [Fault::ResetConnect, Fault::CloseConnect].map(|fault| FaultRule {
        probability: 0.02,
        ..FaultRule::new(fault)
    });
    half.chain(few).chain(bans).chain(connections).collect()
}

fn often(rule: FaultRule, probability: f64) -> FaultRule {
    FaultRule {
        probability,
        ..rule.endpoint("in.php")
    }
}

/// One client: one submit after the other, each with its own label, whatever is answered.
async fn submit(address: SocketAddr, next: Arc<AtomicUsize>, submits: usize) {
    let mut connection = None;
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= submits {
            return;
        }
        let label = labelled(&format!("load{n}"));
        let target = format!("/in.php?key={PLACEHOLDER}&{label}");
        let mut open = match connection.take() {
            Some(open) => open,
            None => Connection::open(address).await.unwrap(),
        };
        if n.is_multiple_of(ONE_LEAVES) {
            open.write("GET", &target, "", "").await.unwrap();
            continue;
        }
        assert_eq!(open.get(&target).await.unwrap().status, 200);
        connection = Some(open);
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the figures of a long run are what it is run for"
)]
fn print_figures(world: &World, submits: usize, seed: u64, took: Duration, compared: &Compared) {
    let calls = world.sandbox.record().calls;
    let struck = calls.iter().filter(|call| call.fault.is_some()).count();
    eprintln!(
        "FAULT_SEED={seed}: {submits} submits in {took:?}, {struck} calls struck: {} tasks made, {} known, {} uncertain \
         (and {} uncertain of which nothing was made), {} twice, {} unaccounted for",
        compared.tasks,
        compared.known,
        compared.uncertain_made,
        compared.uncertain_unmade,
        compared.duplicates.len(),
        compared.wrong.len(),
    );
}
