//! Listening addresses -> bound sockets. Nothing is spawned here, so a start that fails has served nobody.

use std::io;
use std::net::SocketAddr;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket};

use crate::config::settings::ListenAddress;

#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}; is another process using it, is the address not of this machine, \
     or is the port below 1024, which needs a right of its own?"
)]
pub struct BindError {
    pub address: SocketAddr,
    pub source: io::Error,
}

/// Binds every address, in order. A default address whose family this machine lacks is skipped with a warning.
/// Must be called inside a tokio runtime.
pub fn bind(addresses: &[ListenAddress]) -> Result<Vec<TcpListener>, BindError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &ListenAddress { address, written } in addresses {
        // `[::]` alone takes IPv4 too, which is what its writer expects; beside an IPv4 address of the same port it
        // would collide with it.
        let beside_v4 = addresses
            .iter()
            .any(|other| other.address.is_ipv4() && other.address.port() == address.port());
        match listen(address, beside_v4) {
            Ok(listener) => listeners.push(listener),
            Err(error) if !written && lacks_family(&error) => {
                tracing::warn!(%address, %error, "default address skipped: this machine lacks its address family");
            }
            Err(source) => return Err(BindError { address, source }),
        }
    }
    Ok(listeners)
}

fn listen(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        let socket = TcpSocket::new_v6()?;
        if only_v6 {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        socket
    };
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn lacks_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Connections that the kernel completes while we are busy or out of descriptors. It cuts this to its own maximum.
const BACKLOG: u32 = 4096;
