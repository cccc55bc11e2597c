//! On loopback a client may have the port of one of our calls to the vendor.

use super::*;

#[tokio::test]
async fn a_client_on_loopback_is_served_whatever_its_port() {
    let server = Server::start(Limits::new(10)).await;
    let mut client = server.connect().await;
    let _calling = server
        .loops
        .calling(client.local_addr().expect("it is open"));
    client
        .write_all(LAST_POLL)
        .await
        .expect("the kernel takes it");
    assert!(hear_out(&mut client).await.starts_with("HTTP/1.1 200"));
    assert_eq!(server.calls(), 1);
}
