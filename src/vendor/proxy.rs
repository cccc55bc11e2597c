//! Egress through a proxy: a tunnel to the vendor by CONNECT, before anything of a request exists.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::Uri;
use hyper::http::uri::Authority;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::keys::secret::Secret;

/// SECURITY: the address is shown, name and password never.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    origin: Uri,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Secret>,
}

/// Never says the url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    #[error("is not a url")]
    NotAUrl,
    #[error("has a scheme other than http; what goes through it is encrypted up to the vendor")]
    Scheme,
    #[error("has no port")]
    Port,
    #[error("has a path or a query, which do not belong there")]
    Path,
    #[error("has a user name or password that cannot be read; write odd characters as %40")]
    Userinfo,
}

impl Proxy {
    pub fn parse(url: &str) -> Result<Self, ProxyError> {
        let uri: Uri = url.parse().map_err(|_| ProxyError::NotAUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(ProxyError::NotAUrl);
        };
        if scheme != "http" {
            return Err(ProxyError::Scheme);
        }
        if uri.path() != "/" || uri.query().is_some() || url.contains('#') {
            return Err(ProxyError::Path);
        }
        let authorization = match authority.as_str().rsplit_once('@') {
            Some((userinfo, _)) => Some(basic(userinfo)?),
            None => None,
        };
        // The port is written: programs do not agree on the usual one of a proxy (80, 1080, 3128, 8080).
        let port = authority.port_u16().filter(|port| *port != 0);
        let port = port.ok_or(ProxyError::Port)?;
        let origin = format!("http://{}:{port}/", authority.host());
        Ok(Self {
            origin: origin.parse().map_err(|_| ProxyError::NotAUrl)?,
            authorization,
        })
    }

    /// For the connector.
    pub(super) fn origin(&self) -> &Uri {
        &self.origin
    }

    /// `Ok` once every byte that follows is the vendor's.
    pub(super) async fn tunnel(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        to: &Authority,
    ) -> Result<(), TunnelError> {
        let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization.expose());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream
            .write_all(&request)
            .await
            .map_err(TunnelError::Broke)?;
        match status(&read_head(stream).await?).ok_or(TunnelError::NotHttp)? {
            200..300 => Ok(()),
            407 if self.authorization.is_some() => Err(TunnelError::WrongPassword),
            407 => Err(TunnelError::NoPassword),
            status => Err(TunnelError::Refused(status)),
        }
    }
}

/// Nothing that the proxy wrote is repeated: pages of proxies echo what they were sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum TunnelError {
    #[error("the proxy wants a user name and a password (407): write them into [vendor] proxy")]
    NoPassword,
    #[error("the proxy refuses the user name or the password in [vendor] proxy (407)")]
    WrongPassword,
    #[error("the proxy does not connect to the vendor: it answered {0}")]
    Refused(u16),
    #[error("the proxy's answer is not one of an HTTP proxy")]
    NotHttp,
    #[error("the proxy closed the connection before it answered")]
    Closed,
    #[error("the connection to the proxy broke: {0}")]
    Broke(std::io::Error),
}

/// RFC 7617. What stands before the first colon is the name.
fn basic(userinfo: &str) -> Result<Secret, ProxyError> {
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        let decoded = decoded.map_err(|_| ProxyError::Userinfo)?;
        // A colon in the name would move the password, a control character would end the header.
        match decoded.chars().any(char::is_control) {
            true => Err(ProxyError::Userinfo),
            false => Ok(decoded.into_owned()),
        }
    };
    let (name, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let (name, password) = (decode(name)?, decode(password)?);
    if name.contains(':') {
        return Err(ProxyError::Userinfo);
    }
    let encoded = BASE64_STANDARD.encode(format!("{name}:{password}"));
    Ok(Secret::new(format!("Basic {encoded}")))
}

/// Byte by byte from the kernel, so that none of what the vendor says first is taken away. It is read once a connection.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, TunnelError> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        // SECURITY: a head that never ends costs this much and no more.
        if head.len() == LONGEST_HEAD {
            return Err(TunnelError::NotHttp);
        }
        let byte = stream.read_u8().await;
        head.push(byte.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => TunnelError::Closed,
            _ => TunnelError::Broke(error),
        })?);
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    let [b'0' | b'1', b' ', digits @ ..] = rest else {
        return None;
    };
    let digits = digits
        .get(..3)
        .filter(|it| it.iter().all(u8::is_ascii_digit))?;
    str::from_utf8(digits).ok()?.parse().ok()
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin.authority() {
            Some(authority) => write!(f, "http://{authority}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

const LONGEST_HEAD: usize = 8 * 1024;

#[cfg(test)]
mod tests;
