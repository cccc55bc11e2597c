//! Whether a connection to the vendor leads back to ourselves. It does when a hosts file gives us the vendor's name for our
//! clients and we believe it too, or when a rule of the host redirects the vendor's port to ours.
//!
//! SECURITY: each call that came back would be sent again, with a key, until sockets or deadlines run out.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What this process listens on and from where it calls the vendor. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Loops(Arc<Sockets>);

#[derive(Debug, Default)]
struct Sockets {
    listening: Vec<SocketAddr>,
    /// Our ends of the connections to the vendor. A std lock around one hash, taken once for each connection.
    calling: Mutex<HashSet<SocketAddr>>,
}

impl Loops {
    pub fn new(listening: Vec<SocketAddr>) -> Self {
        Self(Arc::new(Sockets {
            listening,
            calling: Mutex::default(),
        }))
    }

    /// For a connection that we made: is `there` one of our own listeners?
    pub(crate) fn lead_here(&self, here: SocketAddr, there: SocketAddr) -> bool {
        listens(&self.0.listening, there)
            // An address of this host is called from the same one.
            || canonical(here) == canonical(there) && listens_everywhere(&self.0.listening, there.port())
    }

    /// Remembers our end of a connection to the vendor until what is returned is dropped.
    pub(crate) fn calling(&self, here: SocketAddr) -> Calling {
        self.0.calling().insert(whole(here));
        Calling {
            sockets: Arc::clone(&self.0),
            here: whole(here),
        }
    }

    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.0.calling().len()
    }

    /// For a connection that we accepted: are we at its other end, too? On loopback a port says nothing: the system gives
    /// one port to two connections that go to different addresses, so a client's there may be one of ours. A redirect
    /// is of a vendor elsewhere, which is called from an address of the network.
    pub(crate) fn are_closed_by(&self, peer: SocketAddr) -> bool {
        !canonical(peer).is_loopback() && self.0.calling().contains(&whole(peer))
    }
}

/// Also before anything listens: would `there` be one of these listeners, as they are written?
pub(crate) fn listens(listening: &[SocketAddr], there: SocketAddr) -> bool {
    listening.iter().any(|&own| whole(own) == whole(there))
        || canonical(there).is_loopback() && listens_everywhere(listening, there.port())
}

fn listens_everywhere(listening: &[SocketAddr], port: u16) -> bool {
    listening
        .iter()
        .any(|own| own.ip().is_unspecified() && own.port() == port)
}

fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

/// A dual-stack socket shows IPv4 peers as `::ffff:127.0.0.1`.
fn whole(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(canonical(address), address.port())
}

#[derive(Debug)]
pub(crate) struct Calling {
    sockets: Arc<Sockets>,
    here: SocketAddr,
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.sockets.calling().remove(&self.here);
    }
}

impl Sockets {
    fn calling(&self) -> MutexGuard<'_, HashSet<SocketAddr>> {
        self.calling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_listener_is_known_by_its_address_or_by_its_port_where_it_listens_everywhere() {
        for (listening, here, there, leads) in [
            ("127.0.0.1:443", "127.0.0.1:50000", "127.0.0.1:443", true),
            ("127.0.0.1:443", "127.0.0.1:50000", "127.0.0.1:444", false),
            ("127.0.0.1:443", "127.0.0.1:50000", "127.0.0.2:443", false),
            ("127.0.0.1:443", "10.0.0.5:50000", "203.0.113.7:443", false),
            ("0.0.0.0:443", "127.0.0.1:50000", "127.0.0.2:443", true),
            ("0.0.0.0:443", "10.0.0.5:50000", "10.0.0.5:443", true),
            ("0.0.0.0:443", "10.0.0.5:50000", "10.0.0.6:443", false),
            ("[::]:443", "[::1]:50000", "[::1]:443", true),
            ("[::]:443", "127.0.0.1:50000", "127.0.0.1:443", true),
            ("127.0.0.1:443", "[::1]:5", "[::ffff:127.0.0.1]:443", true),
        ] {
            let loops = Loops::new(vec![at(listening)]);
            assert_eq!(
                loops.lead_here(at(here), at(there)),
                leads,
                "{listening} {there}"
            );
        }
    }

    #[test]
    fn a_peer_is_ourselves_as_long_as_our_end_is_open() {
        let loops = Loops::default();
        let calling = loops.calling(at("10.0.0.5:50000"));
        assert!(loops.are_closed_by(at("10.0.0.5:50000")));
        assert!(loops.clone().are_closed_by(at("[::ffff:10.0.0.5]:50000")));
        assert!(!loops.are_closed_by(at("10.0.0.5:50001")));
        drop(calling);
        assert!(!loops.are_closed_by(at("10.0.0.5:50000")));
    }

    #[test]
    fn a_client_on_loopback_may_have_the_port_of_one_of_our_calls() {
        let loops = Loops::default();
        let _calling = loops.calling(at("127.0.0.1:50000"));
        assert!(!loops.are_closed_by(at("127.0.0.1:50000")));
    }
}
