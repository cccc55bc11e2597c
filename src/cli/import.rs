//! `sidekey import`: a users file of a home-made proxy, turned into keys.toml and tenants.toml.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::token;
use crate::config::is_name;

/// Turn a users file into keys.toml and tenants.toml
///
/// Reads {"users":[{"id","api_key","daily_limit","role"}]}. Each user becomes a tenant with a new token, each different
/// api_key one key; `ENV:NAME` values are kept as they are. The files can be read by their owner only, what is there already is
/// left alone, and nothing secret is printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey import team.json               writes ./keys.toml and ./tenants.toml
  sidekey import team.json --out conf.d  writes them there

It says what to write into sidekey.toml then. Users send their new token where
they sent their api_key.")]
pub struct Args {
    /// The users file
    file: PathBuf,
    /// Where to write; made if it is not there, for its owner only
    #[arg(long, default_value = ".", value_name = "DIR")]
    out: PathBuf,
}

#[derive(Deserialize)]
struct Team {
    users: Vec<User>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    id: Id,
    api_key: Option<String>,
    daily_limit: Option<u32>,
    role: Option<String>,
}

/// Some files number their users.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
}

/// What is wrong with the file. Says where, and repeats no value.
#[derive(Debug, PartialEq, thiserror::Error)]
enum Wrong {
    #[error(
        "user {0}: an id is 1 to 64 letters, digits and . _ - @ +, and does not look like a key"
    )]
    Id(usize),
    #[error("user {0}: an earlier user has the same id")]
    Twice(usize),
    #[error("user {0}: the role is admin, user or service")]
    Role(usize),
    #[error("user {0}: the daily limit must be at least 1; leave it out for no limit")]
    Limit(usize),
}

pub fn run(args: &Args, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
    let file = args.file.display();
    let text = match fs::read_to_string(&args.file) {
        Ok(text) => text,
        Err(error) => {
            writeln!(err, "sidekey import: cannot read {file}: {error}")?;
            return Ok(78);
        }
    };
    let team: Team = match serde_json::from_str(&text) {
        Ok(team) => team,
        Err(error) => {
            // serde's own words may repeat a value.
            let (line, column) = (error.line(), error.column());
            let form =
                r#"{"users":[{"id":"alice","api_key":"…","daily_limit":500,"role":"user"}]}"#;
            writeln!(
                err,
                "sidekey import: {file}:{line}:{column}: this is not {form}"
            )?;
            return Ok(78);
        }
    };
    let made = match convert(&team.users, token::make) {
        Ok(made) => made?,
        Err(wrong) => {
            writeln!(err, "sidekey import: {file}: {wrong}")?;
            return Ok(78);
        }
    };
    let places = [("keys.toml", &made.keys), ("tenants.toml", &made.tenants)];
    for (name, _) in places {
        let path = args.out.join(name);
        if path.exists() {
            writeln!(
                err,
                "sidekey import: {} is there already; move it away, or use --out DIR",
                path.display()
            )?;
            return Ok(78);
        }
    }
    if let Err(error) = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&args.out)
    {
        let directory = args.out.display();
        writeln!(err, "sidekey import: cannot make {directory}: {error}")?;
        return Ok(78);
    }
    for (name, text) in places {
        let path = args.out.join(name);
        if let Err(error) = write_private(&path, text) {
            writeln!(
                err,
                "sidekey import: cannot write {}: {error}",
                path.display()
            )?;
            return Ok(78);
        }
        writeln!(out, "wrote {}", path.display())?;
    }
    let config = args.out.join("sidekey.toml");
    let (config, check) = match args.out == Path::new(".") {
        true => (Path::new("sidekey.toml").display(), String::new()),
        false => (config.display(), format!(" --config {}", config.display())),
    };
    writeln!(
        out,
        "tenants: {}, keys: {}\n\n\
         In {config} write\n\n\
         tenants_file = \"tenants.toml\"\n\n\
         [clients]\n\
         mode = \"tenants\"\n\n\
         then run `sidekey check{check}` and hand each tenant its token.",
        made.tenant_count, made.key_count
    )?;
    Ok(0)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

struct Made {
    keys: String,
    tenants: String,
    key_count: usize,
    tenant_count: usize,
}

fn convert(
    users: &[User],
    mut make_token: impl FnMut() -> io::Result<String>,
) -> Result<io::Result<Made>, Wrong> {
    let mut ids = BTreeSet::new();
    // By value, so that users who share a key share it here as well; named after the first of them.
    let mut keys: BTreeMap<&str, String> = BTreeMap::new();
    let mut keys_text = String::from("# Made by `sidekey import`.\n");
    let mut tenants_text =
        String::from("# Made by `sidekey import`. A tenant's clients send its token as `key`.\n");
    for (index, user) in users.iter().enumerate() {
        let number = index + 1;
        let id = match &user.id {
            Id::Text(text) => text.clone(),
            Id::Number(number) => number.to_string(),
        };
        if !is_name(&id) {
            return Err(Wrong::Id(number));
        }
        if !ids.insert(id.clone()) {
            return Err(Wrong::Twice(number));
        }
        let role = user.role.as_deref().unwrap_or("user");
        if !["admin", "user", "service"].contains(&role) {
            return Err(Wrong::Role(number));
        }
        if user.daily_limit == Some(0) {
            return Err(Wrong::Limit(number));
        }
        let api_key = user
            .api_key
            .as_deref()
            .map(str::trim)
            .filter(|key| !key.is_empty());
        let key = api_key.map(|value| {
            let name = keys.entry(value).or_insert_with(|| {
                keys_text += &format!(
                    "\n[[key]]\nname = {}\nvalue = {}\n",
                    quoted(&id),
                    quoted(value)
                );
                id.clone()
            });
            name.clone()
        });
        let token = match make_token() {
            Ok(token) => token,
            Err(error) => return Ok(Err(error)),
        };
        tenants_text += &format!(
            "\n[[tenant]]\nname = {}\ntoken = {}\n",
            quoted(&id),
            quoted(&token)
        );
        if let Some(key) = key {
            tenants_text += &format!("keys = [{}]\n", quoted(&key));
        }
        if let Some(limit) = user.daily_limit {
            tenants_text += &format!("daily_limit = {limit}\n");
        }
        if role != "user" {
            tenants_text += &format!("role = {}\n", quoted(role));
        }
    }
    if keys.is_empty() {
        keys_text += "\nkey = []\n";
    }
    if users.is_empty() {
        tenants_text += "\ntenant = []\n";
    }
    Ok(Ok(Made {
        keys: keys_text,
        tenants: tenants_text,
        key_count: keys.len(),
        tenant_count: users.len(),
    }))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn converted(json: &str) -> Result<Made, Wrong> {
        let team: Team = serde_json::from_str(json).unwrap();
        let mut last = 0;
        let token = || {
            last += 1;
            Ok(format!("{last:032}"))
        };
        convert(&team.users, token).map(Result::unwrap)
    }

    #[test]
    fn users_become_tenants_with_their_keys_and_env_values_stay() {
        let made = converted(
            r#"{"users":[
                {"id":"alice","api_key":"ENV:ALICE_KEY","daily_limit":500,"role":"admin"},
                {"id":"bob","api_key":"0123456789abcdef0123456789abcdef"},
                {"id":7,"api_key":"0123456789abcdef0123456789abcdef","role":"service"},
                {"id":"carol"}]}"#,
        )
        .unwrap();
        assert_eq!((made.key_count, made.tenant_count), (2, 4));
        insta::assert_snapshot!(made.keys + "\n=== tenants.toml\n" + &made.tenants);
    }

    #[test]
    fn what_cannot_be_a_tenant_is_named_by_its_place() {
        let wrong = |users: &str| converted(&format!(r#"{{"users":[{users}]}}"#)).err();
        assert_eq!(wrong(r#"{"id":"a b"}"#), Some(Wrong::Id(1)));
        assert_eq!(wrong(r#"{"id":"a"},{"id":"a"}"#), Some(Wrong::Twice(2)));
        assert_eq!(wrong(r#"{"id":"a","role":"root"}"#), Some(Wrong::Role(1)));
        assert_eq!(
            wrong(r#"{"id":"a","daily_limit":0}"#),
            Some(Wrong::Limit(1))
        );
    }

    #[test]
    fn the_directory_is_made_for_its_owner_and_named_in_what_to_do_next() {
        let place = tempfile::tempdir().unwrap();
        let (file, directory) = (place.path().join("team.json"), place.path().join("a/b"));
        fs::write(&file, r#"{"users":[{"id":"alice"}]}"#).unwrap();
        let args = Args {
            file,
            out: directory.clone(),
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(run(&args, &mut out, &mut err).unwrap(), 0);
        let said = String::from_utf8(out).unwrap();
        let config = directory.join("sidekey.toml");
        let next = format!("`sidekey check --config {}`", config.display());
        assert!(said.contains(&next), "{said}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join("keys.toml")), 0o600);
        // What is there stays.
        assert_eq!(run(&args, &mut io::sink(), &mut err).unwrap(), 78);
        let said = String::from_utf8(err).unwrap();
        assert!(said.contains("is there already"), "{said}");
    }
}
