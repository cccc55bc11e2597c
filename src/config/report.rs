//! What is wrong, where, and what to do: as text with carets, and as JSON. Nothing secret is in here: lines are masked before they are kept.

use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DEFAULT_TERM_WIDTH;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use unicode_width::UnicodeWidthStr;

/// SECURITY: a key file of a million broken lines must not become a report of a million carets. The rest is counted.
const MOST_SHOWN: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Sidekey does not start with it, and does not adopt it in a reload.
    Error,
    /// Probably not what was meant. `check --strict` fails.
    Warning,
    /// Worth knowing; never fails.
    Hint,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Hint => "hint",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub message: String,
    pub help: Option<String>,
    pub place: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A path, or `environment variable NAME`.
    pub origin: String,
    pub quote: Option<Quote>,
}

/// One line of a file, masked, and the part of it that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    pub line: usize,
    pub column: usize,
    pub text: String,
    pub span: Range<usize>,
}

/// Everything that was found in one go, worst first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|found| found.severity);
        Self { diagnostics }
    }

    #[cfg(test)]
    pub(super) fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// For a program that serves all the same.
    pub fn log(&self) {
        for found in &self.diagnostics {
            let problem = found.one_line();
            let help = found.help.as_deref().unwrap_or_default();
            match found.severity {
                Severity::Hint => {
                    tracing::info!(problem, help, "the configuration can be better")
                }
                Severity::Error | Severity::Warning => {
                    tracing::warn!(problem, help, "the configuration is not as it should be")
                }
            }
        }
    }

    /// Where the worst is that has a place.
    pub fn first_origin(&self) -> Option<&str> {
        let mut places = self.diagnostics.iter().filter_map(|it| it.place.as_ref());
        places.next().map(|place| &*place.origin)
    }

    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics
            .iter()
            .filter(|found| found.severity == severity)
            .count()
    }

    /// Without a `width` only the lines of files that are quoted are cut.
    pub fn render(&self, colours: bool, width: Option<usize>) -> String {
        let shown = self.diagnostics.iter().take(MOST_SHOWN);
        let mut text: String = shown
            .map(|found| found.render(colours, width) + "\n\n")
            .collect();
        let more = self.diagnostics.len().saturating_sub(MOST_SHOWN);
        if more > 0 {
            text += &format!("... and {more} more\n\n");
        }
        text
    }

    pub fn to_json(&self) -> serde_json::Value {
        self.diagnostics.iter().map(Diagnostic::to_json).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false, None))
    }
}

impl std::error::Error for Report {}

impl Diagnostic {
    /// About a whole file, directory or variable.
    pub(crate) fn about(
        origin: &str,
        severity: Severity,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            message: message.into(),
            help: Some(help.into()).filter(|help| !help.is_empty()),
            place: Some(Place {
                origin: origin.to_owned(),
                quote: None,
            }),
        }
    }

    /// One line, for logs: where and what.
    pub fn one_line(&self) -> String {
        match &self.place {
            None => self.message.clone(),
            Some(Place {
                origin,
                quote: None,
            }) => format!("{origin}: {}", self.message),
            Some(Place {
                origin,
                quote: Some(quote),
            }) => {
                format!("{origin}:{}:{}: {}", quote.line, quote.column, self.message)
            }
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let place = self.place.as_ref();
        let quote = place.and_then(|place| place.quote.as_ref());
        serde_json::json!({
            "severity": self.severity.name(),
            "message": self.message,
            "help": self.help,
            "origin": place.map(|place| &place.origin),
            "line": quote.map(|quote| quote.line),
            "column": quote.map(|quote| quote.column),
        })
    }

    fn render(&self, colours: bool, width: Option<usize>) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Hint => Level::NOTE.with_name("hint"),
        };
        // The renderer indents these by their label, up to `   = help: `.
        let room = width.map(|width| width.saturating_sub(ROOM_OF_LABELS));
        let folded = |text: &str| wrapped(text, room, 0).trim_end().to_owned();
        let mut group = Group::with_title(level.primary_title(folded(&self.message)));
        let mut has_line = false;
        match &self.place {
            None => {}
            Some(Place {
                origin,
                quote: None,
            }) => group = group.element(Origin::path(origin)),
            Some(Place {
                origin,
                quote: Some(quote),
            }) => {
                has_line = true;
                group = group.element(
                    Snippet::source(&quote.text)
                        .path(origin)
                        .line_start(quote.line)
                        .annotation(AnnotationKind::Primary.span(quote.span.clone())),
                );
            }
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(folded(help)));
        }
        let rendered = |renderer: Renderer| {
            let renderer = renderer.term_width(width.unwrap_or(DEFAULT_TERM_WIDTH));
            renderer.render(&[group.clone()])
        };
        let plain = rendered(Renderer::plain());
        let text = match colours {
            true => rendered(Renderer::styled()),
            false => plain.clone(),
        };
        if has_line {
            return text;
        }
        // The renderer sets these further to the left than those with a line, and a rule where there is nothing to divide.
        let lines = plain.lines().zip(text.lines());
        let lines = lines.filter(|(plain, _)| plain.trim() != "|");
        let lines: Vec<_> = lines.map(|(_, line)| line).collect();
        lines.join("\n ")
    }
}

/// Lines that end with a line break and are no wider than `width`; all but the first are indented. A longer word, as a path,
/// stays whole: somebody wants to copy it.
pub(crate) fn wrapped(text: &str, width: Option<usize>, indent: usize) -> String {
    let width = width.unwrap_or(usize::MAX);
    let (mut lines, mut column) = (String::new(), 0);
    // Two blanks in a row are kept: they are somebody's columns.
    for (place, word) in text.split(' ').enumerate() {
        if place > 0 && column + 1 + word.width() > width {
            lines.truncate(lines.trim_end_matches(' ').len());
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
        } else if place > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += word.width();
    }
    lines + "\n"
}

/// `   = warning: `.
const ROOM_OF_LABELS: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_to_the_next_line_and_none_is_broken() {
        assert_eq!(wrapped("one two three", None, 2), "one two three\n");
        assert_eq!(wrapped("one two three", Some(7), 2), "one two\n  three\n");
        assert_eq!(
            wrapped("see /a/long/path now", Some(8), 0),
            "see\n/a/long/path\nnow\n"
        );
    }

    #[test]
    fn on_a_terminal_it_is_coloured_and_no_wider() {
        let found = Diagnostic {
            severity: Severity::Error,
            message: "no profile is named \"captchai\", and this sentence is long".to_owned(),
            help: Some("did you mean the one that is named almost like it?".to_owned()),
            place: Some(Place {
                origin: "sidekey.toml".to_owned(),
                quote: Some(Quote {
                    line: 9,
                    column: 11,
                    text: format!("profile = \"captchai\" # {}", "x".repeat(200)),
                    span: 10..20,
                }),
            }),
        };
        let report = Report::new(vec![found]);
        let narrow = report.render(false, Some(40));
        assert!(narrow.lines().all(|line| line.width() <= 40), "{narrow}");
        assert!(report.render(true, Some(40)).contains("\x1b["));
        assert!(!report.to_string().contains('\x1b'));
    }
}
