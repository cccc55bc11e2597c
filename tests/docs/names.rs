//! Names of options and metrics that documents mention: they must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::markdown::{Document, documents};

#[test]
fn every_option_that_documents_name_exists() {
    let options = options();
    let sections: BTreeSet<_> = options
        .iter()
        .filter_map(|option| option.split_once('.'))
        .map(|(section, _)| section)
        .collect();
    let mut count = 0;
    for document in guides() {
        for word in quoted(&document.text) {
            let name = word.split(" = ").next().unwrap_or_default();
            let Some((section, option)) = name.split_once('.') else {
                continue;
            };
            if sections.contains(section) && is_name(option) {
                count += 1;
                assert!(
                    options.contains(name),
                    "{}: there is no option {name}",
                    document.path.display()
                );
            }
        }
    }
    assert!(count >= 30, "only {count} names were found");
}

/// In the source, because some are exposed only while there is something to tell.
#[test]
fn every_metric_that_documents_name_exists() {
    let source = source(Path::new("src/admin"));
    let mut count = 0;
    for document in guides() {
        for word in quoted(&document.text) {
            let name = word.split('{').next().unwrap_or_default();
            if let Some(metric) = name.strip_prefix("sidekey_")
                && is_name(metric)
            {
                count += 1;
                // The library appends these itself.
                let ends = ["", "_total", "_info", "_count", "_bucket"];
                let mut families = ends.iter().filter_map(|end| metric.strip_suffix(end));
                assert!(
                    families.any(|family| source.contains(&format!("\"{family}\""))),
                    "{}: there is no metric {name}",
                    document.path.display()
                );
            }
        }
    }
    assert!(count >= 10, "only {count} names were found");
}

fn source(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| match path.is_dir() {
            true => source(&path),
            false => fs::read_to_string(&path).unwrap(),
        })
        .collect()
}

/// Not the changelog, which also names what was, and not the chart, whose values are not options.
fn guides() -> Vec<Document> {
    let mut documents = documents();
    documents.retain(|document| {
        !document.path.ends_with("CHANGELOG.md") && !document.path.starts_with("helm")
    });
    documents
}

/// `section.option` for each line of the reference, also of those that are commented out because they have no default.
fn options() -> BTreeSet<String> {
    let mut section = String::new();
    let mut options = BTreeSet::new();
    for line in include_str!("../../conf/reference.toml").lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = name.0.to_owned();
            // A section is an option of the one that it is in.
            options.insert(section.clone());
        } else if let Some((option, _)) = line.split_once(" = ") {
            options.insert(format!("{section}.{option}"));
        }
    }
    options
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}
