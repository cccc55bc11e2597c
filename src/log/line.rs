//! One event as one line: text for people, JSON for programs. `docs/logs.md` names everything that may be in it.

use std::cell::RefCell;
use std::fmt::{self, Arguments, Debug, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::obeyed::is_obeyed;
use super::request_id::RequestId;
use crate::calendar;
use crate::config::settings::LogFormat;

#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    pub format: LogFormat,
    /// Of text.
    pub colours: bool,
}

impl Lines {
    pub(super) fn of(self, event: &Event<'_>) -> String {
        let about = event.metadata();
        let mut line = Line::new(self, *about.level(), about.target());
        event.record(&mut line);
        line.end(RequestId::current())
    }

    /// What the writer says itself.
    pub(super) fn of_dropped(self, lines: u64, in_all: u64) -> String {
        let mut line = Line::new(self, Level::WARN, "sidekey::log");
        line.put(MESSAGE, Value::Shown(&format_args!("{DROPPED}")));
        line.put("lines", Value::Bare(format_args!("{lines}")));
        line.put("in_all", Value::Bare(format_args!("{in_all}")));
        line.end(None)
    }
}

/// A line in the making. Writing to a string cannot fail.
struct Line {
    text: String,
    lines: Lines,
}

enum Value<'a> {
    Text(&'a str),
    /// Our own words and ids: no quotes in text.
    Shown(&'a dyn Debug),
    /// Numbers and the like, the same in both formats.
    Bare(Arguments<'a>),
}

impl Line {
    fn new(lines: Lines, level: Level, target: &str) -> Self {
        // A request has 250 bytes.
        let mut text = String::with_capacity(384);
        let name = level.as_str();
        match lines.format {
            LogFormat::Json => {
                text.push_str("{\"timestamp\":\"");
                stamp(&mut text);
                for piece in ["\",\"level\":\"", name, "\",\"target\":\"", target, "\""] {
                    text.push_str(piece);
                }
            }
            LogFormat::Text => {
                let (dim, plain) = if lines.colours {
                    (DIM, PLAIN)
                } else {
                    ("", "")
                };
                text.push_str(dim);
                stamp(&mut text);
                text.push_str(plain);
                text.push_str(if name.len() == 4 { "  " } else { " " });
                if lines.colours {
                    let _ = write!(text, "\x1b[{}m", colour(level));
                }
                for piece in [name, plain, " ", dim, target, ":", plain] {
                    text.push_str(piece);
                }
            }
        }
        Self { text, lines }
    }

    fn put(&mut self, name: &str, value: Value<'_>) {
        let text = &mut self.text;
        let is_json = self.lines.format == LogFormat::Json;
        match self.lines {
            Lines {
                format: LogFormat::Json,
                ..
            } => {
                for piece in [",\"", name, "\":"] {
                    text.push_str(piece);
                }
            }
            _ if name == MESSAGE => text.push(' '),
            Lines { colours: true, .. } => {
                for piece in [" ", DIM, name, "=", PLAIN] {
                    text.push_str(piece);
                }
            }
            _ => {
                for piece in [" ", name, "="] {
                    text.push_str(piece);
                }
            }
        }
        let has_quotes = match value {
            Value::Text(_) => true,
            Value::Shown(_) => is_json,
            Value::Bare(_) => false,
        };
        if has_quotes {
            text.push('"');
        }
        let mut out = Escaped { text, has_quotes };
        let _ = match value {
            Value::Text(value) => out.write_str(value),
            Value::Shown(value) => write!(out, "{value:?}"),
            Value::Bare(value) => out.text.write_fmt(value),
        };
        if has_quotes {
            text.push('"');
        }
    }

    fn end(mut self, request: Option<RequestId>) -> String {
        if let Some(id) = request {
            self.put("request", Value::Shown(&format_args!("{id}")));
        }
        if self.lines.format == LogFormat::Json {
            self.text.push('}');
        }
        self.text.push('\n');
        self.text
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            MESSAGE => self.put(MESSAGE, Value::Shown(&format_args!("{value}"))),
            name => self.put(name, Value::Text(value)),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field.name(), Value::Shown(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), Value::Bare(format_args!("{value}")));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), Value::Bare(format_args!("{value}")));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), Value::Bare(format_args!("{value}")));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() {
            true => self.put(field.name(), Value::Bare(format_args!("{value}"))),
            // JSON has no word for it.
            false => self.put(field.name(), Value::Bare(format_args!("null"))),
        }
    }
}

/// SECURITY: ids, codes and names come from elsewhere. A line break in one would forge a line, and an escape sequence
/// would be obeyed by the terminal of whoever reads the log.
struct Escaped<'a> {
    text: &'a mut String,
    has_quotes: bool,
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        // 0xc2 begins the control characters beyond ASCII, 0xd8 and 0xe2 those that reorder text.
        let is_harmless =
            |b: u8| b >= 0x20 && !matches!(b, 0x7f | 0xc2 | 0xd8 | 0xe2 | b'"' | b'\\');
        // All of them, because a loop that may end early takes ten times as long.
        if piece.bytes().fold(true, |all, b| all & is_harmless(b)) {
            self.text.push_str(piece);
            return Ok(());
        }
        for char in piece.chars() {
            match char {
                '"' | '\\' if self.has_quotes => {
                    self.text.push('\\');
                    self.text.push(char);
                }
                '\n' if self.has_quotes => self.text.push_str("\\n"),
                // A report of several lines stays readable, and none of them can begin as a line of the log does.
                '\n' => self.text.push_str("\n    "),
                char if is_obeyed(char) => write!(self.text, "\\u{:04x}", u32::from(char))?,
                char => self.text.push(char),
            }
        }
        Ok(())
    }
}

/// RFC 3339, in UTC, to the microsecond.
fn stamp(text: &mut String) {
    thread_local! {
        // The calendar is asked once a second.
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    SECOND.with_borrow_mut(|(second, shown)| {
        if *second != now.as_secs() || shown.is_empty() {
            *second = now.as_secs();
            let at_ms = i64::try_from(now.as_millis()).unwrap_or_default();
            *shown = calendar::rfc3339(at_ms);
            shown.truncate(shown.len() - "Z".len());
        }
        text.push_str(shown);
    });
    let _ = write!(text, ".{:06}Z", now.subsec_micros());
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

const MESSAGE: &str = "message";
pub(super) const DROPPED: &str = "log lines were dropped: whoever reads the log is too slow";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value as Json, json};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    struct Kept(Lines, Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.1.lock().unwrap().push(self.0.of(event));
        }
    }

    fn lines(format: LogFormat, colours: bool, say: impl FnOnce()) -> Vec<String> {
        let kept = Arc::default();
        let layer = Kept(Lines { format, colours }, Arc::clone(&kept));
        let registry = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(registry, say);
        std::mem::take(&mut kept.lock().unwrap())
    }

    fn say() {
        tracing::warn!(
            key = "a \"b\" \\",
            code = %"x\ny\u{1b}[2J\u{9b}\u{202e}",
            tries = 3_u32,
            none = None::<&str>,
            unheard = true,
            ratio = f64::NAN,
            "line {}",
            1
        );
    }

    #[test]
    fn text_forges_no_line_and_nothing_that_a_terminal_obeys() {
        let lines = lines(LogFormat::Text, false, say);
        let (time, rest) = lines[0].split_once(' ').unwrap();
        assert!(time.len() == "2026-11-21T14:36:23.123456Z".len() && time.ends_with('Z'));
        assert_eq!(
            rest,
            " WARN sidekey::log::line::tests: line 1 key=\"a \\\"b\\\" \\\\\" code=x\n    y\\u001b[2J\\u009b\\u202e tries=3 unheard=true ratio=null\n"
        );
    }

    #[test]
    fn json_is_one_object_with_what_was_said() {
        let lines = lines(LogFormat::Json, true, say);
        let mut line: Json = serde_json::from_str(&lines[0]).unwrap();
        assert!(line["timestamp"].take().is_string());
        let expected = json!({
            "timestamp": null, "level": "WARN", "target": "sidekey::log::line::tests", "message": "line 1",
            "key": "a \"b\" \\", "code": "x\ny\u{1b}[2J\u{9b}\u{202e}", "tries": 3, "unheard": true, "ratio": null,
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn colours_are_around_the_words_and_not_in_them() {
        let lines = lines(LogFormat::Text, true, || tracing::error!(key = "k", "bad"));
        assert!(
            lines[0].contains("\u{1b}[31mERROR\u{1b}[0m"),
            "{:?}",
            lines[0]
        );
        assert!(
            lines[0].contains("\u{1b}[2mkey=\u{1b}[0m\"k\""),
            "{:?}",
            lines[0]
        );
    }

    #[tokio::test]
    async fn lines_of_a_request_have_its_id() {
        let id = RequestId::next();
        let lines = id.scope(async { lines(LogFormat::Json, false, say) }).await;
        let line: Json = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["request"], id.to_string());
    }

    #[test]
    fn what_was_dropped_is_told_in_either_format() {
        let lines = |format| Lines {
            format,
            colours: false,
        };
        let line = lines(LogFormat::Json).of_dropped(3, 5);
        let line: Json = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["lines"], &line["in_all"]), (&json!(3), &json!(5)));
        let line = lines(LogFormat::Text).of_dropped(3, 5);
        assert!(
            line.ends_with(&format!("{DROPPED} lines=3 in_all=5\n")),
            "{line}"
        );
    }
}
