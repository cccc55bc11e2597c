//! Where alerts are sent, and one try to send one.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Uri};
use tokio::time::Instant;

use super::outbox::Alert;
use crate::background::Background;
use crate::keys::secret::Secret;
use crate::vendor::client::{CallError, Client, ClientError, Kind, Outgoing};
use crate::vendor::target::Target;

/// SECURITY: whoever knows the path may post as us (Slack, Discord and Teams put a token there), so only the scheme and
/// the host are ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    origin: String,
    path_and_query: Secret,
}

/// Never says the url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error("is not a url with https:// and a host")]
    NotAUrl,
    #[error("holds a user name or password")]
    Userinfo,
    #[error("is an http one to another host, where its token could be read on the way")]
    Plaintext,
}

/// What one try came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    Delivered,
    /// Another try would be answered alike.
    Refused {
        status: u16,
    },
    Failed {
        why: String,
        retry_after: Option<Duration>,
    },
}

const PATIENCE: Duration = Duration::from_secs(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

impl Webhook {
    /// Plain http is for receivers on this host.
    pub fn parse(url: &str) -> Result<Self, WebhookError> {
        let uri: Uri = url.parse().map_err(|_| WebhookError::NotAUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(WebhookError::NotAUrl);
        };
        if authority.as_str().contains('@') {
            return Err(WebhookError::Userinfo);
        }
        let origin = format!("{scheme}://{authority}");
        let target = Target::parse(&origin).map_err(|_| WebhookError::NotAUrl)?;
        if target.is_plaintext() && !is_loopback(authority.host()) {
            return Err(WebhookError::Plaintext);
        }
        let path_and_query = uri.path_and_query().map_or("/", |it| it.as_str());
        Ok(Self {
            origin,
            path_and_query: Secret::new(path_and_query),
        })
    }

    /// Connections of its own. Its answers are bounded, and redirects not followed, as a vendor's.
    pub(super) fn client(&self, background: &Background) -> Result<Client, ClientError> {
        Client::new(&self.origin, None, CONNECT_PATIENCE, background)
    }

    pub(super) async fn post(&self, client: &Client, alert: &Alert, within: Duration) -> Tried {
        let outgoing = Outgoing {
            method: Method::POST,
            path_and_query: self.path_and_query.expose_bytes(),
            content_type: Some(Bytes::from_static(b"application/json")),
            user_agent: Some(Bytes::from_static(
                concat!("sidekey/", env!("CARGO_PKG_VERSION")).as_bytes(),
            )),
            body: vec![alert.json().into()],
            kind: Kind::Once,
            abandoned: None,
        };
        let deadline = Instant::now() + within.min(PATIENCE);
        match client.call(outgoing, deadline).await {
            Ok(answer) => match answer.status {
                200..300 => Tried::Delivered,
                408 | 429 | 500.. => Tried::Failed {
                    why: format!("it answered HTTP {}", answer.status),
                    retry_after: answer.retry_after,
                },
                status => Tried::Refused { status },
            },
            Err(CallError::NotSent { why } | CallError::Unknown { why }) => Tried::Failed {
                why,
                retry_after: None,
            },
        }
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({self})")
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_and_host_are_shown() {
        let url = "https://hooks.example.com:8443/services/T0/B0/tokentoken?sig=s3cret";
        let webhook = Webhook::parse(url).unwrap();
        assert_eq!(webhook.to_string(), "https://hooks.example.com:8443");
        assert_eq!(
            format!("{webhook:?}"),
            "Webhook(https://hooks.example.com:8443)"
        );
        assert_eq!(
            webhook.path_and_query.expose(),
            b"/services/T0/B0/tokentoken?sig=s3cret"
        );
    }

    #[test]
    fn plain_http_is_for_this_host() {
        for url in [
            "http://localhost:9/x",
            "http://127.0.0.1",
            "http://[::1]:9/",
        ] {
            assert!(Webhook::parse(url).is_ok(), "{url}");
        }
        for (url, error) in [
            ("http://hooks.example.com/x", WebhookError::Plaintext),
            ("https://user:pass@example.com/", WebhookError::Userinfo),
            ("hooks.example.com/x", WebhookError::NotAUrl),
            ("ftp://example.com/", WebhookError::NotAUrl),
            ("", WebhookError::NotAUrl),
        ] {
            assert_eq!(Webhook::parse(url), Err(error), "{url}");
        }
    }
}
