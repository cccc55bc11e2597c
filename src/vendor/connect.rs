//! Reaching the vendor: name, TCP, TLS. Nothing of a request is at hand here, so nothing of it can leave or leak.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::client::ClientError;
use super::connection::{Connection, chain};
use super::stream::{Stream, Under};
use super::target::Target;
use super::tls;

pub(super) struct Connector {
    target: Target,
    tcp: HttpConnector,
    tls: Option<TlsConnector>,
    patience: Duration,
}

impl Connector {
    pub(super) fn new(
        target: Target,
        ca_pem: Option<&[u8]>,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        // Both address families, the second 300 ms after the first (RFC 8305); each address has its share of the time.
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(patience));
        // Reading the system's roots takes milliseconds; a plain-text vendor needs none.
        let tls = match target.is_plaintext() {
            true => None,
            false => Some(tls::connector(ca_pem)?),
        };
        Ok(Self {
            target,
            tcp,
            tls,
            patience,
        })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) async fn connect(&self) -> Result<Connection, String> {
        let late = |what| format!("{what} took longer than {:?}", self.patience);
        // The connector's own time-out leaves the name lookup out.
        let tcp = timeout(
            self.patience,
            self.tcp.clone().call(self.target.origin.clone()),
        )
        .await
        .map_err(|_| late("connecting"))?
        .map_err(|error| chain(&error))?
        .into_inner();
        let under = match (&self.tls, &self.target.tls_name) {
            (Some(tls), Some(name)) => {
                let stream = timeout(TLS_PATIENCE, tls.connect(name.clone(), tcp))
                    .await
                    .map_err(|_| format!("the TLS handshake took longer than {TLS_PATIENCE:?}"))?
                    .map_err(|error| format!("TLS handshake: {}", chain(&error)))?;
                Under::Tls(Box::new(stream))
            }
            _ => Under::Plain(tcp),
        };
        Connection::new(Stream::new(under), Instant::now())
            .await
            .map_err(|error| chain(&error))
    }
}

/// Two round trips and a signature; a server that needs longer is not well.
const TLS_PATIENCE: Duration = Duration::from_secs(5);
