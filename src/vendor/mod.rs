//! The vendor: its dialect, the outgoing client, and what its answers mean.

pub mod account;
mod allowance;
pub mod answer;
pub mod client;
mod connect;
mod connection;
pub mod outage;
mod pool;
pub mod profile;
pub mod proxy;
pub mod relay;
pub mod scrub;
mod stream;
pub mod target;
mod tls;
pub mod way;
