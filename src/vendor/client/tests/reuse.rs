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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendor_that_closes_unannounced_makes_no_submit_arrive_twice() {
    // Every second answer is the connection's last, and nothing says so.
    let vendor = Vendor::plays(&[&[Read, ok(), Read, ok()]]).await;
    let client = vendor.client();
    let mut uncertain = 0;
    for number in 0..2000 {
        let request = Outgoing {
            path_and_query: format!("/in.php?n={number}").into(),
            ..submit()
        };
        let outcome = call(&client, request).await;
        assert!(outcome.is_ok() || is_unknown(&outcome), "{outcome:?}");
        uncertain += usize::from(outcome.is_err());
    }
    let mut lines: Vec<_> = vendor
        .seen
        .requests
        .lock()
        .unwrap()
        .iter()
        .map(|bytes| bytes[..25].to_vec())
        .collect();
    let copies = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), copies);
    assert!(copies + uncertain >= 2000);
}
