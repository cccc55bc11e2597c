//! What `--help` says, as written, and scripts that shells accept.
//!
//! `UPDATE_GOLDEN=1 cargo test --test it help` writes the texts anew; read the difference before committing it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::{CommandFactory, Parser};
use sidekey::cli::Arguments;
use sidekey::config::environment::Environment;
use unicode_width::UnicodeWidthStr;

#[test]
fn every_command_has_help_with_examples_as_written() {
    let update = Environment::of_this_process()
        .get("UPDATE_GOLDEN")
        .is_some();
    let mut wrong = String::new();
    let mut check = |name: &str, help: &str| {
        for line in examples(help) {
            assert!(line.width() <= 80, "{name}: {line}");
        }
        let expected = Path::new("tests/golden/help").join(format!("{name}.txt"));
        if update {
            fs::write(&expected, help).unwrap();
        }
        if fs::read_to_string(&expected).ok().as_deref() != Some(help) {
            wrong += &format!("=== {name}\n{help}\n");
        }
    };
    // As in a pipe, whatever this runs in.
    let mut whole = Arguments::command().term_width(100);
    whole.build();
    check("sidekey", &whole.render_long_help().to_string());
    let mut count = 0;
    for command in whole.get_subcommands_mut() {
        if command.get_name() != "help" {
            let help = command.render_long_help().to_string();
            check(command.get_name(), &help);
            count += 1;
        }
    }
    assert!(count >= 12, "{count}");
    assert!(wrong.is_empty(), "other than written:\n{wrong}");
}

/// What an example says is what the command takes: comments, pipes and variables aside.
#[test]
fn every_example_is_understood() {
    let mut whole = Arguments::command();
    whole.build();
    let mut count = 0;
    let helps = whole.get_subcommands_mut();
    let helps = helps.filter(|command| command.get_name() != "help");
    for help in helps.map(|command| command.render_long_help().to_string()) {
        for line in examples(&help) {
            let Some((_, typed)) = line.split_once("sidekey ") else {
                continue;
            };
            let ends = ["  ", " | ", " || ", " > ", ")", "\"", ", "];
            let end = ends.iter().filter_map(|end| typed.find(end)).min();
            let words = typed[..end.unwrap_or(typed.len())].split_whitespace();
            let parsed = Arguments::try_parse_from(["sidekey"].into_iter().chain(words));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            count += 1;
        }
    }
    assert!(count >= 25, "{count}");
}

/// The lines of the examples.
fn examples(help: &str) -> Vec<&str> {
    let below = ["Examples:\n", "Start here:\n"]
        .iter()
        .find_map(|head| Some(help.split_once(head)?.1));
    let below = below.unwrap_or_else(|| panic!("no examples in {help}"));
    below.lines().take_while(|line| !line.is_empty()).collect()
}

/// Shells that are not installed are passed over; bash always is.
#[test]
fn shells_accept_the_completions() {
    let mut accepted = Vec::new();
    for (shell, arguments) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = completions(shell);
        assert!(script.contains("healthcheck"), "{shell}");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(script.as_bytes()).unwrap();
        let checked = Command::new(shell)
            .arg(arguments)
            .arg(file.path())
            .stdin(Stdio::null())
            .output();
        if let Ok(checked) = checked {
            let said = String::from_utf8_lossy(&checked.stderr).into_owned();
            assert!(checked.status.success(), "{shell}: {said}");
            accepted.push(shell);
        }
    }
    assert!(accepted.contains(&"bash"), "{accepted:?}");
}

/// What the user gets by TAB, in the one shell that everybody has.
#[test]
fn bash_completes_commands_and_options() {
    let ask = "COMP_WORDS=(sidekey status --w); COMP_CWORD=2; _sidekey sidekey --w status; echo \"${COMPREPLY[@]}\"";
    let script = format!("{}\n{ask}\n", completions("bash"));
    let said = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "--watch");
}

fn completions(shell: &str) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_sidekey"))
        .args(["completions", shell])
        .output()
        .unwrap();
    assert!(done.status.success());
    String::from_utf8(done.stdout).unwrap()
}
