//! When to look at the files again. Watching is a hint, comparing is the truth: every hint only leads to a look.
//!
//! Directories are watched and not files: Kubernetes swaps a symlink beside the file, and a watch on the file itself goes
//! deaf at the second swap. Events are not filtered by name, because none of them names the file.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

/// Editors and scripts write in several steps: a look in the middle would find half a file, which may even be valid.
const QUIET: Duration = Duration::from_millis(100);
/// A file that never rests is read all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Network file systems send no events, and inotify instances are few (128 a user, shared by all pods of a node).
const LOOK_ANYWAY: Duration = Duration::from_secs(5);

pub(super) struct Watch {
    hint: Arc<Notify>,
    /// `None` when the system gave none: then the timer alone looks.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    hangup: Option<Signal>,
}

/// Why the files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Event,
    Timer,
    /// SIGHUP: adopt what is there, changed or not, and say so.
    Asked,
}

impl Watch {
    /// `state` is the store's file: it may lie beside the keys, is written with every submit, and would never let the
    /// directory rest.
    pub(super) fn new(state: &Path) -> Self {
        let hint = Arc::new(Notify::new());
        let on_event = Arc::clone(&hint);
        let state = state.file_name().map(OsStr::to_owned);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if !event.is_ok_and(|event| is_a_look(event.kind) || is_of(state.as_deref(), &event)) {
                on_event.notify_one();
            }
        })
        .inspect_err(
            |error| tracing::warn!(%error, "cannot watch files, looking every 5 s instead"),
        );
        let hangup = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "cannot listen for SIGHUP"));
        Self {
            hint,
            watcher: watcher.ok(),
            watched: BTreeSet::new(),
            hangup: hangup.ok(),
        }
    }

    /// Watches these directories and no others. One that is missing is found by the timer.
    pub(super) fn set(&mut self, directories: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for gone in self.watched.difference(&directories) {
            if let Err(error) = watcher.unwatch(gone) {
                tracing::debug!(%error, directory = %gone.display(), "was not watched any more");
            }
        }
        // Watched anew each time: a directory that was replaced has the same name and no watch.
        self.watched = directories
            .into_iter()
            .filter(|directory| {
                let path = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
                watcher
                    .watch(path, RecursiveMode::NonRecursive)
                    .inspect_err(|error| tracing::debug!(%error, directory = %path.display(), "cannot watch"))
                    .is_ok()
            })
            .collect();
    }

    /// Waits for the next reason to look, and until the files rest.
    pub(super) async fn next(&mut self) -> Cause {
        let cause = tokio::select! {
            () = self.hint.notified() => Cause::Event,
            () = sleep(LOOK_ANYWAY) => Cause::Timer,
            () = hangup(&mut self.hangup) => Cause::Asked,
        };
        if cause == Cause::Event {
            let until = Instant::now() + LONGEST_WAIT;
            while timeout_at(until.min(Instant::now() + QUIET), self.hint.notified())
                .await
                .is_ok()
            {
                if Instant::now() >= until {
                    break;
                }
            }
        }
        cause
    }
}

/// Opening and reading, which is what our own looks do.
fn is_a_look(kind: EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    matches!(kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
}

/// Only about the file of that name, or those that SQLite puts beside it: `sidekey.db-wal`, `sidekey.db-shm`.
fn is_of(state: Option<&OsStr>, event: &Event) -> bool {
    let belongs = |path: &PathBuf| {
        let (Some(name), Some(state)) = (path.file_name(), state) else {
            return false;
        };
        name.as_encoded_bytes()
            .starts_with(state.as_encoded_bytes())
    };
    !event.paths.is_empty() && event.paths.iter().all(belongs)
}

async fn hangup(signal: &mut Option<Signal>) {
    let heard = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending().await
    }
}
