//! The strict gate behind hyper's parser: which heads are calls. Pure; `framing` is its other half.

use hyper::header::{
    ACCEPT, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST, HeaderName,
    HeaderValue,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, Version};

use super::Reply;
use crate::wire::Endpoint;

/// A head that may be a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gated {
    pub endpoint: Endpoint,
    /// From the path `/project/NAME/…`.
    pub project: Option<String>,
}

/// `vendor_hosts` are the host names, without a port, that a client may name in an absolute-form target. They choose
/// nothing: where calls go stands in the configuration alone.
pub fn gate(head: &Parts, vendor_hosts: &[String]) -> Result<Gated, Violation> {
    if head.method == Method::CONNECT {
        return Err(Violation::Connect);
    }
    if head.method != Method::GET && head.method != Method::POST {
        return Err(Violation::Method);
    }
    if !matches!(head.version, Version::HTTP_10 | Version::HTTP_11) {
        return Err(Violation::Version);
    }
    check_target(head, vendor_hosts)?;
    check_headers(head)?;
    let (project, endpoint) = split_path(head.uri.path()).ok_or_else(|| not_found(head))?;
    Ok(Gated { endpoint, project })
}

/// The one host that a request names, without its port. `None` only for HTTP/1.0, which need not name one.
pub fn host(head: &Parts) -> Result<Option<&str>, Violation> {
    let mut values = head.headers.get_all(HOST).iter();
    let (first, second) = (values.next(), values.next());
    match (first, second) {
        (None, _) if head.version == Version::HTTP_10 => Ok(None),
        (Some(value), None) => {
            let (host, _) = split_host(value.as_bytes()).ok_or(Violation::Host)?;
            Ok(Some(host))
        }
        _ => Err(Violation::Host),
    }
}

/// Every way in which a head, or the framing of a body, is not acceptable HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    Host,
    HostDiffers,
    ForeignHost,
    Connect,
    Method,
    Version,
    Target,
    TargetTooLong,
    Length,
    Underscore,
    Expect,
    Encoding,
    NotFound,
    /// By somebody who looks for a page.
    NoPage,
    /// Not found by `gate`: the body broke off, or its chunks are malformed.
    Body,
}

impl Violation {
    pub fn status(self) -> StatusCode {
        match self {
            Self::Host
            | Self::HostDiffers
            | Self::Target
            | Self::Length
            | Self::Underscore
            | Self::Body => StatusCode::BAD_REQUEST,
            Self::ForeignHost => StatusCode::FORBIDDEN,
            Self::Connect | Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Expect => StatusCode::EXPECTATION_FAILED,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotFound | Self::NoPage => StatusCode::NOT_FOUND,
        }
    }

    /// Nothing of the request is repeated in it: its target may carry a key.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Host => "send exactly one Host header with a host name and, if needed, a port",
            Self::HostDiffers => "the target and the Host header name different hosts",
            Self::ForeignHost => {
                "sidekey forwards to its configured vendor only, not to the host named in the target"
            }
            Self::Connect => {
                "sidekey does not tunnel: set the client's base URL to http:// and sidekey's address instead of using \
                 it as a proxy for https, or use its TLS listener"
            }
            Self::Method => "only GET and POST are taken here",
            Self::Version => "only HTTP/1.0 and HTTP/1.1 are spoken here",
            Self::Target => "the path holds bytes that no call needs",
            Self::TargetTooLong => {
                "the request target is longer than 60 KiB: send the call as a form in a POST"
            }
            Self::Length => "write Content-Length without leading zeros",
            Self::Underscore => {
                "a header name with an underscore looks like one that sets the length of the body"
            }
            Self::Expect => "the only expectation that is met here is 100-continue",
            Self::Encoding => "send the body without a Content-Encoding",
            Self::NotFound => "the paths here are /in.php, /res.php, /solve.php and /load.php",
            // Not which address: whoever reaches this port need not know the other one.
            Self::NoPage => {
                "this port is for programs: /in.php, /res.php, /solve.php and /load.php. The dashboard is on the admin port, \
                 `listen` in [admin]; by default http://127.0.0.1:9090/ on the host where sidekey runs"
            }
            Self::Body => "the body is malformed or was cut off",
        }
    }

    pub fn response(self) -> Response<Reply> {
        let mut response = Response::new(Reply::from(self.sentence()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        // What follows on this connection may be meant as something else than it says.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if self.status() == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        response
    }
}

fn not_found(head: &Parts) -> Violation {
    // Programs accept anything, browsers name what they show.
    let accept = head
        .headers
        .get(ACCEPT)
        .map_or(&[][..], HeaderValue::as_bytes);
    match memchr::memmem::find(accept, b"text/html") {
        Some(_) => Violation::NoPage,
        None => Violation::NotFound,
    }
}

fn check_target(head: &Parts, vendor_hosts: &[String]) -> Result<(), Violation> {
    let host = host(head);
    if let Some(authority) = head.uri.authority() {
        let default = match head.uri.scheme_str() {
            Some("http") => "80",
            Some("https") => "443",
            // No scheme: a form that only CONNECT uses.
            _ => return Err(Violation::Target),
        };
        let (named, port) =
            split_host(authority.as_str().as_bytes()).ok_or(Violation::ForeignHost)?;
        if !vendor_hosts
            .iter()
            .any(|vendor| vendor.eq_ignore_ascii_case(named))
        {
            return Err(Violation::ForeignHost);
        }
        host?;
        // RFC 9112 section 3.2.2 lets the target win; two names for one request are not worth a guess.
        if let Some(header) = head.headers.get(HOST) {
            let (header, header_port) = split_host(header.as_bytes()).ok_or(Violation::Host)?;
            if !header.eq_ignore_ascii_case(named)
                || header_port.unwrap_or(default) != port.unwrap_or(default)
            {
                return Err(Violation::HostDiffers);
            }
        }
    } else {
        host?;
    }
    let target = head
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    if target.len() > MAX_TARGET {
        return Err(Violation::TargetTooLong);
    }
    // In the query any byte passes as it came: real clients send base64, UTF-8 and %0d%0a there.
    let path = head.uri.path().as_bytes();
    let is_odd = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b'\\' | b'#');
    if !path.starts_with(b"/") || path.iter().any(is_odd) || has_escaped_control(path) {
        return Err(Violation::Target);
    }
    Ok(())
}

/// `%00` to `%1f`, and `%7f` to `%ff`, which is how overlong UTF-8 comes.
fn has_escaped_control(path: &[u8]) -> bool {
    path.windows(3).any(|escape| match escape {
        [b'%', high, low] => {
            matches!(high, b'0' | b'1' | b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
                || (*high == b'7' && low.eq_ignore_ascii_case(&b'f'))
        }
        _ => false,
    })
}

fn check_headers(head: &Parts) -> Result<(), Violation> {
    let headers = &head.headers;
    if let Some(length) = headers.get(hyper::header::CONTENT_LENGTH) {
        let length = length.as_bytes();
        if !length.iter().all(u8::is_ascii_digit) || (length.len() > 1 && length.starts_with(b"0"))
        {
            return Err(Violation::Length);
        }
    }
    // SECURITY: CGI turns `-` into `_`, so a server before us may have read these as the length of the body.
    if headers.contains_key(TRANSFER_UNDERSCORE) || headers.contains_key(CONTENT_UNDERSCORE) {
        return Err(Violation::Underscore);
    }
    let every = |name: HeaderName, value: &[u8]| {
        let mut values = headers.get_all(name).iter();
        values.all(|given| given.as_bytes().eq_ignore_ascii_case(value))
    };
    if !every(EXPECT, b"100-continue") {
        return Err(Violation::Expect);
    }
    // SECURITY: nothing is decompressed, so no body can grow beyond what was sent.
    if !every(CONTENT_ENCODING, b"identity") {
        return Err(Violation::Encoding);
    }
    Ok(())
}

/// Doubled slashes come from base URLs that end in one.
fn split_path(path: &str) -> Option<(Option<String>, Endpoint)> {
    if let Some(endpoint) = path.strip_prefix('/').and_then(endpoint) {
        return Some((None, endpoint));
    }
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let first = parts.next()?;
    let (project, file) = if first == "project" {
        let name = parts.next().filter(|name| is_project_name(name))?;
        (Some(name.to_owned()), parts.next()?)
    } else {
        (None, first)
    };
    let endpoint = endpoint(file)?;
    (parts.next().is_none() && !path.ends_with('/')).then_some((project, endpoint))
}

fn endpoint(file: &str) -> Option<Endpoint> {
    Some(match file {
        "in.php" => Endpoint::Submit,
        "solve.php" => Endpoint::Solve,
        "res.php" => Endpoint::Result,
        "load.php" => Endpoint::Load,
        _ => return None,
    })
}

fn is_project_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain)
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`; nothing else, so that no reader can see another host in it.
fn split_host(value: &[u8]) -> Option<(&str, Option<&str>)> {
    if value.is_empty() || value.len() > MAX_HOST {
        return None;
    }
    let value = str::from_utf8(value).ok()?;
    let (host, rest) = match value.strip_prefix('[') {
        Some(inner) => {
            let end = inner.find(']')? + 2;
            inner[..end - 2].parse::<std::net::Ipv6Addr>().ok()?;
            value.split_at(end)
        }
        None => value.split_at(value.find(':').unwrap_or(value.len())),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_host = host.starts_with('[') || (!host.is_empty() && host.bytes().all(is_name));
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some(port)
            if port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok() =>
        {
            Some(port)
        }
        _ => return None,
    };
    is_host.then_some((host, port))
}

/// Room for an image as base64 in a GET, as some old clients send it.
const MAX_TARGET: usize = 60 * 1024;
/// DNS allows no longer name.
const MAX_HOST: usize = 255;
const TRANSFER_UNDERSCORE: HeaderName = HeaderName::from_static("transfer_encoding");
const CONTENT_UNDERSCORE: HeaderName = HeaderName::from_static("content_length");

#[cfg(test)]
mod tests;
