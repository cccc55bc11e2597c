//! Raw sockets against a listener.

use std::sync::Arc;

use hyper::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::background::Background;
use crate::config::settings::ListenAddress;

pub(super) fn loopback() -> Vec<tokio::net::TcpListener> {
    let address = "127.0.0.1:0".parse().expect("an address");
    bind(&[ListenAddress {
        address,
        written: true,
    }])
    .expect("loopback is there")
}

#[tokio::test]
async fn a_plain_request_is_answered() {
    let listener = loopback().remove(0);
    let address = listener.local_addr().expect("bound");
    let (drain, background) = (Drain::new(), Background::new());
    let limits = Arc::new(Limits::new(10));
    serve(
        listener,
        None,
        &limits,
        &drain,
        &background,
        |_request, _peer| async { Response::new(Reply::from("OK|1")) },
    );
    let mut client = TcpStream::connect(address).await.expect("connects");
    client
        .write_all(b"GET /in.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .expect("sends");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("reads");
    assert!(answer.ends_with("OK|1"), "{answer}");
}
