//! Sidekey: a sidecar forward proxy that puts real captcha-vendor API keys where clients send placeholders.
//!
//! This is the map, in the order in which a request travels. Read `request/mod.rs` first.

pub mod app;
pub mod background;
pub mod bills;
pub mod calendar;
pub mod cli;
pub mod config;
pub mod live;
pub mod log;
pub mod loops;
pub mod money;
pub mod otlp;
pub mod replicas;
mod upkeep;

pub mod listen;
pub mod request;
pub mod wire;

pub mod keys;
pub mod tasks;
pub mod tenants;
pub mod vendor;

pub mod admin;
pub mod alerts;
pub mod sandbox;
pub mod store;
