//! The failure guide has a heading for whatever may go wrong.

use std::collections::BTreeSet;
use std::path::Path;

use sidekey::alerts::cause::Cause;
use sidekey::store::Unsent;
use sidekey::tenants::meter::Limit;
use sidekey::vendor::profile::Profile;

use crate::markdown::{Document, slug};

#[test]
fn every_code_of_every_vendor_is_in_the_guide() {
    let codes: BTreeSet<_> = Profile::NAMES
        .iter()
        .flat_map(|name| Profile::builtin(name).unwrap().codes.into_keys())
        .collect();
    assert!(codes.len() >= 40, "only {codes:?} were found");
    let guide = guide();
    let (_, of_vendors) = guide.text.split_once("## Codes of the vendor").unwrap();
    for code in codes {
        let row = format!("</a>`{code}`");
        assert!(of_vendors.contains(&row), "{code} is not in the guide");
    }
}

#[test]
fn every_code_of_our_own_is_in_the_guide() {
    let source = include_str!("../../src/request/refuse.rs");
    let quoted = source.split('"').skip(1).step_by(2);
    let is_code = |text: &&str| text.starts_with("ERROR_") || text.starts_with("CAPCHA_");
    holds(quoted.filter(is_code).map(str::to_owned).collect(), 9);
}

#[test]
fn every_refusal_of_our_own_is_in_the_guide_by_the_name_that_the_log_gives_it() {
    let source = include_str!("../../src/request/refuse.rs");
    let labels = source.split_once("pub fn outcome").unwrap().1;
    let labels = labels.split_once("/// Which limit").unwrap().0;
    let guide = guide();
    let mut count = 0;
    let limits = [Limit::Daily, Limit::Budget, Limit::Tasks, Limit::Rate].map(Limit::name);
    let unsent = [Unsent::Expired, Unsent::Dropped, Unsent::Cancelled].map(Unsent::as_str);
    let written = labels.split('"').skip(1).step_by(2);
    for label in written.chain(limits).chain(unsent) {
        count += 1;
        assert!(
            guide.text.contains(&format!("`{label}`")),
            "{label} is not in the guide"
        );
    }
    assert!(count >= 20, "only {count} names were found");
}

#[test]
fn every_cause_of_an_alert_is_in_the_guide() {
    holds(
        Cause::ALL
            .iter()
            .map(|cause| cause.name().to_owned())
            .collect(),
        10,
    );
}

#[test]
fn every_driven_client_is_in_the_list_of_clients() {
    let clients = Document::read(Path::new("docs/clients.md"));
    let links: Vec<_> = clients
        .links()
        .into_iter()
        .map(|(_, target)| target)
        .collect();
    for language in ["python", "node"] {
        for entry in std::fs::read_dir(format!("tests/clients/{language}")).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            let link = format!("../tests/clients/{language}/{name}");
            assert!(
                !name.contains("_client.") || links.contains(&link),
                "docs/clients.md does not link {link}"
            );
        }
    }
}

#[test]
fn changes_of_clients_are_those_that_their_drivers_make() {
    let clients = Document::read(Path::new("docs/clients.md"));
    let mut count = 0;
    for said in clients.text.split("<!-- as: ").skip(1) {
        let (said, rest) = said.split_once(" -->").unwrap();
        let (driver, change) = said.split_once(" has ").unwrap();
        let block = rest.split("```").nth(1).unwrap();
        let driver_text = std::fs::read_to_string(driver).unwrap();
        assert!(driver_text.contains(change), "{driver} has no {change}");
        assert!(block.contains(change), "docs/clients.md shows no {change}");
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn what_the_threat_model_cites_says_why_it_is_as_it_is() {
    let model = Document::read(Path::new("docs/threat-model.md"));
    let mut count = 0;
    for (_, target) in model.links() {
        if let Some(file) = target.strip_prefix("../src/") {
            let text = std::fs::read_to_string(format!("src/{file}")).unwrap();
            assert!(
                text.contains("SECURITY:"),
                "src/{file} has no SECURITY: comment"
            );
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} files are cited");
}

fn holds(names: BTreeSet<String>, at_least: usize) {
    assert!(names.len() >= at_least, "only {names:?} were found");
    let anchors = guide().anchors();
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !anchors.contains(&slug(name)))
        .collect();
    assert!(missing.is_empty(), "docs/failures.md lacks {missing:?}");
}

fn guide() -> Document {
    Document::read(Path::new("docs/failures.md"))
}
