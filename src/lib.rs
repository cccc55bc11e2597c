//! Sidekey: a sidecar forward proxy that puts real captcha-vendor API keys where clients send placeholders.

pub mod background;
pub mod cli;
pub mod config;
pub mod keys;
pub mod listen;
pub mod sandbox;
pub mod store;
pub mod vendor;
pub mod wire;
