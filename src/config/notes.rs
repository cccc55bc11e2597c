//! What was found in one text while it was understood, and which parts of that text may be quoted.

use std::ops::Range;

use super::report::{Diagnostic, Place, Quote, Severity};
use crate::tasks::kind;

/// SECURITY: a file may be one line of megabytes; this much of it is quoted.
const LONGEST_QUOTE: usize = 4096;
/// SECURITY: what is not TOML at all has a mistake at every byte.
const MOST_BROKEN: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct Notes {
    findings: Vec<Finding>,
    shown: Vec<Range<usize>>,
    /// Where the text is not TOML. Nothing near it is certain.
    broken: Vec<Finding>,
}

#[derive(Debug)]
struct Finding {
    severity: Severity,
    at: Option<Range<usize>>,
    message: String,
    help: Option<String>,
}

/// How a text is quoted when something is wrong in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoting {
    /// Names that are shown wherever they stand, as those of prices are; everything else is masked unless `show` was called
    /// for it.
    pub words: &'static [&'static str],
    /// The text is a list of secrets: where it is not TOML, not one value is shown.
    pub secret: bool,
}

impl Quoting {
    fn knows(self, word: &str) -> bool {
        self.words.contains(&word) || kind::ALL.contains(&word)
    }
}

impl Notes {
    pub(crate) fn add(
        &mut self,
        severity: Severity,
        at: Option<Range<usize>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let help = Some(help.into()).filter(|help| !help.is_empty());
        self.findings.push(Finding {
            severity,
            at,
            message: message.into(),
            help,
        });
    }

    /// This part is known to hold no secret.
    pub(crate) fn show(&mut self, part: Range<usize>) {
        self.shown.push(part);
    }

    /// Whether it is no TOML.
    pub(crate) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// The parser's own finding. Its message is one of toml's fixed sentences; its rendering, which prints the line, is never used.
    /// `form` is how the file is written: somebody may have put bare values on its lines.
    pub(crate) fn not_toml(&mut self, error: &toml::de::Error, form: Option<&'static str>) {
        if self.broken.len() >= MOST_BROKEN {
            return;
        }
        let (message, help) = in_plain_words(error);
        // Once is enough.
        let help = help.or_else(|| form.filter(|_| self.broken.is_empty()));
        self.broken.push(Finding {
            severity: Severity::Error,
            at: error.span(),
            message: message.to_owned(),
            help: help.map(str::to_owned),
        });
    }

    pub(crate) fn is_toml(&self) -> bool {
        self.broken.is_empty()
    }

    pub(crate) fn into_diagnostics(
        self,
        origin: &str,
        text: &str,
        quoting: Quoting,
    ) -> Vec<Diagnostic> {
        let Self {
            mut findings,
            mut shown,
            broken,
        } = self;
        let lines = Lines::new(text);
        let broken_lines: Vec<(usize, usize)> = broken
            .iter()
            .filter_map(|finding| finding.at.as_ref())
            .map(|part| (lines.of(part.start), lines.of(part.end)))
            .collect();
        let is_broken = |line| {
            broken_lines
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&line))
        };
        if !broken.is_empty() {
            // The parser puts something in the place of what it could not read; that is nobody's mistake.
            findings.retain(|finding| {
                finding
                    .at
                    .as_ref()
                    .is_some_and(|at| !at.is_empty() && !is_broken(lines.of(at.start)))
            });
            let mut last = None;
            findings.extend(broken.into_iter().filter(|finding| {
                // What follows the first on a line mostly follows from it.
                let line = finding.at.as_ref().map(|at| lines.of(at.start));
                std::mem::replace(&mut last, line) != line || line.is_none()
            }));
        }
        findings.sort_by_key(|finding| finding.at.as_ref().map(|at| at.start));
        let all_toml = broken_lines.is_empty();
        shown.retain(|part| {
            let line = lines.of(part.start);
            line == lines.of(part.end) && !is_broken(line) && (all_toml || !quoting.secret)
        });
        shown.sort_by_key(|part| part.start);

        let mut quoted_broken = Vec::new();
        let mut diagnostics = Vec::with_capacity(findings.len());
        for Finding {
            severity,
            at,
            message,
            help,
        } in findings
        {
            let quote = at.map(|at| {
                let number = lines.of(at.start);
                let line = lines.range(number);
                if is_broken(number) && !quoting.secret {
                    shown_in_broken(text, line.clone(), quoting, &mut quoted_broken);
                }
                let first = shown.partition_point(|part| part.start < line.start);
                let parts = shown[first..]
                    .iter()
                    .take_while(|part| part.start < line.end);
                let masked = mask(text, line.clone(), quoting, parts.chain(&quoted_broken));
                quoted_broken.clear();
                cut(
                    number,
                    &masked,
                    at.start - line.start..at.end.min(line.end).max(at.start) - line.start,
                )
            });
            let place = Some(Place {
                origin: origin.to_owned(),
                quote,
            });
            diagnostics.push(Diagnostic {
                severity,
                message,
                help,
                place,
            });
        }
        diagnostics
    }
}

/// Replaces by `*` whatever is neither a known word, nor in `shown`, nor blank or bracket. Offsets stay as they are.
fn mask<'s>(
    text: &str,
    line: Range<usize>,
    quoting: Quoting,
    shown: impl Iterator<Item = &'s Range<usize>>,
) -> String {
    let mut masked = String::with_capacity(line.len());
    let mut shown = shown.peekable();
    let mut quote = None;
    let mut at = line.start;
    while at < line.end {
        while shown.next_if(|part| part.end <= at).is_some() {}
        if let Some(part) = shown.next_if(|part| part.start <= at) {
            let end = part.end.min(line.end);
            masked.extend(
                text[at..end]
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c }),
            );
            at = end;
            continue;
        }
        let rest = &text[at..line.end];
        let word = rest.bytes().take_while(|b| is_word(*b)).count();
        if word > 0 {
            if quote.is_none() && quoting.knows(&rest[..word]) {
                masked.push_str(&rest[..word]);
            } else {
                masked.extend(std::iter::repeat_n('*', word));
            }
            at += word;
            continue;
        }
        let Some(c) = rest.chars().next() else { break };
        let after_name =
            c == '.' && masked.ends_with(|before: char| before.is_ascii_alphanumeric());
        let keeps = c == ' '
            || c == '\t'
            || quote == Some(c)
            || (quote.is_none() && (after_name || "[]{}=,\"'#".contains(c)));
        if keeps {
            masked.push(c);
        } else {
            masked.extend(std::iter::repeat_n('*', c.len_utf8()));
        }
        match quote {
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        at += c.len_utf8();
    }
    masked
}

/// On a broken line of a file that holds no secrets, `option = value` may be shown if the option exists:
/// a forgotten quote is seen best with the value in sight.
fn shown_in_broken(
    text: &str,
    line: Range<usize>,
    quoting: Quoting,
    shown: &mut Vec<Range<usize>>,
) {
    let Some((name, value)) = text[line.clone()].split_once('=') else {
        return;
    };
    let quiet = name.trim() != "url" && !value.contains(['"', '\'', '#', '{', '@']);
    if quiet && quoting.knows(name.trim()) {
        shown.push(line.start + name.len()..line.end);
    }
}

/// The parser's sentences that operators meet most, said for them.
fn in_plain_words(error: &toml::de::Error) -> (&str, Option<&'static str>) {
    let message = error.message();
    let nothing_there = error.span().is_none_or(|span| span.is_empty());
    let is_about = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if message == "duplicate key" {
        ("this name is written twice", Some("keep one of them"))
    } else if message.starts_with("invalid multi-line") {
        (
            "a text in three quotes is not closed",
            Some("the opening quotes are somewhere above"),
        )
    } else if message.starts_with("invalid basic string, expected `\"`")
        || message.starts_with("invalid literal string, expected")
    {
        ("the closing quote is missing", None)
    } else if message.starts_with("string values must be quoted") && nothing_there {
        ("there is no value", None)
    } else if is_about(&[
        "must be quoted",
        "float",
        "integer",
        "leading zero",
        "date",
        "time",
        "numeric",
        "radix",
    ]) {
        (
            "this is neither a number nor text in quotes",
            Some("put text in double quotes"),
        )
    } else {
        (message, None)
    }
}

/// Keeps a line short and turns the part into what the renderer wants: whole characters, counted from 1.
fn cut(line: usize, masked: &str, span: Range<usize>) -> Quote {
    let span = masked.floor_char_boundary(span.start)..masked.ceil_char_boundary(span.end);
    let column = masked[..span.start].chars().count() + 1;
    let start = match span.start {
        near if near < LONGEST_QUOTE / 2 => 0,
        far => masked.floor_char_boundary(far - LONGEST_QUOTE / 4),
    };
    let end = masked.floor_char_boundary((start + LONGEST_QUOTE).min(masked.len()));
    let end = end.max(span.start);
    Quote {
        line,
        column,
        text: masked[start..end].to_owned(),
        span: span.start - start..span.end.min(end) - start,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Where lines start, to go from an offset to a line number and back.
struct Lines {
    starts: Vec<usize>,
    length: usize,
}

impl Lines {
    fn new(text: &str) -> Self {
        let starts = std::iter::once(0)
            .chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1))
            .collect();
        Self {
            starts,
            length: text.len(),
        }
    }

    /// Counted from 1.
    fn of(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// Without its line feed.
    fn range(&self, line: usize) -> Range<usize> {
        let start = self.starts[line - 1];
        let end = self.starts.get(line).map_or(self.length, |next| next - 1);
        start..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str, secret: bool) -> Vec<String> {
        let mut notes = Notes::default();
        let (_, errors) = toml::de::DeTable::parse_recoverable(text);
        errors.iter().for_each(|error| notes.not_toml(error, None));
        let value = text.find("shown").unwrap();
        notes.show(value..value + 5);
        notes.add(Severity::Error, Some(value..value + 5), "about it", "");
        let words = &["name", "value"];
        let diagnostics = notes.into_diagnostics("file", text, Quoting { words, secret });
        let quotes = diagnostics
            .into_iter()
            .filter_map(|found| found.place?.quote);
        quotes.map(|quote| quote.text).collect()
    }

    #[test]
    fn only_what_is_known_to_be_harmless_is_quoted() {
        let text = "name = \"shown\" # more\nvalue = 1\n";
        assert_eq!(quoted(text, true), ["name = \"shown\" # ****"]);
    }

    #[test]
    fn a_list_of_secrets_that_is_not_toml_shows_no_value_on_any_line() {
        let text = "name = \"shown\"\nvalue = \"x\nname = y\n";
        assert_eq!(
            quoted(text, true),
            ["name = \"*****\"", "value = \"*", "name = *"]
        );
        assert_eq!(
            quoted(text, false),
            ["name = \"shown\"", "value = \"*", "name = y"]
        );
    }

    #[test]
    fn offsets_hold_in_lines_of_any_letters_and_any_length() {
        let text = format!("x = [\"{}\", \"shown\"]", "é".repeat(5_000));
        let quote = quoted(&text, false).remove(0);
        assert!(
            quote.len() <= LONGEST_QUOTE && quote.ends_with("*\", \"shown\"]"),
            "{quote}"
        );
    }
}
