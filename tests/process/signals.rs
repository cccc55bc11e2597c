//! What the process does when it is told something, and how it ends.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use sidekey::background::Background;
use sidekey::sandbox::{Fault, FaultRule};
use tokio::time::{Instant, timeout};

use crate::support::{Client, PATIENCE, Place, Program, body, sidekey, vendor};

const SUBMIT: &str = "/in.php?key=placeholder&method=userrecaptcha&googlekey=k&pageurl=p";

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_reloads_the_configuration() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = place.start();
    // Also when nothing changed: whoever sends the signal wants to see that the files are good.
    program.signal(Signal::HUP);
    program.wait_for_line("configuration reloaded");
    place.write(
        "keys.toml",
        "[[key]]\nname = \"renamed\"\nvalue = \"00000000000000000000000000000001\"\n",
    );
    program.signal(Signal::HUP);
    program.wait_for_line("renamed (");
    let mut client = program.client().await;
    assert!(body(&client.get(SUBMIT).await.unwrap()).starts_with("OK|"));
}

/// Each look finds it missing. A log that is written into the same directory would be the cause of the next look.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_gone_is_said_once() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    place.write("cert.pem", &pair.cert.pem());
    place.write("key.pem", &pair.signing_key.serialize_pem());
    let mut command = place.command();
    command
        .env("SIDEKEY_LISTEN__HTTPS", "127.0.0.1:0")
        .env("SIDEKEY_LISTEN__TLS_CERT", place.path("cert.pem"))
        .env("SIDEKEY_LISTEN__TLS_KEY", place.path("key.pem"));
    let program = Program::serving(command);
    fs::remove_file(place.path("cert.pem")).unwrap();
    for looks in 1..=3 {
        program.signal(Signal::HUP);
        program.wait_until(|log| log.matches("configuration reloaded").count() >= looks);
    }
    let log = program.printed();
    let said = log.matches("the changed TLS certificate is not used");
    assert_eq!(said.count(), 1, "{log}");
}

/// While it starts, too: what the signal asks for is found by the first look at the files.
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_is_caught_before_it_can_be_told_to_stop() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = Program::spawned(place.command());
    let status = format!("/proc/{}/status", program.pid().as_raw_nonzero());
    let caught = || {
        let status = fs::read_to_string(&status).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        u64::from_str_radix(mask.unwrap().trim(), 16).unwrap()
    };
    let has = |mask: u64, signal: Signal| mask >> (signal.as_raw() - 1) & 1 == 1;
    let told = Instant::now();
    let first = loop {
        let mask = caught();
        if has(mask, Signal::TERM) {
            break mask;
        }
        assert!(told.elapsed() < PATIENCE, "it never began to listen");
    };
    assert!(has(first, Signal::HUP), "{first:x}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_cut_off_does_not_say_that_it_drained() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let mut command = place.command();
    command.env("SIDEKEY_SUBMIT__DEADLINE", "120s");
    let program = Program::serving(command);
    sandbox
        .set_fault(
            FaultRule::new(Fault::Slow)
                .endpoint("in.php")
                .delay_ms(600_000),
        )
        .unwrap();
    let mut client = program.client().await;
    let submit = client.get(SUBMIT);
    let stop = async {
        sandbox
            .wait_for(|record| record.counts.endpoints.contains_key("in.php"))
            .await;
        program.signal(Signal::TERM);
        program.wait()
    };
    let (answer, (status, printed)) = tokio::join!(submit, stop);
    assert!(answer.is_err());
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(printed.contains("cut off"), "{printed}");
    assert!(!printed.contains("drained"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_finishes_submits_on_their_way_and_exits_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let background = Background::new();
        let sandbox = vendor(&background).await;
        let place = Place::new(&sandbox);
        let program = place.start();
        // One after another, so that the key is proven before all come at once.
        let mut first = program.client().await;
        assert!(body(&first.get(SUBMIT).await.unwrap()).starts_with("OK|"));
        let before = sandbox.counts().endpoints["in.php"];
        sandbox
            .set_fault(
                FaultRule::new(Fault::Slow)
                    .endpoint("in.php")
                    .delay_ms(600_000),
            )
            .unwrap();
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(program.client().await);
        }
        let submits = clients
            .iter_mut()
            .enumerate()
            .map(|(n, client)| async move { client.get(&format!("{SUBMIT}&n={n}")).await });
        let submits = futures_util::future::join_all(submits);
        let stop = async {
            sandbox
                .wait_for(|record| record.counts.endpoints["in.php"] == before + 20)
                .await;
            program.signal(signal);
            program.wait_for_line("draining");
            let nobody_is_let_in = async {
                while let Ok(mut late) = Client::connect(program.http).await {
                    let _ = late.get("/res.php").await;
                }
            };
            timeout(PATIENCE, nobody_is_let_in).await.unwrap();
            sandbox.clear_faults();
        };
        let (answers, ()) = tokio::join!(submits, stop);
        for answer in answers {
            assert!(body(&answer.unwrap()).starts_with("OK|"));
        }
        let (status, printed) = program.wait();
        assert_eq!(status.code(), Some(0), "{printed}");
        assert!(printed.contains("drained"), "{printed}");
        assert!(
            !place.path("sidekey.db-wal").exists(),
            "the store was not closed in order"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_twice_it_ends_at_once() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = place.start();
    sandbox
        .set_fault(
            FaultRule::new(Fault::Slow)
                .endpoint("in.php")
                .delay_ms(600_000),
        )
        .unwrap();
    let mut client = program.client().await;
    let submit = client.get(SUBMIT);
    let stop = async {
        sandbox
            .wait_for(|record| record.counts.endpoints.contains_key("in.php"))
            .await;
        program.signal(Signal::TERM);
        program.wait_for_line("draining");
        program.signal(Signal::TERM);
        program.wait()
    };
    let (answer, (status, printed)) = tokio::join!(submit, stop);
    assert!(answer.is_err());
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(printed.contains("second signal"), "{printed}");
    // The submit was cut off, so the next start finds it open.
    let program = place.start();
    assert!(
        program
            .ask_admin("/api/uncertain")
            .await
            .contains("the process ended")
    );
}

#[test]
fn wrong_usage_is_64() {
    for arguments in [
        &[][..],
        &["serve"],
        &["run", "--bogus"],
        &["run", "--linger", "soon"],
    ] {
        let mut command = sidekey();
        command.args(arguments);
        let (status, printed) = Program::spawned(command).wait();
        assert_eq!(status.code(), Some(64), "{arguments:?}: {printed}");
        assert!(printed.contains("--help"), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_is_78() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    place.write("sidekey.toml", "[listn]\n");
    let (status, printed) = Program::spawned(place.command()).wait();
    assert_eq!(status.code(), Some(78), "{printed}");
    assert!(
        printed.contains("did you mean") && printed.contains("listen"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_69() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    for variable in ["SIDEKEY_LISTEN__HTTP", "SIDEKEY_ADMIN__LISTEN"] {
        let mut command = place.command();
        command.env(variable, taken.to_string());
        let (status, printed) = Program::spawned(command).wait();
        assert_eq!(status.code(), Some(69), "{printed}");
        assert_eq!(printed.matches("cannot listen").count(), 1, "{printed}");
        assert!(printed.contains(&taken.to_string()), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_used_is_69() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = place.start();
    let (status, printed) = Program::spawned(place.command()).wait();
    assert_eq!(status.code(), Some(69), "{printed}");
    assert!(printed.contains("locked by another process"), "{printed}");
    program.kill();

    let mut command = place.command();
    command.env("SIDEKEY_STATE__PATH", place.path("missing/sidekey.db"));
    let (status, printed) = Program::spawned(command).wait();
    assert_eq!(status.code(), Some(69), "{printed}");
    assert!(printed.contains("does not exist"), "{printed}");

    place.write(
        "sidekey.db",
        "not a database, and long enough to be looked at",
    );
    let (status, printed) = Program::spawned(place.command()).wait();
    assert_eq!(status.code(), Some(69), "{printed}");
    assert!(printed.contains("damaged"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_default_state_cannot_be_written_tasks_are_kept_in_memory() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let text = fs::read_to_string(place.path("sidekey.toml")).unwrap();
    let (before, _) = text.split_once("[state]").unwrap();
    place.write("sidekey.toml", before);
    // For root every mode can be written, but nobody makes files in /sys.
    let read_only = tempfile::tempdir().unwrap();
    fs::set_permissions(read_only.path(), Permissions::from_mode(0o500)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let mut command = place.command();
    command.current_dir(if is_root {
        "/sys".as_ref()
    } else {
        read_only.path()
    });
    let program = Program::serving(command);
    assert!(
        program.printed().contains("kept in memory only"),
        "{}",
        program.printed()
    );
    let mut client = program.client().await;
    assert!(body(&client.get(SUBMIT).await.unwrap()).starts_with("OK|"));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_processes_cannot_read_its_memory() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = place.start();
    let proc = format!("/proc/{}", program.pid().as_raw_nonzero());
    let limits = fs::read_to_string(format!("{proc}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().collect::<Vec<_>>()[4..6],
        ["0", "0"]
    );
    let status = fs::read_to_string(format!("{proc}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    // What is not dumpable belongs to root, whoever started it.
    let is_root = rustix::process::geteuid().is_root();
    let memory = fs::File::open(format!("{proc}/mem"));
    assert!(is_root || memory.is_err());
    drop(program);
}
