//! The only place that spawns. What is spawned here, shutdown waits for.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::log::request_id::RequestId;

/// Cheap to clone; all clones spawn into the same set.
#[derive(Clone, Debug, Default)]
pub struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    pub fn new() -> Self {
        Self::default()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let work = self.tasks.track_future(work);
        // What a request starts is the request's, in its log lines as well.
        match RequestId::current() {
            Some(id) => tokio::spawn(id.scope(work)),
            None => tokio::spawn(work),
        }
    }

    /// Resolves when shutdown was asked for. Long-running work selects on it.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    pub fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Waits until everything that was spawned has ended, at most `patience`.
    /// Returns how many were still running when patience ended.
    pub async fn wait(&self, patience: Duration) -> usize {
        self.tasks.close();
        match tokio::time::timeout(patience, self.tasks.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tasks.len(),
        }
    }
}
