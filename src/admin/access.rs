//! Who asks the JSON API, and whether they may.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use subtle::ConstantTimeEq;

use crate::config::settings::Role;
use crate::keys::secret::Secret;
use crate::listen::{Peer, gate};
use crate::tenants::{Tenant, Tenants};

pub(super) enum Who {
    /// May see and change everything. The name is for the audit log.
    Admin(Arc<str>),
    /// May see what is its own.
    Tenant(Arc<Tenant>),
}

impl Who {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Admin(name) => name,
            Self::Tenant(tenant) => &tenant.name,
        }
    }
}

/// A status and one sentence.
pub(super) type Refused = (StatusCode, &'static str);

/// SECURITY: a page in the operator's browser can reach a loopback port, by its own name (rebinding) or across sites. So
/// the Host must be an address or `localhost`, the target must not name another one, and an Origin must be this port's
/// own, as must be the site that a browser says it asks for. A form sends no header of its own choice, and a script of
/// another site none without asking first, which is never answered: so changes need one. Off loopback only a token opens
/// the API; no page knows it, so it stands for all this.
pub(super) fn who(
    head: &Parts,
    peer: Peer,
    token: Option<&Secret>,
    tenants: &Tenants,
) -> Result<Who, Refused> {
    let named = host(head).ok_or((StatusCode::FORBIDDEN, BY_ADDRESS))?;
    if let Some(sent) = head.headers.get(AUTHORIZATION) {
        return bearer(sent)
            .and_then(|sent| by_token(sent, token, tenants))
            .ok_or((StatusCode::UNAUTHORIZED, UNKNOWN_TOKEN));
    }
    if token.is_some() {
        return Err((StatusCode::UNAUTHORIZED, WITH_TOKEN));
    }
    if !is_loopback(peer) {
        return Err((StatusCode::FORBIDDEN, OFF_LOOPBACK));
    }
    let own_page =
        |origin: &[u8]| origin.eq_ignore_ascii_case(format!("http://{named}").as_bytes());
    let mut origins = head.headers.get_all(ORIGIN).iter();
    let mut sites = head.headers.get_all(FETCH_SITE).iter();
    let own_site = |site: &HeaderValue| site == "same-origin" || site == "none";
    if !is_by_address(head)
        || !origins.all(|origin| own_page(origin.as_bytes()))
        || !sites.all(own_site)
    {
        return Err((StatusCode::FORBIDDEN, BY_ADDRESS));
    }
    if head.method != Method::GET && !head.headers.contains_key(CHANGE_HEADER) {
        return Err((StatusCode::FORBIDDEN, WITH_HEADER));
    }
    Ok(Who::Admin("loopback".into()))
}

/// SECURITY: metrics name keys and tenants. A page that reaches a loopback port by a name of its own (rebinding) comes from
/// loopback, as the operator's browser does; so from there the Host must be an address or `localhost`, as for the API, or a
/// token be sent. From elsewhere any name will do: a scraper calls a Service by the name that its operator gave it, and who
/// lets others reach the port lets them read this.
pub(super) fn may_scrape(
    head: &Parts,
    peer: Peer,
    token: Option<&Secret>,
    tenants: &Tenants,
) -> Result<(), Refused> {
    let sent = head.headers.get(AUTHORIZATION).and_then(bearer);
    let may = !is_loopback(peer)
        || (host(head).is_some() && is_by_address(head))
        || sent.is_some_and(|sent| by_token(sent, token, tenants).is_some());
    may.then_some(()).ok_or((StatusCode::FORBIDDEN, BY_ADDRESS))
}

/// SECURITY: only the two addresses that a call on this host comes from. Istio's proxy hands on calls of the whole cluster
/// from 127.0.0.6.
fn is_loopback(peer: Peer) -> bool {
    let ip = peer.address.ip().to_canonical();
    ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST
}

fn is_by_address(head: &Parts) -> bool {
    let bare = gate::host(head).ok().flatten().unwrap_or_default();
    let address = bare.trim_matches(['[', ']']).parse::<IpAddr>();
    address.is_ok() || bare.eq_ignore_ascii_case("localhost")
}

fn bearer(sent: &HeaderValue) -> Option<&[u8]> {
    // A scheme is the same in any case, says RFC 9110.
    let (scheme, token) = sent.as_bytes().split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then_some(token)
}

/// SECURITY: in constant time, the tenants' by their digests. A tenant that is not active administers nothing.
fn by_token(sent: &[u8], token: Option<&Secret>, tenants: &Tenants) -> Option<Who> {
    let is_admins = token.is_some_and(|token| bool::from(sent.ct_eq(token.expose())));
    let tenant = tenants.named_by_token(sent);
    match tenant {
        _ if is_admins => Some(Who::Admin("admin token".into())),
        Some(tenant) if tenant.role == Role::Admin && tenant.is_active() => {
            Some(Who::Admin(format!("tenant {}", tenant.name).into()))
        }
        Some(tenant) => Some(Who::Tenant(Arc::clone(tenant))),
        None => None,
    }
}

/// Host and port as the request names them: once in the header, and in an absolute target nothing else.
fn host(head: &Parts) -> Option<&str> {
    gate::host(head).ok()?;
    let header = head.headers.get(hyper::header::HOST);
    let header = header.map_or(Some(""), |host| host.to_str().ok())?;
    let same =
        |authority: &hyper::http::uri::Authority| authority.as_str().eq_ignore_ascii_case(header);
    head.uri.authority().is_none_or(same).then_some(header)
}

const BEARER: &[u8] = b"Bearer ";
const FETCH_SITE: &str = "sec-fetch-site";
pub(crate) const CHANGE_HEADER: &str = "x-sidekey";
const BY_ADDRESS: &str = "name this port by its address or as localhost, and not from a web page";
const WITH_TOKEN: &str = "send the admin token: `Authorization: Bearer …`";
const UNKNOWN_TOKEN: &str = "nobody has this token";
const OFF_LOOPBACK: &str = "off loopback the API needs admin.token_file, or the token of a tenant: `Authorization: Bearer …`";
pub(super) const ADMINS_ONLY: Refused = (
    StatusCode::FORBIDDEN,
    "this needs the admin token, or a tenant whose role is admin",
);
const WITH_HEADER: &str = "send the header `X-Sidekey: 1` with a change, which no web form can";

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn asks(
        from: &str,
        listens: &str,
        bearer: Option<&str>,
        token: Option<&str>,
    ) -> Option<Refused> {
        let mut request = Request::get("/api/keys").header("host", listens);
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let address = from.parse().unwrap();
        let peer = Peer {
            address,
            tls: false,
        };
        let token = token.map(Secret::new);
        who(&head, peer, token.as_ref(), &Tenants::default()).err()
    }

    #[test]
    fn the_scheme_is_the_same_in_any_case() {
        for (scheme, opens) in [
            ("bearer", true),
            ("BEARER", true),
            ("Basic", false),
            ("", false),
        ] {
            let request = Request::get("/api/keys")
                .header("host", "localhost")
                .header("authorization", format!("{scheme} right"));
            let (head, ()) = request.body(()).unwrap().into_parts();
            let peer = Peer {
                address: "192.0.2.7:1".parse().unwrap(),
                tls: false,
            };
            let token = Some(Secret::new("right"));
            let who = who(&head, peer, token.as_ref(), &Tenants::default());
            assert_eq!(who.is_ok(), opens, "{scheme}");
        }
    }

    #[test]
    fn metrics_need_an_address_only_where_a_browser_could_be_tricked() {
        let may = |from: &str, named: &str, bearer: &str| {
            let request = Request::get("/metrics")
                .header("host", named)
                .header("authorization", format!("Bearer {bearer}"));
            let (head, ()) = request.body(()).unwrap().into_parts();
            let peer = Peer {
                address: from.parse().unwrap(),
                tls: false,
            };
            let token = Some(Secret::new("right"));
            may_scrape(&head, peer, token.as_ref(), &Tenants::default()).is_ok()
        };
        assert!(may("127.0.0.1:1", "127.0.0.1:9090", ""));
        assert!(may("[::1]:1", "LOCALHOST", ""));
        assert!(!may("127.0.0.1:1", "rebound.example:9090", "wrong"));
        assert!(!may("[::ffff:127.0.0.1]:1", "rebound.example", ""));
        assert!(may("127.0.0.1:1", "sidekey.example", "right"));
        assert!(may("10.0.0.7:1", "sidekey.shop.svc:9090", ""));
        assert!(may("127.0.0.6:1", "sidekey.shop.svc:9090", ""));
    }

    #[test]
    fn off_loopback_nothing_but_a_token_opens_the_api() {
        let far = "192.0.2.7:1";
        assert_eq!(
            asks(far, "192.0.2.1:9090", None, None),
            Some((StatusCode::FORBIDDEN, OFF_LOOPBACK))
        );
        assert_eq!(
            asks(far, "localhost", None, None),
            Some((StatusCode::FORBIDDEN, OFF_LOOPBACK))
        );
        // Istio's proxy, for whoever calls the Pod.
        assert_eq!(
            asks("127.0.0.6:1", "localhost", None, None),
            Some((StatusCode::FORBIDDEN, OFF_LOOPBACK))
        );
        let unknown = Some((StatusCode::UNAUTHORIZED, UNKNOWN_TOKEN));
        assert_eq!(asks(far, "sidekey:9090", Some("guess"), None), unknown);
        assert_eq!(
            asks(far, "sidekey:9090", Some("guess"), Some("right")),
            unknown
        );
        assert_eq!(
            asks(far, "sidekey:9090", Some("right"), Some("right")),
            None
        );
        // An IPv4 peer of a socket for both families is no other peer.
        assert_eq!(
            asks("[::ffff:127.0.0.1]:1", "127.0.0.1:9090", None, None),
            None
        );
        assert_eq!(asks("[::1]:1", "[::1]:9090", None, None), None);
    }
}
