//! What one connection may take, and how many there may be.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

#[derive(Debug)]
pub struct Limits {
    /// From the first byte of a head (for the first request: from the accept, the TLS handshake included) to its end.
    pub header: Duration,
    /// Between two answers, with nothing sent.
    pub idle: Duration,
    /// An answer of which the client takes not one byte.
    pub write_idle: Duration,
    /// Between two reads of a body.
    pub body_read: Duration,
    /// A body that falls behind `body_rate` is given this much before it is judged.
    pub body_grace: Duration,
    /// Bytes a second.
    pub body_rate: u64,
    /// A whole body.
    pub body: Duration,
    pub(super) max_connections: usize,
    /// All listeners that share this value share these.
    pub(super) connections: Arc<Semaphore>,
    /// Told when there is no room for one more. None: newcomers wait.
    pub(super) crowded: Option<Notify>,
}

impl Limits {
    /// The settled limits, for at most `max_connections` at a time.
    pub fn new(max_connections: usize) -> Self {
        let max_connections = max_connections.min(Semaphore::MAX_PERMITS);
        Self {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write_idle: Duration::from_secs(30),
            body_read: Duration::from_secs(30),
            body_grace: Duration::from_secs(5),
            body_rate: 1024,
            body: Duration::from_secs(120),
            max_connections,
            connections: Arc::new(Semaphore::new(max_connections)),
            crowded: None,
        }
    }

    /// Of the admin port. SECURITY: whoever holds all its connections keeps probes from being answered, and a program
    /// that answers no probe is restarted. So who says nothing leaves soon, and at once where a newcomer finds no room;
    /// who asks on comes back. Probes, two Prometheus and a dozen open dashboards need half of the hundred; each costs 20 kB
    /// and a descriptor, which those of clients must not lack.
    pub fn of_admin() -> Self {
        Self {
            header: Duration::from_secs(3),
            idle: Duration::from_secs(10),
            write_idle: Duration::from_secs(10),
            crowded: Some(Notify::new()),
            ..Self::new(100)
        }
    }

    /// How many there are, and how many there may be.
    pub fn connections(&self) -> (usize, usize) {
        let free = self.connections.available_permits();
        (self.max_connections - free, self.max_connections)
    }

    /// Resolves where this connection is the one that makes room: the oldest of those for which nothing is done.
    pub(super) async fn must_leave(&self, is_busy: impl Fn() -> bool) {
        let Some(crowded) = &self.crowded else {
            return pending().await;
        };
        let began = Instant::now();
        loop {
            crowded.notified().await;
            // Whoever came just now, a probe among them, is heard first.
            sleep_until(began + GRACE).await;
            if !is_busy() {
                return;
            }
            crowded.notify_one();
            // So that busy ones do not pass it round and round.
            sleep(BUSY).await;
        }
    }
}

const BUSY: Duration = Duration::from_millis(100);
/// A thousand connections that say nothing are through in a second.
const GRACE: Duration = Duration::from_millis(100);
