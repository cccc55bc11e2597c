//! Where the shared store is. The url may hold a password, so only what is printed of it is kept as text.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::keys::secret::Secret;

#[derive(Clone, PartialEq)]
pub struct Address {
    url: Secret,
    shown: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("is no address of a Redis server")]
    NotAUrl,
    #[error("asks for TLS, which is not there for Redis")]
    Tls,
}

impl Address {
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        if url.starts_with("rediss:") || url.starts_with("valkeys:") {
            return Err(AddressError::Tls);
        }
        let info = url
            .into_connection_info()
            .map_err(|_| AddressError::NotAUrl)?;
        let database = info.redis_settings().db();
        let shown = match info.addr() {
            ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}/{database}"),
            ConnectionAddr::Unix(path) => format!("unix://{}?db={database}", path.display()),
            _ => return Err(AddressError::Tls),
        };
        Ok(Self {
            url: Secret::new(url),
            shown,
        })
    }

    pub(super) fn expose(&self) -> Option<ConnectionInfo> {
        let url = std::str::from_utf8(self.url.expose()).ok()?;
        url.into_connection_info().ok()
    }
}

/// Without user and password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379/0"),
            ("redis://u:CANARY@host/3", "redis://host:6379/3"),
            ("redis://:CANARY@[::1]:7000/0", "redis://::1:7000/0"),
            (
                "unix:///run/redis.sock?db=2&pass=CANARY",
                "unix:///run/redis.sock?db=2",
            ),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("Address({shown})"));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_quoted() {
        assert_eq!(Address::parse("127.0.0.1"), Err(AddressError::NotAUrl));
        assert_eq!(Address::parse("redis://h/x"), Err(AddressError::NotAUrl));
        assert_eq!(Address::parse("rediss://h"), Err(AddressError::Tls));
    }
}
