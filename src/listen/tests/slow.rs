//! Clients that take their time. The deadlines are short here; the real ones are in `limits`.

use super::*;

fn quick() -> Limits {
    Limits {
        header: Duration::from_millis(300),
        idle: Duration::from_millis(600),
        write_idle: Duration::from_millis(300),
        body_grace: Duration::from_millis(300),
        ..Limits::new(100)
    }
}

/// Sends a byte every 50 ms until the server closes; returns how long it bore that.
async fn drip(client: &mut TcpStream, bytes: &[u8]) -> Duration {
    let start = tokio::time::Instant::now();
    for byte in bytes.iter().cycle() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the server bears it for ever"
        );
        let mut scrap = [0; 64];
        let reading = client.read(&mut scrap);
        match tokio::time::timeout(Duration::from_millis(50), reading).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) => {}
            Err(_) if client.write_all(&[*byte]).await.is_err() => break,
            Err(_) => {}
        }
    }
    start.elapsed()
}

#[tokio::test]
async fn a_slow_head_is_cut_at_its_deadline() {
    let server = Server::start(quick()).await;
    let mut client = server.connect().await;
    let borne = drip(
        &mut client,
        b"GET /in.php?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    )
    .await;
    assert!((250..2000).contains(&borne.as_millis()), "{borne:?}");
    // The deadline holds for later heads too, from their first byte.
    let mut client = server.connect().await;
    client.write_all(POLL).await.expect("it is open");
    hear_one(&mut client).await;
    let borne = drip(
        &mut client,
        b"GET /in.php?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    )
    .await;
    assert!((250..2000).contains(&borne.as_millis()), "{borne:?}");
}

#[tokio::test]
async fn a_silent_client_is_cut() {
    let server = Server::start(quick()).await;
    let start = tokio::time::Instant::now();
    assert_eq!(server.exchange(b"").await, "");
    assert!(
        (250..550).contains(&start.elapsed().as_millis()),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn an_idle_connection_is_kept_longer_than_a_head_may_take() {
    let server = Server::start(quick()).await;
    let mut client = server.connect().await;
    client.write_all(POLL).await.expect("it is open");
    hear_one(&mut client).await;
    let start = tokio::time::Instant::now();
    assert_eq!(hear_out(&mut client).await, "");
    assert!(
        (550..2500).contains(&start.elapsed().as_millis()),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn an_answer_may_take_longer_than_any_client_may() {
    let server = Server::start(quick()).await;
    let mut client = server.connect().await;
    client
        .write_all(b"GET /load.php HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("it is open");
    // Long enough for each of the deadlines to ring.
    tokio::time::sleep(Duration::from_millis(1000)).await;
    server.seen.go_on.notify_one();
    assert!(hear_one(&mut client).await.contains("[/load.php"));
    client.write_all(POLL).await.expect("it is open");
    assert!(hear_one(&mut client).await.contains("[/res.php"));
}

#[tokio::test]
async fn a_slow_body_is_cut() {
    let server = Server::start(quick()).await;
    let mut client = server.connect().await;
    let head = b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    client.write_all(head).await.expect("it is open");
    tokio::time::timeout(Duration::from_secs(5), async {
        let mut start = [0; 17];
        client.read_exact(&mut start).await.expect("an answer");
        assert_eq!(&start, b"HTTP/1.1 200 OK\r\n");
    })
    .await
    .expect("the server answers");
    assert!(hear_out(&mut client).await.contains("TooSlow"));
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let (drain, background) = (Drain::new(), Background::new());
    let listener = bind(&[here("127.0.0.1:0")]).expect("loopback").remove(0);
    let address = listener.local_addr().expect("bound");
    serve(
        listener,
        None,
        &Arc::new(quick()),
        &drain,
        &background,
        |_, _| async { Response::new(Reply::from(vec![b'a'; 32 * 1024 * 1024])) },
    );
    let mut client = TcpStream::connect(address).await.expect("it listens");
    client.write_all(POLL).await.expect("it is open");
    client.readable().await.expect("it answers");
    drain.finish();
    assert_eq!(background.wait(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn slow_clients_do_not_slow_others() {
    let server = Server::start(Limits::new(1000)).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut client = server.connect().await;
        client
            .write_all(b"POST /in.php HTTP/1.1\r\nHost: ")
            .await
            .expect("it is open");
        slow.push(client);
    }
    let start = tokio::time::Instant::now();
    for _ in 0..20 {
        assert!(server.exchange(LAST_POLL).await.contains("[/res.php"));
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}
