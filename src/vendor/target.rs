//! Where the vendor is: its url, taken apart once. Nothing that a client sends chooses where we dial.

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::{Authority, Scheme};
use rustls_pki_types::ServerName;

#[derive(Clone, Debug)]
pub struct Target {
    /// Scheme, host and port, for the connector.
    pub(super) origin: Uri,
    /// Host and port, for a proxy.
    pub(super) authority: Authority,
    /// For `Host`: the port is left out where it is the scheme's own.
    pub(super) host: HeaderValue,
    /// The path that every endpoint is below, without a trailing slash; mostly empty.
    pub(super) prefix: String,
    /// The name that the vendor's certificate must carry; `None` for plain http.
    pub(super) tls_name: Option<ServerName<'static>>,
}

/// Never says the url: it could carry a secret where none belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("is not a url; write it as https://host or https://host/path")]
    NotAUrl,
    #[error("has a scheme other than https or http")]
    Scheme,
    #[error("has a user name or password in it, which are not supported")]
    Userinfo,
    #[error("has a query, which does not belong there")]
    Query,
    #[error("has a host that cannot be a name in a certificate")]
    HostName,
}

impl Target {
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let uri: Uri = url.parse().map_err(|_| TargetError::NotAUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(TargetError::NotAUrl);
        };
        let (tls, own_port) = match scheme.as_str() {
            "https" => (true, 443_u16),
            "http" => (false, 80),
            _ => return Err(TargetError::Scheme),
        };
        if authority.as_str().contains('@') {
            return Err(TargetError::Userinfo);
        }
        // A fragment is dropped by the parser without a word.
        if uri.query().is_some() || url.contains('#') {
            return Err(TargetError::Query);
        }
        let name = authority.host();
        let port = match authority.as_str()[name.len()..].strip_prefix(':') {
            None => own_port,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(TargetError::NotAUrl)?,
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let tls_name = match tls {
            true => Some(ServerName::try_from(bare.to_owned()).map_err(|_| TargetError::HostName)?),
            false => None,
        };
        let host = match port == own_port {
            true => name.to_owned(),
            false => format!("{name}:{port}"),
        };
        // The connector only opens TCP, so the scheme it hears is http; TLS comes on top of it.
        let authority: Authority = format!("{name}:{port}")
            .parse()
            .map_err(|_| TargetError::NotAUrl)?;
        let origin = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(authority.clone())
            .path_and_query("/")
            .build()
            .map_err(|_| TargetError::NotAUrl)?;
        Ok(Self {
            origin,
            authority,
            host: HeaderValue::try_from(host).map_err(|_| TargetError::NotAUrl)?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            tls_name,
        })
    }

    pub fn is_plaintext(&self) -> bool {
        self.tls_name.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (String, String, String, bool) {
        let target = Target::parse(url).unwrap();
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        (
            target.origin.to_string(),
            text(&target.host),
            target.prefix.clone(),
            !target.is_plaintext(),
        )
    }

    fn expected(
        origin: &str,
        host: &str,
        prefix: &str,
        tls: bool,
    ) -> (String, String, String, bool) {
        (origin.to_owned(), host.to_owned(), prefix.to_owned(), tls)
    }

    #[test]
    fn host_names_the_port_only_where_it_is_unusual() {
        assert_eq!(
            parsed("https://a.com"),
            expected("http://a.com:443/", "a.com", "", true)
        );
        assert_eq!(
            parsed("https://a.com:443/"),
            expected("http://a.com:443/", "a.com", "", true)
        );
        assert_eq!(
            parsed("http://a.com:8080"),
            expected("http://a.com:8080/", "a.com:8080", "", false)
        );
        assert_eq!(
            parsed("https://[::1]:9"),
            expected("http://[::1]:9/", "[::1]:9", "", true)
        );
    }

    #[test]
    fn a_path_becomes_a_prefix_without_trailing_slash() {
        assert_eq!(
            parsed("http://a.com/2captcha/"),
            expected("http://a.com:80/", "a.com", "/2captcha", false)
        );
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for (url, error) in [
            ("", TargetError::NotAUrl),
            ("a.com", TargetError::NotAUrl),
            ("/in.php", TargetError::NotAUrl),
            ("https://a.com:0", TargetError::NotAUrl),
            ("https://a.com:99999", TargetError::NotAUrl),
            ("ftp://a.com", TargetError::Scheme),
            ("https://user:pass@a.com", TargetError::Userinfo),
            ("https://a.com/?key=x", TargetError::Query),
            ("https://a.com/#x", TargetError::Query),
            ("https://a_%62.com", TargetError::NotAUrl),
        ] {
            assert_eq!(Target::parse(url).err(), Some(error), "{url}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics(url in "(https?://)?\\PC{0,20}|https?://[a-z@:.\\[\\]0-9/?#]{0,20}") {
            let _ = Target::parse(&url);
        }
    }
}
