//! Reaching the vendor: name, TCP, perhaps a proxy, TLS. Nothing of a request is at hand here, so nothing of it can leave or leak.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::allowance::Bounded;
use super::client::ClientError;
use super::connection::{Connection, chain};
use super::stream::{Stream, Under};
use super::target::Target;
use super::tls;
use super::way::{Names, Way};
use crate::loops::{Calling, Loops};

pub(super) struct Connector {
    target: Target,
    way: Way,
    tcp: HttpConnector<Names>,
    tls: Option<TlsConnector>,
    patience: Duration,
    loops: Loops,
}

impl Connector {
    pub(super) fn new(
        target: Target,
        ca_pem: Option<&[u8]>,
        patience: Duration,
        way: Way,
        loops: Loops,
    ) -> Result<Self, ClientError> {
        // Both address families, the second 300 ms after the first (RFC 8305); each address has its share of the time.
        let mut tcp = HttpConnector::new_with_resolver(Names::new(&way, patience)?);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(patience));
        // Reading the system's roots takes milliseconds; a plain-text vendor needs none.
        let tls = match target.is_plaintext() {
            true => None,
            false => Some(tls::connector(ca_pem)?),
        };
        Ok(Self {
            target,
            way,
            tcp,
            tls,
            patience,
            loops,
        })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) async fn connect(&self) -> Result<Connection, String> {
        let late = |what| format!("{what} took longer than {:?}", self.patience);
        let next = self.way.next(&self.target).clone();
        // The connector's own time-out leaves the name lookup out.
        let tcp = timeout(self.patience, self.tcp.clone().call(next))
            .await
            .map_err(|_| late("connecting"))?
            .map_err(|error| chain(&error))?
            .into_inner();
        let calling = self.not_ourselves(&tcp)?;
        let mut tcp = Bounded::new(tcp);
        if let Some(proxy) = &self.way.proxy {
            timeout(
                TUNNEL_PATIENCE,
                proxy.tunnel(&mut tcp, &self.target.authority),
            )
            .await
            .map_err(|_| format!("the proxy took longer than {TUNNEL_PATIENCE:?} to connect"))?
            .map_err(|error| error.to_string())?;
        }
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
        Connection::new(Stream::new(under, calling), Instant::now())
            .await
            .map_err(|error| chain(&error))
    }

    /// Before a byte is sent. Such a failure counts as one to reach the vendor, so after three the breaker keeps the log short.
    fn not_ourselves(&self, tcp: &TcpStream) -> Result<Calling, String> {
        let ends = tcp
            .local_addr()
            .and_then(|here| Ok((here, tcp.peer_addr()?)));
        let (here, there) = ends.map_err(|error| error.to_string())?;
        if self.loops.lead_here(here, there) {
            let what = match self.way.proxy {
                Some(_) => "the proxy",
                None => "the vendor",
            };
            tracing::error!(
                address = %there,
                what,
                help = "set resolver = \"dns\" in [vendor]; if it is set, a name server or the address there leads here",
                "a loop: a name leads to sidekey's own listener"
            );
            return Err(format!("{what} is at {there}, which is sidekey itself"));
        }
        Ok(self.loops.calling(here))
    }
}

/// Two round trips and a signature; a server that needs longer is not well.
const TLS_PATIENCE: Duration = Duration::from_secs(5);
/// The proxy looks up the vendor's name and connects to it, and may ask somebody whether we are allowed to.
const TUNNEL_PATIENCE: Duration = Duration::from_secs(5);
