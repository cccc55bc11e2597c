//! The program as a process of its own: killed, told to stop, on a disk that fails, and searched for secrets.
#![expect(clippy::unwrap_used, reason = "test support")]

mod canary;
mod commands;
mod crash;
mod demo;
mod first_files;
mod fleet;
mod leaks;
mod logs;
mod parked;
mod parked_replicas;
#[path = "../support/receiver.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod receiver;
#[path = "../support/redis_server.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod redis_server;
mod repeats;
mod replicas;
mod signals;
mod spread;
mod static_mount;
mod store_trouble;
mod support;
mod tenant_limits;
mod terminal;
mod versions;
