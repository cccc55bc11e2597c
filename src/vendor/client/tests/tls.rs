//! Nothing goes to a host that cannot prove that it is the vendor.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    fn pem(&self) -> Vec<u8> {
        self.issuer.pem().into_bytes()
    }

    fn serves(&self, name: &str, last_year: i32) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

#[tokio::test]
async fn over_tls_the_vendor_must_be_who_we_were_told() {
    let (known, unknown) = (Authority::new(), Authority::new());
    for (name, acceptor, good) in [
        ("good", known.serves("127.0.0.1", 2999), true),
        (
            "unknown authority",
            unknown.serves("127.0.0.1", 2999),
            false,
        ),
        ("expired", known.serves("127.0.0.1", 2001), false),
        ("another host", known.serves("vendor.example", 2999), false),
    ] {
        let vendor = Vendor::listens(Some(acceptor), &[&[Read, ok(), Read, ok(), Silence]]).await;
        let client = Client::new(
            &vendor.url,
            Some(&known.pem()),
            Duration::from_secs(2),
            &vendor.background,
        )
        .unwrap();
        for request in [submit(), poll()] {
            let outcome = call(&client, request).await;
            assert_eq!(outcome.is_ok(), good, "{name}: {outcome:?}");
            assert!(good || is_not_sent(&outcome), "{name}: {outcome:?}");
        }
        let seen = (vendor.seen.copies(), vendor.seen.connections());
        assert_eq!(seen, if good { (2, 1) } else { (0, 2) }, "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_without_the_end_of_tls_is_not_believed() {
    let authority = Authority::new();
    // Without a length the end of the stream ends the answer, and anybody on the way can end a stream: `OK|123` may be
    // the beginning of a longer id.
    let cut = Write(b"HTTP/1.1 200 OK\r\n\r\nOK|123".to_vec());
    let vendor = Vendor::listens(Some(authority.serves("127.0.0.1", 2999)), &[&[Read, cut]]).await;
    let client = Client::new(
        &vendor.url,
        Some(&authority.pem()),
        Duration::from_secs(2),
        &vendor.background,
    )
    .unwrap();
    assert!(is_unknown(&call(&client, submit()).await));
    assert_eq!(vendor.seen.copies(), 1);
}

#[tokio::test]
async fn a_handshake_that_stalls_is_not_sent() {
    let vendor = Vendor::plays(&[&[Silence]]).await;
    let url = vendor.url.replace("http:", "https:");
    let client = Client::new(
        &url,
        Some(&Authority::new().pem()),
        Duration::from_secs(2),
        &vendor.background,
    )
    .unwrap();
    assert!(is_not_sent(
        &call_within(&client, submit(), Duration::from_millis(200)).await
    ));
    let token = CancellationToken::new();
    let abandoned = Some(token.clone());
    let calling = vendor.background.spawn(async move {
        call(
            &client,
            Outgoing {
                abandoned,
                ..submit()
            },
        )
        .await
    });
    vendor.seen.until(|seen| seen.connections() == 2).await;
    token.cancel();
    assert!(is_not_sent(&calling.await.unwrap()));
}

#[tokio::test]
async fn a_ca_file_without_certificates_is_refused() {
    for (pem, error) in [
        (&b""[..], ClientError::CaEmpty),
        (b"-----BEGIN CERTIFICATE-----\n!\n", ClientError::CaUnusable),
    ] {
        let client = Client::new(
            "https://a.com",
            Some(pem),
            Duration::from_secs(2),
            &Background::new(),
        );
        assert_eq!(client.err(), Some(error));
    }
}

#[tokio::test]
async fn what_goes_on_for_ever_under_tls_is_ended_by_its_bytes() {
    let known = Authority::new();
    let flood = Flood(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100));
    let acceptor = known.serves("127.0.0.1", 2999);
    let vendor = Vendor::listens(Some(acceptor), &[&[Read, flood]]).await;
    let patience = Duration::from_secs(2);
    let client = Client::new(
        &vendor.url,
        Some(&known.pem()),
        patience,
        &vendor.background,
    )
    .unwrap();
    let why = call(&client, submit()).await.unwrap_err().to_string();
    assert!(
        why.ends_with("more bytes came than a good answer can have"),
        "{why}"
    );
}
