//! What `--help` says, as written, and scripts that shells accept.
//!
//! `UPDATE_GOLDEN=1 cargo test --test it help` writes the texts anew; read the difference before committing it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use sidekey::cli::Arguments;
use sidekey::config::environment::Environment;

#[test]
fn every_command_has_help_with_examples_as_written() {
    let update = Environment::of_this_process()
        .get("UPDATE_GOLDEN")
        .is_some();
    let mut wrong = String::new();
    let mut whole = Arguments::command();
    whole.build();
    let names: Vec<String> = whole
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .filter(|name| name != "help")
        .collect();
    assert!(names.len() >= 11, "{names:?}");
    for name in &names {
        let command = whole.find_subcommand_mut(name).unwrap();
        let help = command.render_long_help().to_string();
        assert!(help.contains("Examples:\n  "), "{name} has no examples");
        let expected = Path::new("tests/golden/help").join(format!("{name}.txt"));
        if update {
            fs::write(&expected, &help).unwrap();
        }
        if fs::read_to_string(&expected).ok().as_deref() != Some(&help) {
            wrong += &format!("=== {name}\n{help}\n");
        }
    }
    assert!(wrong.is_empty(), "other than written:\n{wrong}");
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
