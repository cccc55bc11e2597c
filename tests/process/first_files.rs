//! `sidekey token` and `sidekey import`: what they write is private, says nothing secret, and is accepted by `check`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::support::sidekey;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const USERS: &str = r#"{"users":[
    {"id":"alice","api_key":"0123456789abcdef0123456789abcdef","daily_limit":500,"role":"admin"},
    {"id":"bob","api_key":"ENV:BOB_KEY"},
    {"id":"carol","role":"service"}]}"#;
const CONFIG: &str = "tenants_file = \"tenants.toml\"\n[clients]\nmode = \"tenants\"\n";

#[test]
fn an_imported_team_is_private_and_accepted_by_check() {
    let place = tempfile::tempdir().unwrap();
    write(&place, "team.json", USERS);
    let done = run(&place, &["import", "team.json"]);
    let said = text(&done);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(said.contains("tenants: 3, keys: 2"), "{said}");
    let (keys, tenants) = (read(&place, "keys.toml"), read(&place, "tenants.toml"));
    for file in ["keys.toml", "tenants.toml"] {
        let mode = fs::metadata(place.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert!(keys.contains(KEY) && keys.contains("ENV:BOB_KEY"));
    let tokens: Vec<_> = tenants
        .lines()
        .filter_map(|line| line.strip_prefix("token = \"")?.strip_suffix('"'))
        .collect();
    assert_eq!(tokens.len(), 3, "{tenants}");
    for secret in tokens.into_iter().chain([KEY]) {
        assert_eq!(secret.len(), 32);
        assert!(!said.contains(secret), "{said}");
    }

    write(&place, "sidekey.toml", CONFIG);
    let checked = run(&place, &["check", "--strict"]);
    let report = text(&checked);
    // Carol has no key, and the file no pool for her.
    assert!(
        report.contains("tenant `carol`: no key is in the pool `default`"),
        "{report}"
    );
    write(
        &place,
        "team.json",
        &USERS.replace(
            "{\"id\":\"carol\",\"role\":\"service\"}",
            "{\"id\":\"carol\",\"api_key\":\"ENV:BOB_KEY\"}",
        ),
    );
    assert_eq!(
        run(&place, &["import", "team.json", "--out", "again"])
            .status
            .code(),
        Some(0)
    );
    write(&place, "again/sidekey.toml", CONFIG);
    let checked = run(
        &place,
        &["check", "--strict", "--config", "again/sidekey.toml"],
    );
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
    assert!(
        text(&checked).contains("2 keys, 3 tenants"),
        "{}",
        text(&checked)
    );
}

#[test]
fn an_import_overwrites_nothing_and_repeats_nothing_of_a_file_that_it_cannot_read() {
    let place = tempfile::tempdir().unwrap();
    for (content, expected) in [
        (
            format!("{{\"users\":[{{\"id\":\"a\",\"api_key\":\"{KEY}\",}}]}}"),
            "team.json:1:",
        ),
        (
            format!("{{\"users\":[{{\"id\":\"a\",\"key\":\"{KEY}\"}}]}}"),
            "team.json:1:",
        ),
        (format!("{{\"users\":[{{\"id\":\"{KEY} \"}}]}}"), "user 1"),
        (format!("[\"{KEY}\"]"), "team.json:1:"),
    ] {
        write(&place, "team.json", &content);
        let refused = run(&place, &["import", "team.json"]);
        let said = text(&refused);
        assert_eq!(refused.status.code(), Some(78), "{said}");
        assert!(said.contains(expected) && !said.contains(KEY), "{said}");
        assert!(!place.path().join("keys.toml").exists());
    }
    write(&place, "team.json", USERS);
    write(&place, "tenants.toml", "mine");
    let refused = run(&place, &["import", "team.json"]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(
        text(&refused).contains("is there already"),
        "{}",
        text(&refused)
    );
    assert_eq!(read(&place, "tenants.toml"), "mine");
    assert!(!place.path().join("keys.toml").exists());
    let missing = run(&place, &["import", "none.json"]);
    assert_eq!(missing.status.code(), Some(78));
    assert!(text(&missing).contains("cannot read none.json"));
    let nowhere = run(
        &place,
        &["import", "team.json", "--out", "tenants.toml/sub"],
    );
    assert_eq!(nowhere.status.code(), Some(78), "{}", text(&nowhere));
    assert_eq!(run(&place, &["import"]).status.code(), Some(64));
}

#[test]
fn a_token_or_its_hash_goes_into_the_tenants_file() {
    let place = tempfile::tempdir().unwrap();
    let made = run(&place, &["token", "--sha256"]);
    assert_eq!(made.status.code(), Some(0));
    let lines = String::from_utf8(made.stdout).unwrap();
    let (token, hash) = lines.trim_end().split_once('\n').unwrap();
    assert_eq!((token.len(), hash.len()), (32, 64));
    let other = run(&place, &["token"]);
    assert_ne!(other.stdout, format!("{token}\n").into_bytes());
    write(
        &place,
        "keys.toml",
        &format!(
            "[[key]]\nname = \"a\"\nvalue = \"{KEY}\"\n[[key]]\nname = \"b\"\nvalue = \"ENV:BOB_KEY\"\n"
        ),
    );
    write(&place, "sidekey.toml", CONFIG);
    for line in [
        format!("token = {token:?}"),
        format!("token_sha256 = {hash:?}"),
    ] {
        write(
            &place,
            "tenants.toml",
            &format!("[[tenant]]\nname = \"alice\"\n{line}\n"),
        );
        let checked = run(&place, &["check", "--strict"]);
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
    }
    // Both are the same token.
    let both = format!(
        "[[tenant]]\nname = \"alice\"\ntoken = {token:?}\n[[tenant]]\nname = \"bob\"\ntoken_sha256 = {hash:?}\n"
    );
    write(&place, "tenants.toml", &both);
    let checked = run(&place, &["check"]);
    assert!(
        text(&checked).contains("have the same token"),
        "{}",
        text(&checked)
    );
    assert_eq!(run(&place, &["token", "alice"]).status.code(), Some(64));
}

#[test]
fn help_shows_how_they_are_used() {
    let place = tempfile::tempdir().unwrap();
    for (command, example) in [
        ("token", "sidekey token --sha256"),
        ("import", "sidekey import team.json --out conf.d"),
    ] {
        let help = run(&place, &[command, "--help"]);
        assert_eq!(help.status.code(), Some(0));
        assert!(text(&help).contains(example), "{}", text(&help));
    }
}

fn run(place: &TempDir, arguments: &[&str]) -> Output {
    let mut command = sidekey();
    command
        .args(arguments)
        .current_dir(place.path())
        .env("BOB_KEY", "fedcba9876543210fedcba9876543210");
    command.output().unwrap()
}

/// All that was printed.
fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn write(place: &TempDir, name: &str, text: &str) {
    let path = place.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn read(place: &TempDir, name: impl AsRef<Path>) -> String {
    fs::read_to_string(place.path().join(name)).unwrap()
}
