//! Where log lines go: stdout, by a bounded writer of its own that drops and counts rather than hold up a request.

use std::io::BufWriter;
use std::panic::PanicHookInfo;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::settings::{Log, LogFormat, LogLevel};

/// Lines that wait for a slow reader of stdout, about 5 MB at most. The queue takes its own 40 bytes a line at once.
const MOST_LINES: usize = 16_384;
const WRITE: usize = 64 * 1024;

/// Flushes what waits when it is dropped.
#[must_use = "dropping it ends the log"]
pub struct LogGuard(#[expect(dead_code, reason = "held for its drop")] WorkerGuard);

/// Sets the process's log up; called once.
pub fn start(log: Log) -> LogGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MOST_LINES)
        .lossy(true)
        // Many lines in one write when there are many; it is flushed whenever none is waiting.
        .finish(BufWriter::with_capacity(WRITE, std::io::stdout()));
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
    LogGuard(guard)
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
