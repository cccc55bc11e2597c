//! Everything a vendor's host may do wrong with a new connection.

use super::*;

#[tokio::test]
async fn a_refused_connection_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(&url, None, Duration::from_secs(2), &Background::new()).unwrap();
    assert!(is_not_sent(&call(&client, submit()).await));
}

#[tokio::test]
async fn an_unknown_name_is_not_sent() {
    let client = Client::new(
        "http://vendor.invalid",
        None,
        Duration::from_secs(9),
        &Background::new(),
    )
    .unwrap();
    assert!(is_not_sent(&call(&client, submit()).await));
}

#[tokio::test]
async fn a_connection_closed_unread_is_never_claimed_as_read_and_never_repeated() {
    for step in [vec![], vec![Reset]] {
        let vendor = Vendor::plays(&[&step]).await;
        let outcome = call(&vendor.client(), submit()).await;
        assert!(outcome.is_err());
        assert_eq!((vendor.seen.copies(), vendor.seen.connections()), (0, 1));
    }
}

#[tokio::test]
async fn whatever_breaks_after_the_vendor_read_is_unknown_and_was_read_once() {
    let write = |bytes: &[u8]| Write(bytes.to_vec());
    let mut long = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    long.resize(5 << 20, b'x');
    let scripts: Vec<(&str, Vec<Step>)> = vec![
        ("close", vec![Read]),
        ("reset", vec![Read, Reset]),
        ("no HTTP", vec![Read, write(b"OK|123456")]),
        (
            "half a head",
            vec![Read, write(b"HTTP/1.1 200 OK\r\nContent-Le")],
        ),
        (
            "half a body",
            vec![
                Read,
                write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nOK|1"),
            ],
        ),
        (
            "half a chunk",
            vec![
                Read,
                write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nOK|1"),
            ],
        ),
        (
            "reset in the body",
            vec![
                Read,
                write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nOK|1"),
                Reset,
            ],
        ),
        (
            "bad length",
            vec![
                Read,
                write(b"HTTP/1.1 200 OK\r\nContent-Length: 6, 7\r\n\r\nOK|123"),
            ],
        ),
        ("head of 5 MB", vec![Read, Write(long), Silence]),
        (
            "endless head",
            vec![
                Read,
                write(b"HTTP/1.1 200 OK\r\n"),
                Flood(b"X: y\r\n".repeat(1000)),
            ],
        ),
        (
            "body of 5 MB",
            vec![
                Read,
                write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n"),
                Flood(vec![b'x'; 65536]),
            ],
        ),
        (
            "endless body",
            vec![
                Read,
                write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                Flood(b"5\r\nabcde\r\n".repeat(99)),
            ],
        ),
        (
            "two lengths",
            vec![
                Read,
                write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n\
                      6\r\nOK|123\r\n0\r\n\r\n",
                ),
                Silence,
            ],
        ),
        (
            "compressed",
            vec![
                Read,
                write(
                    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nOK|123",
                ),
                Silence,
            ],
        ),
    ];
    for (name, script) in scripts {
        let vendor = Vendor::plays(&[&script]).await;
        let client = vendor.client();
        for request in [submit(), poll()] {
            let outcome = call(&client, request).await;
            assert!(is_unknown(&outcome), "{name}: {outcome:?}");
        }
        // Both went over a new connection, and there even what is repeatable is sent once.
        assert_eq!(
            (vendor.seen.copies(), vendor.seen.connections()),
            (2, 2),
            "{name}"
        );
        assert_eq!(client.idle_connections(), 0, "{name}");
    }
}

#[tokio::test]
async fn a_vendor_that_never_finishes_is_left_at_the_deadline() {
    let scripts: Vec<(&str, Vec<Step>)> = vec![
        ("silence", vec![Read, Silence]),
        (
            "a body that stops",
            vec![
                Read,
                Write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nOK".to_vec()),
                Silence,
            ],
        ),
    ];
    for (name, script) in scripts {
        let vendor = Vendor::plays(&[&script]).await;
        let client = vendor.client();
        let started = Instant::now();
        let outcome = call_within(&client, submit(), Duration::from_millis(300)).await;
        assert_eq!(outcome.unwrap_err(), deadline_passed(), "{name}");
        assert!(started.elapsed() < Duration::from_secs(5), "{name}");
        assert_eq!(
            (vendor.seen.copies(), client.idle_connections()),
            (1, 0),
            "{name}"
        );
    }
}

#[tokio::test]
async fn what_goes_on_for_ever_is_ended_by_its_bytes() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless =
        |first: &[u8], then: &[u8]| vec![Read, Write(first.to_vec()), Flood(then.repeat(100))];
    let scripts: Vec<(&str, Vec<Step>)> = vec![
        ("100", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
        (
            "103",
            endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"),
        ),
        ("headers", endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")),
        ("body", endless(b"HTTP/1.1 200 OK\r\n\r\n", b"OK|1")),
        ("chunks", endless(chunked, b"1\r\nx\r\n")),
        (
            "a chunk's extension",
            endless(&[chunked, &b"1;"[..]].concat(), b"x=y;"),
        ),
        ("extensions", endless(chunked, b"1;x=y\r\nx\r\n")),
        (
            "trailers",
            endless(&[chunked, &b"0\r\n"[..]].concat(), b"X: y\r\n"),
        ),
    ];
    for (name, script) in scripts {
        let vendor = Vendor::plays(&[&script]).await;
        let client = vendor.client();
        for request in [submit(), poll()] {
            let outcome = call_within(&client, request, FOR_EVER).await;
            let why = outcome.unwrap_err();
            assert!(matches!(why, CallError::Unknown { .. }), "{name}: {why}");
            assert_ne!(why, deadline_passed(), "{name}");
        }
        assert_eq!(client.idle_connections(), 0, "{name}");
    }
}

#[tokio::test]
async fn a_few_interim_answers_are_passed_over() {
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n".repeat(20);
    let vendor = Vendor::plays(&[&[Read, Write(interim), ok(), Silence]]).await;
    let client = vendor.client();
    assert_eq!(call(&client, submit()).await.unwrap().body, "OK|123");
    assert_eq!(client.idle_connections(), 1);
}

#[tokio::test]
async fn redirects_are_answers() {
    let script =
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let vendor = Vendor::plays(&[&[Read, Write(script.to_vec())]]).await;
    assert_eq!(call(&vendor.client(), poll()).await.unwrap().status, 302);
    assert_eq!(vendor.seen.copies(), 1);
}

#[tokio::test]
async fn bytes_after_an_answer_never_become_the_next_answer() {
    let extra = [OK, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nWRONG"].concat();
    let no_content = b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nWRONG".to_vec();
    let switched = b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nWRONG".to_vec();
    for first in [extra, no_content, switched] {
        let vendor = Vendor::plays(&[&[Read, Write(first), Silence], &[Read, ok(), Silence]]).await;
        let client = vendor.client();
        call(&client, poll()).await.unwrap();
        assert_eq!(call(&client, poll()).await.unwrap().body, "OK|123");
        assert_eq!((vendor.seen.copies(), vendor.seen.connections()), (2, 2));
    }
}

#[tokio::test]
async fn solves_that_wait_for_their_vendor_leave_room_for_polls() {
    let silent: &[Step] = &[Read, Silence];
    let mut scripts = vec![silent; MOST_LONG_CALLS];
    let answers = [Read, ok()];
    scripts.push(&answers);
    let vendor = Vendor::plays(&scripts).await;
    let client = vendor.client();
    let leave = CancellationToken::new();
    // As many as there are calls at all.
    let solves: Vec<_> = (0..MOST_CALLS)
        .map(|_| {
            let (client, leave) = (client.clone(), leave.clone());
            let solve = Outgoing {
                kind: Kind::Long,
                ..submit()
            };
            vendor.background.spawn(async move {
                tokio::select! {
                    _ = call_within(&client, solve, Duration::from_secs(600)) => {}
                    () = leave.cancelled() => {}
                }
            })
        })
        .collect();
    vendor
        .seen
        .until(|seen| seen.copies() == MOST_LONG_CALLS)
        .await;
    assert_eq!(call(&client, poll()).await.unwrap().body, "OK|123");
    leave.cancel();
    for solve in solves {
        solve.await.unwrap();
    }
}

fn deadline_passed() -> CallError {
    CallError::Unknown {
        why: DEADLINE.to_owned(),
    }
}

/// Longer than any of it takes; shorter than the patience of `call_within` itself.
const FOR_EVER: Duration = Duration::from_secs(20);
