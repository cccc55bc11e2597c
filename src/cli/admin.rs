//! A running Sidekey, asked over its admin port: where it is, and one bounded request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::environment::Environment;
use crate::config::{ADMIN_TOKEN_VARIABLE, Input, admin};

/// Which running Sidekey is meant.
#[derive(Clone, Debug, clap::Args)]
pub struct Where {
    /// Admin port of the running sidekey [default: what the configuration says, or http://127.0.0.1:9090]
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// Its configuration, for the admin port and token [default: $SIDEKEY_CONFIG, or sidekey.toml if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Client {
    authority: Authority,
    /// The whole header, marked as a secret.
    token: Option<HeaderValue>,
}

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("`{0}` is no admin address: write --admin http://HOST:PORT")]
    Address(String),
    #[error(
        "the configuration does not say at which port the admin address is: name it with --admin http://HOST:PORT"
    )]
    NoAddress,
    #[error("the admin token cannot be sent: it holds bytes that no header may have")]
    Token,
    #[error(
        "no sidekey answers at http://{at}: {why}; start it with `sidekey run`, or name its admin port with --admin http://HOST:PORT"
    )]
    Unreached { at: Authority, why: String },
    #[error(
        "http://{0} wants its admin token: set SIDEKEY_ADMIN_TOKEN, or give --config FILE with the admin.token_file of that sidekey"
    )]
    Unauthorized(Authority),
    #[error("http://{at} answers {status}: {said}")]
    Refused {
        at: Authority,
        status: StatusCode,
        said: String,
    },
    #[error("what answers at http://{0} is not the admin port of a sidekey of this version")]
    Foreign(Authority),
}

impl AdminError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Address(_) | Self::NoAddress => 64,
            Self::Token => 78,
            Self::Unreached { .. }
            | Self::Unauthorized(_)
            | Self::Refused { .. }
            | Self::Foreign(_) => 69,
        }
    }
}

impl Client {
    /// Reads only where the admin port is and its token: the running program may serve an earlier version of the rest.
    pub fn new(place: &Where, environment: &Environment) -> Result<Self, AdminError> {
        let configured = admin(&Input {
            config: place.config.clone(),
            environment: environment.clone(),
        });
        let authority = match &place.admin {
            Some(url) => authority(url)?,
            None => {
                let first = configured.listen.first().map(|listen| listen.address);
                let address = first.filter(|address| address.port() != 0);
                of_address(address.ok_or(AdminError::NoAddress)?)?
            }
        };
        let token = match environment.get(ADMIN_TOKEN_VARIABLE) {
            Some(token) => Some(token.trim().as_bytes().to_vec()),
            None => configured.token.map(|token| token.expose().to_vec()),
        };
        let header = |token: Vec<u8>| {
            let bearer = [b"Bearer ", &*token].concat();
            let mut header = HeaderValue::from_bytes(&bearer).map_err(|_| AdminError::Token)?;
            header.set_sensitive(true);
            Ok(header)
        };
        Ok(Self {
            authority,
            token: token.map(header).transpose()?,
        })
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &'static str) -> Result<T, AdminError> {
        let (status, body) = self.ask(path).await?;
        let at = self.authority.clone();
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|_| AdminError::Foreign(at)),
            StatusCode::UNAUTHORIZED => Err(AdminError::Unauthorized(at)),
            // An older one, or something else.
            StatusCode::NOT_FOUND => Err(AdminError::Foreign(at)),
            status => {
                let told: Value = serde_json::from_slice(&body).unwrap_or_default();
                let said = told["error"].as_str().unwrap_or_default();
                let said = super::table::shortened(said, MOST_QUOTED);
                Err(AdminError::Refused { at, status, said })
            }
        }
    }

    pub async fn is_ready(&self) -> Result<bool, AdminError> {
        match self.ask("/readyz").await?.0 {
            StatusCode::OK => Ok(true),
            StatusCode::SERVICE_UNAVAILABLE => Ok(false),
            _ => Err(AdminError::Foreign(self.authority.clone())),
        }
    }

    async fn ask(&self, path: &'static str) -> Result<(StatusCode, Bytes), AdminError> {
        let answer = match timeout(PATIENCE, self.exchange(path)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("nothing came within {} s", PATIENCE.as_secs())),
        };
        let at = self.authority.clone();
        answer.map_err(|why| AdminError::Unreached { at, why })
    }

    async fn exchange(
        &self,
        path: &'static str,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let host = self.authority.host().trim_matches(['[', ']']);
        let port = self.authority.port_u16().unwrap_or(80);
        let stream = TcpStream::connect((host, port)).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::get(path)
            .header(HOST, self.authority.as_str())
            .body(Empty::<Bytes>::new())?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let exchange = async move {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_BYTES);
            Ok((status, body.collect().await?.to_bytes()))
        };
        // The connection ends with the exchange, which drops its sender.
        join(exchange, connection).await.0
    }
}

fn authority(url: &str) -> Result<Authority, AdminError> {
    let wrong = || AdminError::Address(url.to_owned());
    let with_scheme = match url.contains("://") {
        true => url.to_owned(),
        false => format!("http://{url}"),
    };
    let uri: Uri = with_scheme.parse().map_err(|_| wrong())?;
    let plain = uri.scheme_str() == Some("http")
        && uri.path_and_query().is_none_or(|path| path.as_str() == "/");
    let authority = uri.authority().filter(|_| plain).ok_or_else(wrong)?;
    // A password in it would be shown with every error.
    if authority.as_str().contains('@') {
        return Err(AdminError::Address("…@…".to_owned()));
    }
    Ok(authority.clone())
}

/// Who listens on all addresses can be reached on this host's own.
fn of_address(address: SocketAddr) -> Result<Authority, AdminError> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    authority(&SocketAddr::new(ip, address.port()).to_string())
}

/// A probe of Kubernetes gives up after a second or a few; a program that is alive answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// SECURITY: whatever answers there must not fill the memory. Ten thousand keys are eight megabytes.
const MOST_BYTES: usize = 64 << 20;
const MOST_QUOTED: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: Option<&str>, variables: &[(&str, &str)]) -> Result<String, AdminError> {
        let place = Where {
            admin: url.map(str::to_owned),
            config: None,
        };
        let environment = variables.iter().copied().collect();
        let client = Client::new(&place, &environment)?;
        Ok(client.authority.to_string())
    }

    #[test]
    fn the_admin_address_is_the_flag_or_what_the_configuration_says() {
        assert_eq!(client(None, &[]).unwrap(), "127.0.0.1:9090");
        let listens = |at| [("SIDEKEY_ADMIN__LISTEN", at)];
        assert_eq!(client(None, &listens("0.0.0.0:9")).unwrap(), "127.0.0.1:9");
        assert_eq!(client(None, &listens("[::]:9")).unwrap(), "[::1]:9");
        let flag = Some("http://pod-1:9");
        assert_eq!(client(flag, &listens("0.0.0.0:8")).unwrap(), "pod-1:9");
        assert_eq!(client(Some("pod-1:9"), &[]).unwrap(), "pod-1:9");
    }

    #[test]
    fn an_address_that_leads_nowhere_is_said_so() {
        let any_port = [("SIDEKEY_ADMIN__LISTEN", "127.0.0.1:0")];
        assert!(matches!(
            client(None, &any_port),
            Err(AdminError::NoAddress)
        ));
        for url in ["https://pod-1:9", "http://pod-1:9/admin", "http://", "a b"] {
            let error = client(Some(url), &[]).unwrap_err();
            assert!(matches!(error, AdminError::Address(_)), "{url}");
        }
        let error = client(Some("http://user:secret@pod-1:9"), &[]).unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }
}
