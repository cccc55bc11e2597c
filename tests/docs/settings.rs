//! Settings that documents show: `sidekey check` must take them.
//!
//! The first line of a block says which file it is: `# keys.toml`, `# tenants.toml`, `# sandbox.toml`, `# sidekey.toml`.
//! Without such a line it is sidekey.toml.

use std::fs;
use std::path::Path;
use std::process::Command;

use sidekey::sandbox::SandboxConfig;

use crate::markdown::{Block, documents};
use crate::servers::{program, write};

#[test]
fn every_toml_block_is_taken_by_check() {
    let mut refused = String::new();
    let mut count = 0;
    for document in documents() {
        for block in document.blocks() {
            if block.language == "toml" {
                count += 1;
                if let Err(report) = check(&block) {
                    refused += &format!("{}:{}: {report}\n", document.path.display(), block.line);
                }
            }
        }
    }
    assert!(count >= 10, "only {count} blocks were found");
    assert!(refused.is_empty(), "{refused}");
}

/// Which file it is, where its first line says so.
pub(crate) fn file_name(block: &Block) -> Option<String> {
    let first = block.lines.first()?.strip_prefix("# ")?;
    let name = first.split([' ', ',', ':']).next()?;
    name.ends_with(".toml").then(|| name.to_owned())
}

fn check(block: &Block) -> Result<(), String> {
    let name = file_name(block).unwrap_or_else(|| "sidekey.toml".to_owned());
    let text = block.lines.join("\n");
    let folder = tempfile::tempdir().unwrap();
    if name == "sandbox.toml" {
        let config: SandboxConfig = toml::from_str(&text).map_err(|error| error.to_string())?;
        return config.check().map_err(|error| error.to_string());
    }
    surroundings(folder.path(), &name);
    write(&folder.path().join(&name), &text);
    let mut command = program("sidekey", folder.path());
    command.arg("check");
    for name in variables(&text) {
        command.env(name, format!("{name:0>32}"));
    }
    run(command)
}

/// What one file needs of the others.
fn surroundings(folder: &Path, shown: &str) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    write(&folder.join("cert.pem"), &certified.cert.pem());
    write(
        &folder.join("key.pem"),
        &certified.signing_key.serialize_pem(),
    );
    write(&folder.join("ca.pem"), &certified.cert.pem());
    fs::create_dir(folder.join("tls")).unwrap();
    for name in ["cert.pem", "key.pem"] {
        fs::copy(folder.join(name), folder.join("tls").join(name)).unwrap();
    }
    write(
        &folder.join("admin-token"),
        "an-admin-token-of-32-characters-",
    );
    write(
        &folder.join("second.key"),
        "0123456789abcdef0123456789abcd02",
    );
    let keys: String = ["account-1", "alice", "acme", "env-1"]
        .iter()
        .map(|name| format!("[[key]]\nname = \"{name}\"\nvalue = \"{name:0>32}\"\n"))
        .collect();
    write(&folder.join("keys.toml"), &keys);
    write(
        &folder.join("tenants.toml"),
        "[[tenant]]\nname = \"somebody\"\ntoken = \"0123456789abcdef0123456789abcd99\"\n",
    );
    if shown == "tenants.toml" {
        let config = "tenants_file = \"tenants.toml\"\n[clients]\nmode = \"tenants\"\n";
        write(&folder.join("sidekey.toml"), config);
    }
}

/// Those that the settings name as `ENV:NAME`.
fn variables(text: &str) -> Vec<&str> {
    let after = text.split("ENV:").skip(1);
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    after
        .filter_map(|rest| rest.split(|c| !is_part(c)).next())
        .collect()
}

fn run(mut command: Command) -> Result<(), String> {
    let done = command.output().unwrap();
    if done.status.success() {
        return Ok(());
    }
    Err(format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    ))
}
