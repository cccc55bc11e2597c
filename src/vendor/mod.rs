//! The vendor: its dialect, the outgoing client, and what its answers mean.

pub mod account;
pub mod answer;
pub mod client;
mod connect;
mod connection;
mod pool;
pub mod profile;
pub mod relay;
pub mod scrub;
mod stream;
pub mod target;
mod tls;
