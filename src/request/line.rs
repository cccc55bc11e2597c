//! Submits that wait for a key stand in line: who came first is served first, and only the first one looks.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

#[derive(Debug)]
pub struct Line {
    /// Fair: permits are given in the order of asking.
    front: Semaphore,
    waiting: AtomicUsize,
}

/// The front of the line, until it is dropped.
#[derive(Debug)]
pub struct Front<'a> {
    _front: SemaphorePermit<'a>,
    _counted: Counted<'a>,
}

#[derive(Debug)]
struct Counted<'a>(&'a Line);

/// SECURITY: bounds what a flood of submits can make us keep, a few kB each.
const LONGEST: usize = 10_000;

impl Default for Line {
    fn default() -> Self {
        Self {
            front: Semaphore::new(1),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Line {
    /// How many submits wait, the one in front included.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits until everybody who came earlier has left. `None` when that takes too long, or too many wait already.
    pub async fn join(&self, until: Instant) -> Option<Front<'_>> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= LONGEST {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let counted = Counted(self);
        let front = timeout_at(until, self.front.acquire()).await.ok()?.ok()?;
        Some(Front {
            _front: front,
            _counted: counted,
        })
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_to_come_is_served_first() {
        let line = Line::default();
        let until = Instant::now() + Duration::from_secs(2);
        let first = line.join(until).await.unwrap();
        let (mut second, mut third) = (Box::pin(line.join(until)), Box::pin(line.join(until)));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        assert_eq!(line.waiting(), 3);
        drop(first);
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(second.await.unwrap());
        assert!(third.await.is_some());
        assert_eq!(line.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_too_long_leaves_the_line() {
        let line = Line::default();
        let until = Instant::now() + Duration::from_secs(2);
        let _first = line.join(until).await.unwrap();
        assert!(line.join(until).await.is_none());
        assert_eq!((Instant::now(), line.waiting()), (until, 1));
    }
}
