//! Sidekey: a sidecar forward proxy that puts real captcha-vendor API keys where clients send placeholders.

pub mod background;
pub mod config;
pub mod keys;
pub mod sandbox;
pub mod vendor;
