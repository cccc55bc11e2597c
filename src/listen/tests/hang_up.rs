//! Clients that close while they are being answered: whoever works for them must hear of it.

use tokio::io::AsyncWrite;

use super::tls::{certificates, connect_over_tls};
use super::*;

const LOAD: &[u8] = b"GET /load.php HTTP/1.1\r\nHost: a\r\n\r\n";
/// Sent behind the request, and left unparsed until it is answered.
const BEHIND: [&[u8]; 5] = [b"", b"G", b"\r\n", POLL, b"\0"];

/// Sends a request that is never answered, and more, and closes.
async fn leave(server: &Server, mut client: impl AsyncWrite + Unpin, behind: &[u8]) {
    client
        .write_all(&[LOAD, behind].concat())
        .await
        .expect("it is open");
    until(|| server.calls() == 1).await;
}

async fn has_ended(server: &Server) {
    server.background.ask_to_stop();
    assert_eq!(server.background.wait(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn a_client_that_closed_is_not_worked_for_whatever_it_sent_behind_its_request() {
    for behind in BEHIND {
        let server = Server::start(Limits::new(10)).await;
        leave(&server, server.connect().await, behind).await;
        has_ended(&server).await;
    }
}

#[tokio::test]
async fn over_tls_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let (certificates, trusted) = certificates(directory.path());
    for behind in BEHIND {
        let server = Server::start_with(Limits::new(10), Some(certificates.clone())).await;
        let client = connect_over_tls(&server, &trusted, &[])
            .await
            .expect("trusted");
        leave(&server, client, behind).await;
        has_ended(&server).await;
    }
}

#[tokio::test]
async fn to_close_the_sending_half_is_to_hang_up() {
    for behind in BEHIND {
        let server = Server::start(Limits::new(10)).await;
        let mut client = server.connect().await;
        leave(&server, &mut client, behind).await;
        client.shutdown().await.expect("it is open");
        let mut heard = Vec::new();
        // A close or, with bytes that nobody read, a reset.
        let _ = client.read_to_end(&mut heard).await;
        assert_eq!(heard, b"");
        has_ended(&server).await;
    }
}
