//! The whole program, from outside: one binary, one module a subject.
#![expect(clippy::unwrap_used, reason = "test support")]

mod admin_port;
mod alerts;
mod allowances;
mod bad_keys;
mod balances;
mod bill_names;
mod bill_reports;
mod bills;
mod by_hand;
mod calls;
mod check;
mod codes;
mod crowds;
mod dashboard;
mod failover;
mod guesses;
mod hang_up;
mod help;
mod hot_reload;
mod idempotency;
mod metrics;
mod outage;
mod parked;
mod polls;
mod pools;
mod process;
#[path = "../support/receiver.rs"]
mod receiver;
mod recent;
#[path = "../support/redis_server.rs"]
mod redis_server;
mod replicas;
mod rotation;
mod slots;
mod status;
mod support;
mod tenant_limits;
mod tenants;
mod threads;
mod together;
mod traces;
