//! Commands that documents show: each line after `$ ` is run, in order, and what the document shows below it must come.
//!
//! A document has a directory of its own. Its settings that begin with their file's name (`# keys.toml`) are written there
//! where they stand. A comment before a block changes how it is run:
//!
//! - `<!-- run: server -->`: it goes on running; the ports that documents name become those on which it really listens.
//! - `<!-- run: until -->`: again and again, until it prints what is shown.
//! - `<!-- run: exits 78 -->`: this is its exit code.
//! - `<!-- run: skip because … -->`: not at all.
//!
//! A document that says `<!-- run: from nothing -->` starts its own servers. Behind all others a sandbox and Sidekey run,
//! with the files of `world`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread::{self, sleep};

use tempfile::TempDir;
use tokio::time::Instant;

use crate::markdown::{Block, Document, documents};
use crate::output::shows;
use crate::servers::{Addresses, BETWEEN_LOOKS, PATIENCE, Server, program, write};
use crate::settings::file_name;

#[test]
fn every_command_does_what_its_document_says() {
    for needed in ["bash", "curl", "openssl"] {
        let here = Command::new(needed).arg("--version").output().is_ok();
        assert!(
            here,
            "there is no {needed}: install it (Debian: apt-get install {needed})"
        );
    }
    let run: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = documents()
            .into_iter()
            .map(|document| scope.spawn(move || follow(&document)))
            .collect();
        running
            .into_iter()
            .map(|running| running.join().unwrap())
            .collect()
    });
    let failures: Vec<_> = run
        .iter()
        .filter_map(|run| run.as_ref().err().map(String::as_str))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let count: usize = run.into_iter().flatten().sum();
    assert!(count >= 60, "only {count} commands were found");
}

#[test]
fn commands_are_shown_where_they_are_run() {
    for document in documents() {
        for block in document.blocks() {
            let place = format!("{}:{}", document.path.display(), block.line);
            assert!(
                !matches!(block.language.as_str(), "sh" | "bash" | "shell" | "zsh"),
                "{place}: write ```console and `$ ` before each command, so that it is run"
            );
            if block.language == "console" {
                let first = block.lines.first().map(String::as_str).unwrap_or_default();
                assert!(first.starts_with("$ "), "{place}: begins with no command");
            }
        }
    }
}

/// All of one document, as a reader would. Says how many commands were run.
fn follow(document: &Document) -> Result<usize, String> {
    let mut desk = Desk::default();
    let from_nothing = document.text.contains("<!-- run: from nothing -->");
    for block in document.blocks() {
        desk.take(&block, from_nothing)
            .map_err(|why| format!("{}:{}: {why}", document.path.display(), block.line))?;
    }
    Ok(desk.count)
}

#[derive(Default)]
struct Desk {
    folder: Option<TempDir>,
    servers: Vec<Server>,
    addresses: Addresses,
    count: usize,
}

enum How {
    Once { code: i32 },
    Until,
    Serve,
    Skip,
}

impl Desk {
    fn take(&mut self, block: &Block, from_nothing: bool) -> Result<(), String> {
        if block.language == "toml"
            && from_nothing
            && let Some(name) = file_name(block)
        {
            self.open(from_nothing)?;
            let text = self.addresses.put_in(&block.lines.join("\n"));
            write(&self.path().join(name), &text);
        }
        if block.language != "console" {
            return Ok(());
        }
        let how = how(block.mark.as_deref())?;
        if matches!(how, How::Skip) {
            return Ok(());
        }
        self.open(from_nothing)?;
        for (command, shown) in steps(block) {
            self.count += 1;
            self.run(&command, &shown, &how)
                .map_err(|why| format!("`{command}`: {why}"))?;
        }
        Ok(())
    }

    fn open(&mut self, from_nothing: bool) -> Result<(), String> {
        if self.folder.is_some() {
            return Ok(());
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["conf", "docs", "src", "tests"] {
            symlink(fs::canonicalize(name).unwrap(), folder.path().join(name)).unwrap();
        }
        // So that an HTTP error is a failure.
        write(
            &folder.path().join(".curlrc"),
            "fail-with-body\nsilent\nshow-error\n",
        );
        self.folder = Some(folder);
        if from_nothing {
            return Ok(());
        }
        for command in ["sidekey sandbox", "sidekey run"] {
            for entry in fs::read_dir(WORLD).unwrap() {
                let path = entry.unwrap().path();
                let text = self.addresses.put_in(&fs::read_to_string(&path).unwrap());
                write(&self.path().join(path.file_name().unwrap()), &text);
            }
            self.run(command, &[], &How::Serve)?;
        }
        let keys = ["account-1 … healthy …".to_owned()];
        self.run("sidekey status", &keys, &How::Until)
    }

    fn path(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    fn run(&mut self, command: &str, shown: &[String], how: &How) -> Result<(), String> {
        match how {
            How::Skip => Ok(()),
            How::Once { code } => {
                let (ended, printed) = self.output(command);
                if ended != Some(*code) {
                    return Err(format!("exit code {ended:?}, not {code}:\n{printed}"));
                }
                shows(shown, &printed).map_err(|line| {
                    format!("the document shows\n{line}\nbut it printed\n{printed}")
                })
            }
            How::Until => self.until(shown, |desk| desk.output(command).1),
            How::Serve => {
                let (folder, number) = (self.path().to_owned(), self.servers.len());
                let server = Server::start(
                    &self.addresses.put_in(command),
                    &folder,
                    number,
                    &mut self.addresses,
                )?;
                self.servers.push(server);
                self.until(shown, |desk| desk.servers[number].printed())
            }
        }
    }

    fn until(&self, shown: &[String], printed: impl Fn(&Self) -> String) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let printed = printed(self);
            match shows(shown, &printed) {
                Ok(()) => return Ok(()),
                Err(line) if Instant::now() > deadline => {
                    return Err(format!("never printed\n{line}\nbut at last\n{printed}"));
                }
                Err(_) => sleep(BETWEEN_LOOKS),
            }
        }
    }

    /// Its exit code, and what it printed.
    fn output(&self, command: &str) -> (Option<i32>, String) {
        let command = self.addresses.put_in(command);
        let done = program("bash", self.path())
            .args(["-c", &command])
            .env("SIDEKEY_ADMIN__LISTEN", &self.addresses.admin)
            .env("TOKEN", ALICE)
            .output()
            .unwrap();
        let printed = [done.stdout, done.stderr].concat();
        (
            done.status.code(),
            String::from_utf8_lossy(&printed).into_owned(),
        )
    }
}

fn how(mark: Option<&str>) -> Result<How, String> {
    match mark {
        None => Ok(How::Once { code: 0 }),
        Some("server") => Ok(How::Serve),
        Some("until") => Ok(How::Until),
        Some(mark) => match mark.split_once(' ') {
            Some(("exits", code)) => code
                .parse()
                .map(|code| How::Once { code })
                .map_err(|error| error.to_string()),
            Some(("skip", why)) if why.len() > "because ".len() => Ok(How::Skip),
            _ => Err(format!("nobody knows how to run this: {mark}")),
        },
    }
}

/// Each command with the lines that are shown below it.
fn steps(block: &Block) -> Vec<(String, Vec<String>)> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for line in &block.lines {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), Vec::new())),
            (None, Some((command, _))) if command.ends_with('\\') => {
                *command = format!("{command}\n{line}");
            }
            (None, Some((_, shown))) => shown.push(line.clone()),
            (None, None) => {}
        }
    }
    steps
}

const WORLD: &str = "tests/docs/world";
/// Her token in `world`.
const ALICE: &str = "8a1f0c6d5b7e4f32a9c0d1e2f3a4b5c6";
