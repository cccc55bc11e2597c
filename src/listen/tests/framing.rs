//! Requests that parsers read differently. Each must be answered 4xx or closed, must not become a call, and must leave
//! the next connection unharmed.

use super::*;

/// Status line wanted, request.
const REFUSED: &[(&str, &[u8])] = &[
    // Two lengths.
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /res.php HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 5,5\r\n\r\nhello"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n0123456789"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 00\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\nhello"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n"),
    // Transfer-Encoding that is not exactly one `chunked`.
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    // Chunks.
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\na\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\na\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nseven77\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\r\na\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\0b\r\na\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\rb\r\na\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n"),
    ("400", b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n"),
    // Lines.
    ("400", b"GET /in.php HTTP/1.1\nHost: a\r\n\r\n"),
    ("400", b"GET /in.php HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    ("400", b"GET /in.php HTTP/1.1\r\nHost: a\r\n\n"),
    ("400", b"GET /in.php HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
    ("400", b"\r\n\r\nGET /in.php HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"\nGET /in.php HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET /in.php HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("400", b"GET /in.php HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
    ("400", b"GET /in.php HTTP/1.1\r\nHost : a\r\n\r\n"),
    ("400", b"GET  /in.php HTTP/1.1\r\nHost: a\r\n\r\n"),
    // Targets.
    ("400", b"GET /in.php#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET /in.php?a=1#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET /in.php%00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET /in.php\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET /\xc0\xafin.php HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET in.php HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("403", b"GET http://169.254.169.254/in.php HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"),
    ("403", b"GET http://vendor@evil/in.php HTTP/1.1\r\nHost: vendor\r\n\r\n"),
    ("403", b"GET http://vendor.evil.tld/in.php HTTP/1.1\r\nHost: vendor\r\n\r\n"),
    ("404", b"GET //evil/in.php HTTP/1.1\r\nHost: a\r\n\r\n"),
    // Host.
    ("400", b"GET /in.php HTTP/1.1\r\n\r\n"),
    ("400", b"GET /in.php HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("400", b"GET /in.php HTTP/1.1\r\nHost:\r\n\r\n"),
    // Methods.
    ("405", b"CONNECT vendor:443 HTTP/1.1\r\nHost: vendor:443\r\n\r\nGET /res.php HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("405", b"TRACE /in.php HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("405", b"get /in.php HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("405", b"OPTIONS /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 39\r\n\r\nGET /res.php HTTP/1.1\r\nHost: abcde\r\n\r\n\r\n"),
    ("405", b"HEAD /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    ("417", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: a-miracle\r\n\r\nhello"),
    ("415", b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nhello"),
    // Versions. hyper closes the connection of an HTTP/2 preface without a word, if it comes in one piece.
    ("400", b"GET /in.php\r\n\r\n"),
    ("400", b"GET /in.php HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("400", b"GET /in.php HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
];

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or("")
}

#[tokio::test]
async fn what_parsers_read_differently_is_refused() {
    let server = Server::start(Limits::new(100)).await;
    for &(want, request) in REFUSED {
        let shown = String::from_utf8_lossy(request);
        let answer = server.exchange(request).await;
        assert_eq!(status(&answer), want, "{shown:?} was answered {answer:?}");
        assert_eq!(
            answer.matches("HTTP/1.").count(),
            usize::from(!want.is_empty()),
            "{shown:?} was answered {answer:?}"
        );
        assert_eq!(server.calls(), 0, "{shown:?} became a call");
    }
    assert!(server.exchange(LAST_POLL).await.contains("[/res.php"));
}

#[tokio::test]
async fn a_refusal_does_not_depend_on_how_the_bytes_are_cut() {
    let server = Server::start(Limits::new(100)).await;
    for &(want, request) in REFUSED {
        let mut client = server.connect().await;
        client.set_nodelay(true).expect("a socket");
        for byte in request {
            // The server may have closed by now.
            if client.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let answer = hear_out(&mut client).await;
        let shown = String::from_utf8_lossy(request);
        let want = if want.is_empty() { "400" } else { want };
        assert_eq!(status(&answer), want, "{shown:?} was answered {answer:?}");
        assert_eq!(server.calls(), 0, "{shown:?} became a call");
    }
}

#[tokio::test]
async fn good_requests_pass_the_same_parser() {
    let server = Server::start(Limits::new(100)).await;
    for (want, request) in [
        ("[/in.php 5 hello]", &b"POST /in.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"[..]),
        ("[/in.php 5 hello]", b"POST /in.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nhel\r\n2;a=\"b\"\r\nlo\r\n0\r\n\r\n"),
        ("[/in.php 1 a]", b"POST /in.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nHost: b\r\nContent-Length: 7\r\nkey: c\r\n\r\n"),
        ("[/in.php 0 ]", b"\r\nGET /in.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        ("[/in.php?a=%0d%0a\u{e9}\\ 0 ]", "GET /in.php?a=%0d%0a\u{e9}\\ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".as_bytes()),
        ("[http://vendor/in.php 0 ]", b"GET http://vendor/in.php HTTP/1.1\r\nHost: vendor\r\nConnection: close\r\n\r\n"),
        ("[/in.php 0 ]", b"GET /in.php HTTP/1.0\r\n\r\n"),
        ("[/in.php 0 ]", b"GET /in.php HTTP/1.1\r\nHost: a\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\n\r\nGET /res.php HTTP/1.1\r\n"),
        ("[/in.php 5 hello]", b"GET /in.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello, and more"),
    ] {
        let answer = server.exchange(request).await;
        assert!(answer.ends_with(want), "{:?} was answered {answer:?}", String::from_utf8_lossy(request));
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_up_to_the_first_bad_one() {
    let server = Server::start(Limits::new(10)).await;
    let mut requests = Vec::new();
    for number in 0..50 {
        requests.extend(format!("GET /res.php?id={number} HTTP/1.1\r\nHost: a\r\n\r\n").bytes());
        requests.extend(
            format!("POST /in.php?{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET ")
                .bytes(),
        );
        requests.extend(format!("POST /in.php?{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n").bytes());
    }
    requests.extend(b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    requests.extend(POLL.repeat(10));
    let answer = server.exchange(&requests).await;
    let bodies: Vec<_> = answer.split(['[', ']']).skip(1).step_by(2).collect();
    assert_eq!(bodies.len(), 150, "{answer}");
    assert_eq!(bodies[147], "/res.php?id=49 0 ");
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 150);
    assert_eq!(answer.matches("HTTP/1.1 400").count(), 1);
    assert!(
        answer.contains("HTTP/1.1 400") && server.calls() == 150,
        "{}",
        server.calls()
    );
}

#[tokio::test]
async fn heads_have_a_bound() {
    let server = Server::start(Limits::new(10)).await;
    let fits = format!(
        "GET /in.php?body={} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "A".repeat(60 * 1024 - 13)
    );
    assert_eq!(status(&server.exchange(fits.as_bytes()).await), "200");
    for (want, request) in [
        (
            &["414"][..],
            format!(
                "GET /in.php?body={} HTTP/1.1\r\nHost: a\r\n\r\n",
                "A".repeat(60 * 1024)
            ),
        ),
        (
            &["414", "431"],
            format!(
                "GET /in.php?body={} HTTP/1.1\r\nHost: a\r\n\r\n",
                "A".repeat(100 * 1024)
            ),
        ),
        (
            &["414", "431"],
            format!(
                "GET /in.php HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
                "A".repeat(100 * 1024)
            ),
        ),
        (
            &["414", "431"],
            format!(
                "GET /in.php HTTP/1.1\r\nHost: a\r\n{}: x\r\n\r\n",
                "A".repeat(100 * 1024)
            ),
        ),
        (
            &["414", "431"],
            format!(
                "GET /in.php HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "X: y\r\n".repeat(100)
            ),
        ),
        (
            &["414", "431"],
            format!(
                "GET /in.php HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "X: y\r\n".repeat(10_000)
            ),
        ),
    ] {
        let answer = server.exchange(request.as_bytes()).await;
        assert!(
            want.contains(&status(&answer)),
            "{request:.60} was answered {answer:?}"
        );
    }
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_client_that_sends_too_much_hears_the_answer() {
    let server = Server::start(Limits::new(10)).await;
    for head in [
        format!(
            "POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            8 * MAX_BODY
        ),
        format!(
            "POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            8 * MAX_BODY
        ),
    ] {
        let mut client = server.connect().await;
        client
            .write_all(head.as_bytes())
            .await
            .expect("the server reads");
        // Like most clients: everything is sent before anything is read.
        client
            .write_all(&vec![b'a'; 8 * MAX_BODY])
            .await
            .expect("the server hears the client out");
        let answer = tokio::time::timeout(Duration::from_secs(20), async {
            let mut start = [0; 4096];
            let length = client.read(&mut start).await.expect("no reset");
            String::from_utf8_lossy(&start[..length]).into_owned()
        });
        let answer = answer.await.expect("an answer comes");
        assert!(
            answer.contains("TooBig") && answer.contains("connection: close"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn continue_is_sent_when_the_body_is_wanted() {
    let server = Server::start(Limits::new(10)).await;
    let head = |length: usize| {
        format!(
            "POST /in.php HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )
    };
    let mut client = server.connect().await;
    client
        .write_all(head(5).as_bytes())
        .await
        .expect("it is open");
    let mut interim = [0; 25];
    client
        .read_exact(&mut interim)
        .await
        .expect("an interim answer");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").await.expect("it is open");
    assert!(hear_out(&mut client).await.ends_with(" hello]"));
    let answer = server.exchange(head(MAX_BODY + 1).as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("TooBig"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_call() {
    let server = Server::start(Limits::new(10)).await;
    for request in [
        &b"POST /in.php HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"[..],
        b"POST /in.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = server.connect().await;
        client.write_all(request).await.expect("it is open");
        client.shutdown().await.expect("it is open");
        let answer = hear_out(&mut client).await;
        assert!(answer.is_empty() || status(&answer) == "400", "{answer}");
    }
    assert!(server.exchange(LAST_POLL).await.contains("[/res.php"));
    assert_eq!(server.calls(), 1);
}
