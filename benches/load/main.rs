//! What a request costs, measured on the program itself: a fixed-answer vendor before it, keep-alive clients behind it,
//! all on loopback.
//!
//!     cargo bench --profile quick-release --bench load                  everything, some minutes
//!     cargo bench --profile quick-release --bench load -- instructions  only that; or: cpu, memory, start
//!
//! Instructions are counted by valgrind and hardly differ between runs. CPU times do: compare them within one run.

mod client;
mod program;
mod vendor;

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::time::Instant;

use client::{Client, load, poll, submit, submit_file};
use program::Sidekey;

fn main() -> io::Result<ExitCode> {
    let all: [(&str, Measure); 4] = [
        ("instructions", instructions),
        ("cpu", cpu),
        ("memory", memory),
        ("start", start),
    ];
    let mut out = io::stdout();
    // Cargo adds `--bench`.
    let asked: Vec<_> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    if let Some(unknown) = asked
        .iter()
        .find(|asked| all.iter().all(|(name, _)| name != asked))
    {
        writeln!(
            out,
            "{unknown:?} is none of: instructions, cpu, memory, start"
        )?;
        return Ok(ExitCode::from(64));
    }
    for (name, measure) in all {
        if asked.is_empty() || asked.iter().any(|asked| asked == name) {
            measure(&mut out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

type Measure = fn(&mut dyn Write) -> io::Result<()>;

/// Instructions of one poll: the difference between two runs, so that start and end do not count.
fn instructions(out: &mut dyn Write) -> io::Result<()> {
    for (how, pace, keys, tasks) in [
        ("forwarded", "0s", 3, 1),
        ("from memory", "10s", 3, 1),
        ("forwarded", "0s", 3, 10_000),
        ("forwarded", "0s", 10_000, 1),
    ] {
        let run = |polls: usize| {
            let vendor = vendor::start()?;
            let name = format!("{pace}-{keys}-{tasks}-{polls}");
            let sidekey = Sidekey::under_valgrind(vendor, keys, pace, &name)?;
            let mut client = Client::connect(sidekey.http)?;
            let ids: Vec<_> = (0..tasks)
                .map(|_| client.call(&submit()).map(client::id))
                .collect::<Result<_, _>>()?;
            for n in 0..polls {
                client.call(&poll(&ids[n % tasks]))?;
            }
            drop(client);
            sidekey.instructions()
        };
        let (few, many) = (run(2_000)?, run(12_000)?);
        let each = (many - few) / 10_000;
        writeln!(
            out,
            "instructions a poll, {how:<11}, {keys:>5} keys, {tasks:>5} tasks: {each:>7}"
        )?;
    }
    Ok(())
}

/// CPU time of the whole process, user and system.
fn cpu(out: &mut dyn Write) -> io::Result<()> {
    let vendor = vendor::start()?;
    for keys in [3, 10_000] {
        let sidekey = Sidekey::start(vendor, keys)?;
        let id = client::id(Client::connect(sidekey.http)?.call(&submit())?);
        let mut measure = |what, connections, requests, request: &(dyn Fn() -> Vec<u8> + Sync)| {
            load(sidekey.http, connections, 1_000, request)?;
            let before = sidekey.cpu()?;
            load(sidekey.http, connections, requests, request)?;
            let each = (sidekey.cpu()? - before) / requests as u32;
            writeln!(
                out,
                "CPU, {keys:>5} keys, {connections:>3} connections, {what:<18}: {each:>8.1?}"
            )
        };
        measure("poll", 1, 20_000, &|| poll(&id))?;
        measure("poll", 64, 60_000, &|| poll(&id))?;
        measure("form submit", 64, 20_000, &submit)?;
        measure("100 kB multipart", 16, 10_000, &submit_file)?;
    }
    Ok(())
}

/// Resident memory of the process.
fn memory(out: &mut dyn Write) -> io::Result<()> {
    let vendor = vendor::start()?;
    let sidekey = Sidekey::start(vendor, 3)?;
    let mut say = |when: &str| {
        let (own, all) = sidekey.memory()?;
        writeln!(
            out,
            "memory {when:<38}: {own:>5.1} MiB, {all:>5.1} with the program's file"
        )
    };
    thread::sleep(Duration::from_secs(1));
    say("idle after the start")?;
    let id = client::id(Client::connect(sidekey.http)?.call(&submit())?);
    let busy = |connections, requests, request: &(dyn Fn() -> Vec<u8> + Sync)| {
        load(sidekey.http, connections, requests, request)
    };
    thread::scope(|scope| {
        let load = scope.spawn(|| busy(128, 200_000, &|| poll(&id)));
        thread::sleep(Duration::from_secs(2));
        say("128 connections, polls")?;
        load.join().expect("the load does not panic")
    })?;
    thread::scope(|scope| {
        let load = scope.spawn(|| busy(128, 20_000, &submit_file));
        thread::sleep(Duration::from_secs(2));
        say("128 connections, 100 kB multiparts")?;
        load.join().expect("the load does not panic")
    })?;
    busy(1_000, 50_000, &|| poll(&id))?;
    say("just after a burst of 1,000")?;
    thread::sleep(Duration::from_secs(15));
    say("15 s after it")
}

fn start(out: &mut dyn Write) -> io::Result<()> {
    let vendor = vendor::start()?;
    for keys in [3, 10_000] {
        let mut took = Vec::new();
        for _ in 0..5 {
            let began = Instant::now();
            let _sidekey = Sidekey::start(vendor, keys)?;
            took.push(began.elapsed());
        }
        took.sort_unstable();
        writeln!(
            out,
            "start to ready, {keys:>5} keys: {:.1?} (median of 5)",
            took[2]
        )?;
    }
    reload(out, vendor)
}

fn reload(out: &mut dyn Write, vendor: SocketAddr) -> io::Result<()> {
    let log = NamedTempFile::new()?;
    let sidekey = Sidekey::logging_to(log.reopen()?, vendor, 10_000)?;
    let mut client = Client::connect(sidekey.http)?;
    let id = client::id(client.call(&submit())?);
    let began = Instant::now();
    sidekey.reload()?;
    let mut longest = Duration::ZERO;
    while !fs::read_to_string(log.path())?.contains("configuration reloaded") {
        let asked = Instant::now();
        client.call(&poll(&id))?;
        longest = longest.max(asked.elapsed());
    }
    let took = began.elapsed();
    writeln!(
        out,
        "reload, 10000 keys: {took:.1?}; the longest poll meanwhile: {longest:.1?}"
    )
}
