//! Which connection carries which request, and what a broken one means.

use super::*;

#[tokio::test]
async fn a_connection_that_the_vendor_closed_is_noticed_before_anything_is_sent() {
    let vendor = Vendor::plays(&[&[Read, ok()], &[Read, ok(), Silence]]).await;
    let client = vendor.client();
    call(&client, submit()).await.unwrap();
    // The close is on its way; what has arrived shows at the next look.
    let look = || client.0.idle.take(Instant::now(), LONGEST_IDLE);
    let closed = |_: &Seen| {
        look()
            .map(|open| client.0.idle.put(open, Instant::now()))
            .is_none()
    };
    vendor.seen.until(closed).await;
    assert_eq!(call(&client, submit()).await.unwrap().body, "OK|123");
    assert_eq!((vendor.seen.copies(), vendor.seen.connections()), (2, 2));
}

#[tokio::test]
async fn a_reused_connection_that_breaks_repeats_what_may_be_repeated_and_nothing_else() {
    for (request, copies) in [(submit(), 2), (poll(), 3)] {
        let vendor = Vendor::plays(&[&[Read, ok(), Read], &[Read, ok(), Silence]]).await;
        let client = vendor.client();
        call(&client, poll()).await.unwrap();
        let kind = request.kind;
        let outcome = call(&client, request).await;
        assert_eq!(outcome.is_ok(), kind == Kind::Repeatable, "{outcome:?}");
        assert!(outcome.is_ok() || is_unknown(&outcome));
        assert_eq!(vendor.seen.copies(), copies);
    }
}

#[tokio::test]
async fn a_repeat_that_is_not_sent_does_not_hide_that_the_first_copy_was() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let background = Background::new();
    background.spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        drop(listener);
        let seen = Seen::default();
        play(&mut tcp, vec![Read, ok(), Read], &seen, |_| ()).await;
    });
    let client = Client::new(&url, None, Duration::from_secs(2), &background).unwrap();
    call(&client, poll()).await.unwrap();
    assert!(is_unknown(&call(&client, poll()).await));
}

#[tokio::test]
async fn a_submit_takes_only_a_connection_that_was_just_used() {
    let vendor = Vendor::plays(&[&[Read, ok(), Read, ok(), Read, ok(), Silence]]).await;
    let client = vendor.client();
    call(&client, submit()).await.unwrap();
    jump(LONGEST_IDLE_FOR_SUBMITS - Duration::from_millis(500)).await;
    call(&client, submit()).await.unwrap();
    assert_eq!(vendor.seen.connections(), 1);
    jump(LONGEST_IDLE_FOR_SUBMITS + Duration::from_millis(500)).await;
    call(&client, poll()).await.unwrap();
    assert_eq!(vendor.seen.connections(), 1);
    jump(LONGEST_IDLE_FOR_SUBMITS + Duration::from_millis(500)).await;
    call(&client, submit()).await.unwrap();
    assert_eq!(vendor.seen.connections(), 2);
}

#[tokio::test]
async fn idle_connections_are_closed_by_a_timer() {
    let vendor = Vendor::plays(&[&[Read, ok(), Silence]]).await;
    let client = vendor.client();
    call(&client, poll()).await.unwrap();
    assert_eq!(client.idle_connections(), 1);
    jump(LONGEST_IDLE * 2).await;
    vendor.seen.until(|_| client.idle_connections() == 0).await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_the_client() {
    let background = Background::new();
    let client = Client::new(
        "http://127.0.0.1:1",
        None,
        Duration::from_secs(2),
        &background,
    )
    .unwrap();
    background.ask_to_stop();
    assert_eq!(background.wait(Duration::from_secs(5)).await, 0);
    drop(client);
}
