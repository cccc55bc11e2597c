//! Clients that do not wait for the answer.

use super::*;

#[tokio::test]
async fn a_client_that_left_before_the_first_byte_costs_nothing() {
    let vendor = Vendor::plays(&[&[Read, ok()]]).await;
    let mut request = submit();
    let token = CancellationToken::new();
    token.cancel();
    request.abandoned = Some(token);
    assert!(is_not_sent(&call(&vendor.client(), request).await));
    assert_eq!(vendor.seen.copies(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_after_the_first_byte_changes_nothing() {
    let (go, gate) = tokio::sync::oneshot::channel::<()>();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let background = Background::new();
    let token = CancellationToken::new();
    let left = token.clone();
    background.spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        request(&mut tcp).await.unwrap();
        left.cancel();
        gate.await.unwrap();
        tcp.write_all(OK).await.unwrap();
    });
    let client = Client::new(&url, None, Duration::from_secs(2), &background).unwrap();
    let abandoned = Some(token.clone());
    let calling = background.spawn(async move {
        call(
            &client,
            Outgoing {
                abandoned,
                ..submit()
            },
        )
        .await
    });
    token.cancelled().await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    assert_eq!(calling.await.unwrap().unwrap().body, "OK|123");
}
