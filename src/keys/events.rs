//! News about keys, for those who wait for one: submits without a key, the rotation, the prober.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, futures::Notified};

#[derive(Debug, Default)]
pub struct Events {
    count: AtomicU64,
    news: Notify,
}

impl Events {
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Resolves at the next news. Enable it before looking, so that nothing is missed in between.
    pub fn next(&self) -> Notified<'_> {
        self.news.notified()
    }

    pub(crate) fn happened(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.news.notify_waiters();
    }
}
