//! Bytes in. In the order in which a request travels: bind -> accept -> connection (TLS, deadlines, framing, hyper) -> gate -> body.

pub mod body;
pub mod gate;

mod accept;
mod bind;
mod certificates;
mod connection;
mod drain;
mod expiry;
mod framing;
mod io;
mod limits;
mod line;
mod receipt;
#[cfg(test)]
mod tests;

pub use accept::serve;
pub use bind::{BindError, bind};
pub use certificates::{CertError, Certificates};
pub use drain::Drain;
pub use limits::Limits;
pub use receipt::Receipt;

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;

/// The body of an answer. Whole, because every answer is judged before it is relayed.
pub type Reply = Full<Bytes>;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    pub tls: bool,
}
