//! Log lines: text for people, JSON for programs, each with the request that it belongs to.
//!
//! They go to stdout by a bounded writer of its own that drops and counts rather than hold up a request.

pub mod colours;
mod line;
pub mod obeyed;
pub mod request_id;
mod writer;

use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::environment::Environment;
use crate::config::settings::{Log, LogLevel};
use colours::wants_colours;
use line::Lines;
use writer::{Flush, Writer};

pub use writer::DroppedLines;

/// Flushes what waits when it is dropped, for a second at most.
#[must_use = "dropping it ends the log"]
pub struct LogGuard {
    _flush: Flush,
    dropped: DroppedLines,
}

impl LogGuard {
    /// Counts lines that found no room.
    pub fn dropped(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

/// Sets the process's log up; called once.
pub fn start(log: &Log, environment: &Environment) -> LogGuard {
    let out = std::io::stdout();
    let lines = Lines {
        format: log.format,
        colours: wants_colours(environment, out.is_terminal()),
    };
    let (writer, flush) = Writer::start(out, lines);
    let dropped = writer.dropped();
    let layer = ToWriter { lines, writer };
    tracing_subscriber::registry()
        .with(layer.with_filter(levels(log.level)))
        .init();
    std::panic::set_hook(Box::new(report_panic));
    LogGuard {
        _flush: flush,
        dropped,
    }
}

struct ToWriter {
    lines: Lines,
    writer: Writer,
}

impl<S: Subscriber> Layer<S> for ToWriter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.writer.write(self.lines.of(event));
    }
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
