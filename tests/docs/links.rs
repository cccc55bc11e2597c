//! Links between files and to headings.

use std::path::Path;

use crate::markdown::{Document, documents};

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let mut broken = String::new();
    let mut count = 0;
    for document in documents() {
        for (line, target) in document.links() {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            count += 1;
            if let Err(why) = resolve(&document, &target) {
                broken += &format!("{}:{line}: {target}: {why}\n", document.path.display());
            }
        }
    }
    assert!(count >= 30, "only {count} links were found");
    assert!(broken.is_empty(), "{broken}");
}

fn resolve(from: &Document, target: &str) -> Result<(), &'static str> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = from.path.parent().unwrap_or_else(|| Path::new(""));
    let path = match file {
        "" => from.path.clone(),
        file => folder.join(file),
    };
    if !Path::new(".").join(&path).exists() {
        return Err("no such file");
    }
    if anchor.is_empty() || Document::read(&path).anchors().contains(anchor) {
        Ok(())
    } else {
        Err("no such heading")
    }
}

#[test]
fn the_index_names_every_document() {
    let index = Document::read(Path::new("docs/README.md"));
    let linked: Vec<_> = index
        .links()
        .into_iter()
        .map(|(_, target)| target)
        .collect();
    for document in documents() {
        let Ok(name) = document.path.strip_prefix("docs") else {
            continue;
        };
        let name = name.to_string_lossy().into_owned();
        assert!(
            name == "README.md" || linked.contains(&name),
            "docs/README.md does not link {name}"
        );
    }
}
