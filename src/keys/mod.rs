//! The key pool.

pub mod secret;
