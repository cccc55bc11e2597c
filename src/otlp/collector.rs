//! Where traces go, and one try to send some.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tokio::time::Instant;

use crate::background::Background;
use crate::vendor::client::{CallError, Client, ClientError, Kind, Outgoing};
use crate::vendor::target::{Target, TargetError};

/// The base url of a collector. It holds no secret: whoever wants a token sent puts a collector between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectorError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("ends in /v1/traces, which is added to it")]
    WholePath,
}

/// What one try came to.
pub(super) enum Tried {
    Taken,
    /// Another try would be answered alike.
    Refused(String),
    Failed {
        why: String,
        retry_after: Option<Duration>,
    },
}

impl Collector {
    pub fn parse(url: &str) -> Result<Self, CollectorError> {
        let url = url.trim().trim_end_matches('/');
        Target::parse(url)?;
        if url.ends_with("/v1/traces") {
            return Err(CollectorError::WholePath);
        }
        Ok(Self(url.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Connections of its own, bounded as a vendor's.
    pub(super) fn client(&self, background: &Background) -> Result<Client, ClientError> {
        Client::new(&self.0, None, CONNECT_PATIENCE, background)
    }
}

pub(super) async fn post(client: &Client, body: Bytes, within: Duration) -> Tried {
    let outgoing = Outgoing {
        method: Method::POST,
        path_and_query: Bytes::from_static(b"/v1/traces"),
        content_type: Some(Bytes::from_static(b"application/json")),
        user_agent: Some(Bytes::from_static(
            concat!("sidekey/", env!("CARGO_PKG_VERSION")).as_bytes(),
        )),
        body: vec![body],
        // A span that comes twice has the same id.
        kind: Kind::Repeatable,
        abandoned: None,
    };
    match client.call(outgoing, Instant::now() + within).await {
        Ok(answer) => match answer.status {
            200..300 => Tried::Taken,
            // By the protocol, these and no others may be tried again.
            429 | 502 | 503 | 504 => Tried::Failed {
                why: format!("it answered HTTP {}", answer.status),
                retry_after: answer.retry_after,
            },
            status => Tried::Refused(format!("it answered HTTP {status}")),
        },
        Err(CallError::NotSent { why } | CallError::Unknown { why }) => Tried::Failed {
            why,
            retry_after: None,
        },
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_base_url() {
        for good in ["http://127.0.0.1:4318", "https://otel.example/prefix/"] {
            assert!(Collector::parse(good).is_ok(), "{good}");
        }
        let whole = Collector::parse("http://127.0.0.1:4318/v1/traces");
        assert_eq!(whole, Err(CollectorError::WholePath));
        for bad in [
            "127.0.0.1:4318",
            "grpc://a:4317",
            "http://u:p@a",
            "http://a?b",
        ] {
            assert!(Collector::parse(bad).is_err(), "{bad}");
        }
    }
}
