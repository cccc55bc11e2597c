//! `sidekey check` on a directory of configurations, most of them broken: what it says is written beside each.
//!
//! `UPDATE_GOLDEN=1 cargo test --test it check` writes the reports anew; read the difference before committing it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Parser;
use sidekey::cli::check;
use sidekey::config::environment::Environment;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    check: check::Args,
}

#[test]
fn reports_are_as_written_beside_the_configurations() {
    let update = Environment::of_this_process()
        .get("UPDATE_GOLDEN")
        .is_some();
    let mut wrong = String::new();
    let mut count = 0;
    for entry in fs::read_dir("tests/golden/check").unwrap() {
        let case = entry.unwrap().path();
        let report = check(&case);
        let expected = case.join("expected.txt");
        if update {
            fs::write(&expected, &report).unwrap();
        }
        if fs::read_to_string(&expected).ok().as_deref() != Some(&report) {
            wrong += &format!("=== {}\n{report}\n", case.display());
        }
        count += 1;
    }
    assert!(count >= 25, "only {count} cases were found");
    assert!(wrong.is_empty(), "other than written:\n{wrong}");
}

#[test]
fn a_key_of_another_certificate_is_found_before_the_start() {
    let case = tempfile::tempdir().unwrap();
    let [pair, other] =
        [(); 2].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
    let put = |name: &str, text: &str| fs::write(case.path().join(name), text).unwrap();
    put(
        "sidekey.toml",
        "[listen]\nhttps = [\"127.0.0.1:8443\"]\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n",
    );
    put("cert.pem", &pair.cert.pem());
    put("key.pem", &other.signing_key.serialize_pem());
    let report = check(case.path());
    assert!(
        report.starts_with("exit code 78")
            && report.contains("cannot be used with the certificate")
            && report.contains("sidekey.toml:4"),
        "{report}"
    );
    put("key.pem", &pair.signing_key.serialize_pem());
    let report = check(case.path());
    assert!(report.starts_with("exit code 0"), "{report}");
}

/// The exit code, then the report with paths as if it had been run in the case's own directory.
fn check(case: &Path) -> String {
    let directory = tempfile::tempdir().unwrap();
    copy(case, directory.path());
    let lines = |name: &str| fs::read_to_string(case.join(name)).unwrap_or_default();
    let variables = lines("env");
    let environment: Environment = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let arguments = lines("args");
    let mut args =
        Command::parse_from(["check"].into_iter().chain(arguments.split_whitespace())).check;
    args.config = Some(directory.path().join("sidekey.toml"));
    let mut out = Vec::new();
    let code = check::run(&args, environment, &mut out).unwrap();
    let prefix = format!("{}/", directory.path().display());
    format!(
        "exit code {code}\n\n{}",
        String::from_utf8(out).unwrap().replace(&prefix, "")
    )
}

/// With the modes that secrets should have; a checkout has others.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let source: PathBuf = entry.unwrap().path();
        let target = to.join(source.file_name().unwrap());
        if source.is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}
