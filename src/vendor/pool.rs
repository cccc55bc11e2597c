//! Idle connections, the freshest on top.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

/// A std mutex: every section only moves a pointer or frees what is old.
#[derive(Default)]
pub(super) struct Pool {
    /// Ordered by `idle_since`, oldest first, because a connection is put back at the moment it becomes idle.
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// A connection that has been idle for at most `longest` and is still good.
    pub(super) fn take(&self, now: Instant, longest: Duration) -> Option<Connection> {
        loop {
            let mut connection = self.pop(now, longest)?;
            if connection.is_usable() {
                return Some(connection);
            }
        }
    }

    fn pop(&self, now: Instant, longest: Duration) -> Option<Connection> {
        let mut idle = self.lock();
        // One too old for a submit stays: a poll may still use it.
        idle.pop_if(|connection| now.duration_since(connection.idle_since) <= longest)
    }

    pub(super) fn put(&self, mut connection: Connection, now: Instant) {
        if !connection.is_usable() {
            return;
        }
        connection.idle_since = now;
        let mut idle = self.lock();
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
    }

    pub(super) fn evict(&self, now: Instant) {
        let mut idle = self.lock();
        let old = idle
            .partition_point(|connection| now.duration_since(connection.idle_since) > LONGEST_IDLE);
        let old: Vec<_> = idle.drain(..old).collect();
        drop(idle);
        // Closing sockets is done without the lock.
        drop(old);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Well below the keep-alive of common servers (nginx 75 s, Apache 5 to 15 s), so that we close first, mostly.
pub(super) const LONGEST_IDLE: Duration = Duration::from_secs(10);
/// For submits: a server that closes as our request goes out makes it uncertain, and that gets likelier with time.
/// A new handshake is nothing beside the seconds that solving takes.
pub(super) const LONGEST_IDLE_FOR_SUBMITS: Duration = Duration::from_secs(2);
const MOST_IDLE: usize = 64;
