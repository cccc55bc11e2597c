//! News about keys, for those who wait for one: submits without a key, the rotation, the prober.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, futures::Notified};

#[derive(Debug, Default)]
pub struct Events {
    count: AtomicU64,
    news: Notify,
    freed: Mutex<Freed>,
    slots: Notify,
}

/// Whose slots were freed of late. By name, so that with ten thousand full accounts a freed slot costs no look at all of them.
#[derive(Debug, Default)]
struct Freed {
    names: VecDeque<Arc<str>>,
    /// How many there were before the first of them.
    before: u64,
}

/// A rotation that missed more looks at all its keys instead.
const REMEMBERED: usize = 4096;

impl Events {
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Resolves at the next news. Enable it before looking, so that nothing is missed in between.
    pub fn next(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// Resolves when a slot is freed next; the same holds.
    pub fn next_freed(&self) -> Notified<'_> {
        self.slots.notified()
    }

    pub(crate) fn happened(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.news.notify_waiters();
    }

    /// More of an account's slots are free than before. Not among the news, of which there are few.
    pub(super) fn freed(&self, name: &Arc<str>) {
        let mut freed = self.lock();
        if freed.names.len() >= REMEMBERED {
            freed.names.pop_front();
            freed.before += 1;
        }
        freed.names.push_back(Arc::clone(name));
        drop(freed);
        self.slots.notify_waiters();
    }

    /// Those who had slots freed since `seen`, which moves on to now. `None` when that is too long ago to say.
    pub(super) fn freed_since(&self, seen: &mut u64) -> Option<Vec<Arc<str>>> {
        let freed = self.lock();
        let end = freed.before + freed.names.len() as u64;
        let from = std::mem::replace(seen, end);
        if from == end {
            return Some(Vec::new());
        }
        let skip = usize::try_from(from.checked_sub(freed.before)?).ok()?;
        Some(freed.names.iter().skip(skip).cloned().collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Freed> {
        self.freed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
