//! Our own call to the vendor, sent back to us by a rule of the host.

use super::*;

#[tokio::test]
async fn what_we_sent_ourselves_is_dropped_unheard_and_other_clients_are_served() {
    let server = Server::start(Limits::new(10)).await;
    let (mut ours, mut clients) = (server.connect().await, server.connect().await);
    let calling = server.loops.calling(ours.local_addr().expect("it is open"));
    ours.write_all(LAST_POLL)
        .await
        .expect("the kernel takes it");
    assert_eq!(hear_out(&mut ours).await, "");
    clients
        .write_all(LAST_POLL)
        .await
        .expect("the kernel takes it");
    assert!(hear_out(&mut clients).await.starts_with("HTTP/1.1 200"));
    drop(calling);
    assert_eq!(server.calls(), 1);
}
