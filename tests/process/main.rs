//! The program as a process of its own: killed, told to stop, on a disk that fails, and searched for secrets.
#![expect(clippy::unwrap_used, reason = "test support")]

mod canary;
mod commands;
mod crash;
mod demo;
mod first_files;
mod leaks;
mod parked;
mod repeats;
mod signals;
mod spread;
mod store_trouble;
mod support;
mod tenant_limits;
