//! The key pool: what a key is, how it is doing, and which one a submit goes out with.

pub mod egress;
pub mod health;
pub mod key;
pub mod pool;
mod rotation;
pub mod secret;
pub mod set;

#[cfg(test)]
mod tests;
