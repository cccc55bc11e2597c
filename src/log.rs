//! Where log lines go: stdout, by a bounded writer of its own that drops and counts rather than hold up a request.

use std::io::{BufWriter, Write};
use std::panic::PanicHookInfo;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::settings::{Log, LogFormat, LogLevel};

/// Lines that wait for a slow reader of stdout: a few seconds of a busy day. At 500 bytes a line 4 MB, which a small
/// sidecar's memory has room for.
const MOST_LINES: usize = 8_000;
const WRITE: usize = 64 * 1024;

/// Flushes what waits when it is dropped.
#[must_use = "dropping it ends the log"]
pub struct LogGuard {
    _writer: WorkerGuard,
    dropped: ErrorCounter,
}

impl LogGuard {
    /// Counts lines that found no room.
    pub fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Sets the process's log up; called once.
pub fn start(log: Log) -> LogGuard {
    // Many lines in one write when there are many; it is flushed whenever none is waiting.
    let (writer, guard) = writer(BufWriter::with_capacity(WRITE, std::io::stdout()));
    let lines = fmt::layer().with_writer(writer);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(levels(log.level)))
        .init();
    std::panic::set_hook(Box::new(report_panic));
    guard
}

fn writer(to: impl Write + Send + 'static) -> (NonBlocking, LogGuard) {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MOST_LINES)
        .lossy(true)
        .finish(to);
    let dropped = writer.error_counter();
    let guard = LogGuard {
        _writer: guard,
        dropped,
    };
    (writer, guard)
}

/// SECURITY: libraries log requests at their finer levels, and a request to the vendor holds a real key. So the level
/// that was asked for is Sidekey's own, and libraries are heard from `warn` on.
fn levels(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target("sidekey", own)
}

/// SECURITY: a panic's message may quote what it tripped over, so only its place is told.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::error!(place, "internal error: a panic was caught");
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// Takes nothing until the other side is dropped.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_no_room_hold_nobody_up_and_are_counted() {
        let (release, stuck) = channel();
        let (mut writer, guard) = writer(Stuck(stuck));
        for _ in 0..MOST_LINES + 100 {
            writer.write_all(b"a line\n").unwrap();
        }
        // One line may already be in the hands of the writer's thread.
        let dropped = guard.dropped().dropped_lines();
        assert!((99..=100).contains(&dropped), "{dropped}");
        drop(release);
    }
}
