//! What is wrong, where, and what to do: as text with carets, and as JSON. Nothing secret is in here: lines are masked before they are kept.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

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

    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics
            .iter()
            .filter(|found| found.severity == severity)
            .count()
    }

    pub fn to_json(&self) -> serde_json::Value {
        self.diagnostics.iter().map(Diagnostic::to_json).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in self.diagnostics.iter().take(MOST_SHOWN) {
            writeln!(f, "{found}\n")?;
        }
        match self.diagnostics.len().checked_sub(MOST_SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => writeln!(f, "... and {more} more\n"),
        }
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
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Hint => Level::NOTE.with_name("hint"),
        };
        let mut group = Group::with_title(level.primary_title(&self.message));
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
            group = group.element(Level::HELP.message(help));
        }
        let text = Renderer::plain().render(&[group]);
        if has_line {
            return f.write_str(&text);
        }
        // The renderer sets these further to the left than those with a line, and a rule where there is nothing to divide.
        let lines = text.lines().filter(|line| line.trim() != "|");
        let lines: Vec<_> = lines.collect();
        f.write_str(&lines.join("\n "))
    }
}
