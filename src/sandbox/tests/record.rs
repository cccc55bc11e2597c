//! What the vendor remembers of the calls it got.

use super::*;

#[tokio::test]
async fn the_record_says_what_arrived_and_forgets_the_oldest() {
    let sandbox = begin(SandboxConfig {
        record_limit: 2,
        ..config(Dialect::Captchaai)
    })
    .await;
    let query = submit_target("placeholderkey000000000000000000");
    send(
        &sandbox,
        &post_request(
            &query,
            "application/x-www-form-urlencoded",
            &format!("key={ONE}"),
        ),
    )
    .await;
    send(&sandbox, &get_request(&submit_target(TWO))).await;
    let record = sandbox.record();
    assert_eq!(
        record.calls[0].keys,
        ["placeholderkey000000000000000000", ONE]
    );
    assert_eq!(
        record.calls[0].names,
        ["googlekey", "key", "method", "pageurl"]
    );
    assert_eq!(
        record.calls[0].content_hash, record.calls[1].content_hash,
        "the key is no content"
    );
    assert_ne!(record.calls[0].connection, record.calls[1].connection);
    submit(&sandbox, ONE).await;
    let record = sandbox.record();
    assert_eq!((record.calls[0].n, record.calls.len()), (2, 2));
    assert_eq!(
        (
            record.counts.calls,
            record.counts.dropped,
            record.counts.endpoints["in.php"]
        ),
        (3, 1, 3)
    );
}

#[tokio::test]
async fn a_forbidden_text_is_found_wherever_it_arrives() {
    let placeholder = "placeholderkey000000000000000000";
    let sandbox = begin(SandboxConfig {
        forbidden: vec![placeholder.to_owned()],
        ..config(Dialect::Captchaai)
    })
    .await;
    submit(&sandbox, ONE).await;
    assert_eq!(sandbox.counts().forbidden, 0);
    let target = submit_target(ONE);
    let header = format!(
        "GET {target} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\nCookie: k={placeholder}\r\n\r\n"
    );
    for request in [
        get_request(&format!("{target}&other={placeholder}")),
        post_request(&target, "text/unread", placeholder),
        header,
    ] {
        send(&sandbox, &request).await;
        let record = sandbox.record();
        assert_eq!(
            record.calls.back().unwrap().forbidden,
            [placeholder],
            "{request}"
        );
    }
    assert_eq!(sandbox.counts().forbidden, 3);
}

#[tokio::test]
async fn a_stopped_sandbox_leaves_its_address_to_the_next() {
    let sandbox = begin(config(Dialect::Captchaai)).await;
    let mut open = TcpStream::connect(sandbox.address()).await.unwrap();
    submit(&sandbox, ONE).await;
    sandbox.stop().await;
    assert!(TcpStream::connect(sandbox.address()).await.is_err());
    assert_eq!(open.read(&mut [0]).await.unwrap_or(0), 0);
    let next = start(
        config(Dialect::Captchaai),
        sandbox.address(),
        &Background::new(),
    )
    .await
    .unwrap();
    submit(&next, ONE).await;
}
