//! Whom we believe to be the vendor.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::TlsConnector;

use super::client::ClientError;

/// The system's roots (or those of `SSL_CERT_FILE`, `SSL_CERT_DIR`), and the operator's own besides.
pub(super) fn connector(ca_pem: Option<&[u8]>) -> Result<TlsConnector, ClientError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "some of the system's root certificates cannot be read");
    }
    let (added, unusable) = roots.add_parsable_certificates(system.certs);
    if added > 0 {
        tracing::info!(added, unusable, "trusting the system's root certificates");
    } else {
        // A container image without ca-certificates should still reach the vendor.
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        tracing::info!(
            added = roots.len(),
            "no system root certificates: trusting those compiled in"
        );
    }
    for certificate in own_certificates(ca_pem)? {
        roots
            .add(certificate)
            .map_err(|_| ClientError::CaUnusable)?;
    }
    // The provider is named, not taken from the process: nothing else in the process can change it.
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| ClientError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Early data can be replayed by whoever sees it, and a submit costs money.
    config.enable_early_data = false;
    Ok(TlsConnector::from(Arc::new(config)))
}

fn own_certificates(ca_pem: Option<&[u8]>) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let Some(pem) = ca_pem else {
        return Ok(Vec::new());
    };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| ClientError::CaUnusable)?;
    if found.is_empty() {
        return Err(ClientError::CaEmpty);
    }
    Ok(found)
}
