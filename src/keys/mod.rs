//! The key pool: what a key is, how it is doing, and which one a submit goes out with.

pub mod account;
mod beyond;
mod burn;
mod count;
pub mod egress;
pub mod events;
mod funds;
pub mod health;
pub mod history;
pub mod key;
mod limits;
pub mod pool;
pub mod rate;
mod rotation;
pub mod secret;
pub mod set;
mod shares;
mod slots;
pub mod state;
mod tally;
pub mod values;

#[cfg(test)]
mod tests;

/// In [0, 1), with the 24 bits that spreading things over time or keys needs.
pub fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or_default() >> 8) / f64::from(1_u32 << 24)
}
