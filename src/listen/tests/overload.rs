//! More clients than connections or descriptors.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use rustix::process::{Resource, getrlimit};

use super::*;

#[tokio::test]
async fn connections_over_the_cap_wait_their_turn() {
    let server = Server::start(Limits::new(2)).await;
    let (first, _second) = (server.connect().await, server.connect().await);
    let mut third = server.connect().await;
    third
        .write_all(LAST_POLL)
        .await
        .expect("the kernel takes it");
    let mut scrap = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(200), third.read(&mut scrap)).await;
    assert!(early.is_err(), "served over the cap");
    drop(first);
    assert!(hear_out(&mut third).await.contains("[/res.php"));
}

#[tokio::test]
async fn listeners_share_one_cap() {
    let limits = Arc::new(Limits::new(1));
    let (drain, background) = (Drain::new(), Background::new());
    let mut clients = Vec::new();
    for _ in 0..2 {
        let listener = bind(&[here("127.0.0.1:0")]).expect("loopback").remove(0);
        clients.push(
            TcpStream::connect(listener.local_addr().expect("bound"))
                .await
                .expect("it listens"),
        );
        serve(
            listener,
            None,
            &limits,
            &Loops::default(),
            &drain,
            &background,
            |_, _| async { Response::new(Reply::from("[]")) },
        );
    }
    for client in &mut clients {
        client.write_all(LAST_POLL).await.expect("it is open");
    }
    for client in &mut clients {
        assert!(hear_out(client).await.ends_with("[]"));
    }
}

/// Runs the test below in a process with few descriptors.
#[test]
fn descriptors_that_run_out_and_come_back() {
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 128; exec \"$0\" --exact --ignored --nocapture listen::tests::overload::few_descriptors"])
        .arg(std::env::current_exe().expect("this test has a file"))
        .status();
    assert!(status.expect("a shell is there").success());
}

#[tokio::test]
#[ignore = "only in a process with few descriptors"]
async fn few_descriptors() {
    if getrlimit(Resource::Nofile)
        .current
        .is_none_or(|limit| limit > 256)
    {
        return;
    }
    let server = Server::start(Limits::new(1000)).await;
    let stat = File::open("/proc/self/stat").expect("proc is mounted");
    let mut hoard = Vec::new();
    // Clients and server share the process: each connection takes two descriptors, and the last of them are all ours.
    while let Ok(client) = TcpStream::connect(server.address).await {
        hoard.push(client);
    }
    assert!(hoard.len() > 20, "{}", hoard.len());
    let start = cpu_time(&stat);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let burnt = cpu_time(&stat) - start;
    assert!(
        burnt < Duration::from_millis(150),
        "the accept loop spins: {burnt:?}"
    );
    hoard.clear();
    let released = tokio::time::Instant::now();
    assert!(server.exchange(LAST_POLL).await.contains("[/res.php"));
    assert!(
        released.elapsed() < Duration::from_secs(1),
        "{:?}",
        released.elapsed()
    );
}

/// What this process has used, user and system.
fn cpu_time(stat: &File) -> Duration {
    let mut text = [0; 1024];
    let length = stat.read_at(&mut text, 0).expect("it is open");
    let text = String::from_utf8_lossy(&text[..length]);
    let fields: Vec<_> = text
        .rsplit(") ")
        .next()
        .expect("a name")
        .split(' ')
        .collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(ticks * 10)
}
