//! Which way leads to the vendor, and the names on it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolveHosts;
use hyper::Uri;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

use super::client::ClientError;
use super::proxy::Proxy;
use super::target::Target;

/// Straight, by the system's names, unless something else is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    pub resolver: Resolver,
    pub proxy: Option<Proxy>,
}

impl Way {
    /// Whom we connect to first.
    pub(crate) fn next<'a>(&'a self, target: &'a Target) -> &'a Uri {
        match &self.proxy {
            Some(proxy) => proxy.origin(),
            None => &target.origin,
        }
    }
}

/// Who says which addresses a name has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolver {
    /// The system, with its hosts file.
    #[default]
    System,
    /// The name servers of `/etc/resolv.conf`: where the hosts file gives clients our address for the vendor's name.
    Dns,
}

#[derive(Clone)]
pub(super) enum Names {
    System(GaiResolver),
    Dns(Arc<TokioResolver>),
}

impl Names {
    /// `patience` is for finding the address and connecting to it.
    pub(super) fn new(way: &Way, patience: Duration) -> Result<Self, ClientError> {
        // With a proxy the only name to be looked up here is its own, which may well stand in a hosts file.
        if way.resolver == Resolver::System || way.proxy.is_some() {
            return Ok(Self::System(GaiResolver::new()));
        }
        let unusable = |_| ClientError::NameServers;
        let mut builder = TokioResolver::builder_tokio().map_err(unusable)?;
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        // Its five seconds are longer than our patience: a lost datagram is asked again while somebody waits.
        options.timeout = patience / 3;
        // There is one name; with the search list of a Kubernetes pod a few more, which are not there.
        options.cache_size = 32;
        Ok(Self::Dns(Arc::new(builder.build().map_err(unusable)?)))
    }
}

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        match self {
            Self::System(system) => {
                let found = system.call(name);
                Box::pin(async { Ok(found.await?.collect::<Vec<_>>().into_iter()) })
            }
            Self::Dns(servers) => {
                let servers = Arc::clone(servers);
                Box::pin(async move {
                    let found = servers.lookup_ip(name.as_str()).await;
                    let found = found.map_err(io::Error::other)?;
                    // The port is set by who connects.
                    let addresses = found.into_iter().map(|ip| SocketAddr::new(ip, 0));
                    Ok(addresses.collect::<Vec<_>>().into_iter())
                })
            }
        }
    }
}
