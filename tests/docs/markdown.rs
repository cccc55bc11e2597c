//! Markdown as far as our own documents use it: headings, links, fenced blocks and the comments before them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Document {
    /// Relative to the root of the repository, where tests run.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

#[derive(Debug)]
pub(crate) struct Block {
    /// Of its fence, counted from 1.
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) lines: Vec<String>,
    /// What stands after `run:` in the comment before it.
    pub(crate) mark: Option<String>,
}

/// Every Markdown file that is not built or installed.
pub(crate) fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    collect(Path::new("."), &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(
        found.len() >= 10,
        "only {} documents were found",
        found.len()
    );
    found
}

fn collect(folder: &Path, found: &mut Vec<Document>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            collect(&path, found);
        } else if name.ends_with(".md") {
            found.push(Document::read(&path));
        }
    }
}

impl Document {
    pub(crate) fn read(path: &Path) -> Self {
        Self {
            path: path.strip_prefix(".").unwrap_or(path).to_owned(),
            text: fs::read_to_string(path).unwrap(),
        }
    }

    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open = false;
        let mut before = "";
        // Of a fence in a list.
        let mut indent = "";
        for (at, line) in self.text.lines().enumerate() {
            match (open, line.trim_start().strip_prefix("```")) {
                (false, Some(language)) => {
                    blocks.push(Block {
                        line: at + 1,
                        language: language.trim().to_owned(),
                        lines: Vec::new(),
                        mark: mark(before),
                    });
                    open = true;
                    indent = &line[..line.len() - line.trim_start().len()];
                }
                (true, Some(_)) => open = false,
                (true, None) => {
                    let line = line.strip_prefix(indent).unwrap_or(line);
                    blocks.last_mut().unwrap().lines.push(line.to_owned());
                }
                (false, None) => {}
            }
            if !line.trim().is_empty() {
                before = line;
            }
        }
        assert!(!open, "{}: a fence is not closed", self.path.display());
        blocks
    }

    /// What a link's `#…` may name: headings as GitHub spells them, and `<a id="…">`.
    pub(crate) fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        for (_, line) in self.prose() {
            if let Some(heading) = line.strip_prefix('#') {
                let slug = slug(heading.trim_start_matches('#'));
                let again = (1..).map(|n| format!("{slug}-{n}"));
                let free = std::iter::once(slug.clone())
                    .chain(again)
                    .find(|slug| !anchors.contains(slug));
                anchors.extend(free);
            }
            let ids = line.split("<a id=\"").skip(1);
            anchors.extend(
                ids.filter_map(|rest| rest.split_once('"'))
                    .map(|(id, _)| id.to_owned()),
            );
        }
        anchors
    }

    /// Where each link leads, with its line.
    pub(crate) fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (at, line) in self.prose() {
            let outside_code: String = line.split('`').step_by(2).collect();
            let targets = outside_code.split("](").skip(1);
            links.extend(
                targets
                    .filter_map(|rest| rest.split_once(')'))
                    .map(|(target, _)| (at, target.to_owned())),
            );
        }
        links
    }

    /// The lines outside fences.
    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut open = false;
        self.text.lines().enumerate().filter_map(move |(at, line)| {
            let is_fence = line.trim_start().starts_with("```");
            open ^= is_fence;
            (!open && !is_fence).then_some((at + 1, line))
        })
    }
}

fn mark(line: &str) -> Option<String> {
    let inner = line.trim().strip_prefix("<!-- run:")?.strip_suffix("-->")?;
    Some(inner.trim().to_owned())
}

/// The anchor of a heading on GitHub.
pub(crate) fn slug(heading: &str) -> String {
    let text = heading.trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn headings_become_the_anchors_that_github_gives_them() {
    for (heading, anchor) in [
        (" `ERROR: 1001`", "error-1001"),
        (" `balance_low`", "balance_low"),
        (
            " What Sidekey did, and what you do",
            "what-sidekey-did-and-what-you-do",
        ),
    ] {
        assert_eq!(slug(heading), anchor);
    }
}
