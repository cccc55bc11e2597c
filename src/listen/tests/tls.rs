//! TLS listeners.

use std::path::Path;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::settings::TlsFiles;

/// Writes a fresh certificate for `localhost` and its key; returns the certificate.
fn write_pair(files: &TlsFiles) -> CertificateDer<'static> {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&files.cert, pair.cert.pem()).expect("a file");
    std::fs::write(&files.key, pair.signing_key.serialize_pem()).expect("a file");
    pair.cert.der().clone()
}

fn files(directory: &Path) -> TlsFiles {
    TlsFiles {
        cert: directory.join("cert.pem"),
        key: directory.join("key.pem"),
    }
}

pub(super) fn certificates(directory: &Path) -> (Certificates, CertificateDer<'static>) {
    let files = files(directory);
    let trusted = write_pair(&files);
    let certificates = Certificates::load(&files).expect("a good pair");
    (certificates, trusted)
}

pub(super) async fn connect_over_tls(
    server: &Server,
    trusted: &CertificateDer<'static>,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = server.connect().await;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn poll_over_tls(
    server: &Server,
    trusted: &CertificateDer<'static>,
    alpn: &[&str],
) -> std::io::Result<String> {
    let mut stream = connect_over_tls(server, trusted, alpn).await?;
    stream.write_all(LAST_POLL).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn the_certificate_is_replaced_while_serving_and_a_broken_one_is_not_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = files(directory.path());
    let old = write_pair(&files);
    let certificates = Certificates::load(&files).expect("a good pair");
    let server = Server::start_with(Limits::new(10), Some(certificates.clone())).await;
    assert!(
        poll_over_tls(&server, &old, &[])
            .await
            .expect("trusted")
            .contains("[/res.php")
    );
    assert!(!certificates.reload().expect("unchanged"));

    let new = write_pair(&files);
    assert!(certificates.reload().expect("a good pair"));
    assert!(
        poll_over_tls(&server, &new, &[])
            .await
            .expect("trusted")
            .contains("[/res.php")
    );
    assert!(poll_over_tls(&server, &old, &[]).await.is_err());

    let key = std::fs::read(&files.key).expect("it is there");
    let certificate = std::fs::read(&files.cert).expect("it is there");
    let other =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let broken = [
        (
            certificate.clone(),
            b"-----BEGIN PRIVATE KEY-----\nsecretsecret\n".to_vec(),
        ),
        (
            certificate.clone(),
            other.signing_key.serialize_pem().into_bytes(),
        ),
        (Vec::new(), key.clone()),
        (certificate[..certificate.len() / 2].to_vec(), key.clone()),
    ];
    for (certificate, key) in broken {
        std::fs::write(&files.cert, certificate).expect("a file");
        std::fs::write(&files.key, key).expect("a file");
        let error = certificates.reload().expect_err("it is broken").to_string();
        assert!(
            error.contains(".pem") && !error.contains("secret"),
            "{error}"
        );
        assert!(!certificates.reload().expect("told once"));
        assert!(
            poll_over_tls(&server, &new, &[])
                .await
                .expect("the old one goes on")
                .contains("[/res.php")
        );
    }
    std::fs::remove_file(&files.key).expect("it was there");
    assert!(matches!(certificates.reload(), Err(CertError::Read { .. })));
    std::fs::write(&files.cert, certificate).expect("a file");
    std::fs::write(&files.key, key).expect("a file");
    assert!(certificates.reload().expect("good again"));
    assert!(
        poll_over_tls(&server, &new, &[])
            .await
            .expect("trusted")
            .contains("[/res.php")
    );
}

#[tokio::test]
async fn only_http_1_is_negotiated() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = files(directory.path());
    let certificate = write_pair(&files);
    let certificates = Certificates::load(&files).expect("a good pair");
    let server = Server::start_with(Limits::new(10), Some(certificates)).await;
    let both = poll_over_tls(&server, &certificate, &["h2", "http/1.1"]).await;
    assert!(both.expect("http/1.1 is common").contains("[/res.php"));
    assert!(poll_over_tls(&server, &certificate, &["h2"]).await.is_err());
}

#[tokio::test]
async fn a_stalled_handshake_ends_at_the_deadline_and_stops_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = files(directory.path());
    let certificate = write_pair(&files);
    let limits = Limits {
        header: Duration::from_secs(2),
        ..Limits::new(10)
    };
    let server = Server::start_with(
        limits,
        Some(Certificates::load(&files).expect("a good pair")),
    )
    .await;
    let start = tokio::time::Instant::now();
    let mut stalled = server.connect().await;
    // The start of a handshake record that never ends.
    stalled
        .write_all(&[22, 3, 1, 2, 0])
        .await
        .expect("it is open");
    assert!(
        poll_over_tls(&server, &certificate, &[])
            .await
            .expect("trusted")
            .contains("[/res.php")
    );
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    hear_out(&mut stalled).await;
    assert!(
        start.elapsed() > Duration::from_millis(1900),
        "{:?}",
        start.elapsed()
    );
    // Plain HTTP on the TLS port.
    assert!(!server.exchange(POLL).await.contains("200"));
}
