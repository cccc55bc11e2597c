//! Loads whose figures are judged: one at a time, because another test beside them would be in the figures.
#![expect(clippy::unwrap_used, reason = "test support")]

mod fairness;
mod faulty_vendor;
mod limits;
#[path = "../support/redis_server.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod redis_server;
mod reload_under_load;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod support;

/// Held by each test for as long as it runs.
async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ONE.lock().await
}
