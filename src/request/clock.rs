//! Wall-clock time, for what goes to the disk and to people. Deadlines use `tokio::time::Instant`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Only the test of a month moves it, which cannot last a month.
static AHEAD_MS: AtomicI64 = AtomicI64::new(0);

pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    now_ms.saturating_add(AHEAD_MS.load(Ordering::Relaxed))
}

/// For tests: of the whole process, from now on.
#[doc(hidden)]
pub fn go_ahead(by: Duration) {
    let by = i64::try_from(by.as_millis()).unwrap_or_default();
    AHEAD_MS.fetch_add(by, Ordering::Relaxed);
}
