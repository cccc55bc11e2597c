//! The vendor: its dialect, the outgoing client, and what its answers mean.

pub mod profile;
