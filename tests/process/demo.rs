//! `sidekey demo`, interrupted and troubled.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Program, sidekey};

#[test]
fn told_to_stop_in_the_middle_of_the_show_it_ends_and_leaves_nothing() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let place = tempfile::tempdir().unwrap();
        let program = demo(place.path(), &["--exit-after", "1000000"]);
        program.wait_for_line("solved-");
        program.signal(signal);
        let (status, printed) = program.wait();
        assert_eq!(status.code(), Some(0), "{signal:?}: {printed}");
        assert_eq!(files(&place), 0, "{signal:?}");
    }
}

#[test]
fn one_signal_is_enough_while_it_shows_and_while_it_serves() {
    for (before, invites) in [("admin port", false), ("Ctrl-C ends", true)] {
        let place = tempfile::tempdir().unwrap();
        let program = demo(place.path(), &[]);
        program.wait_for_line(before);
        program.signal(Signal::INT);
        let (status, printed) = program.wait();
        assert_eq!(status.code(), Some(0), "{printed}");
        assert_eq!(printed.contains("Ctrl-C ends"), invites, "{printed}");
        assert_eq!(files(&place), 0);
    }
}

#[test]
fn a_refused_submit_ends_it_with_70() {
    let place = tempfile::tempdir().unwrap();
    let program = demo(place.path(), &["--exit-after", "1000000"]);
    program.wait_for_line("solved-");
    let own = fs::read_dir(place.path()).unwrap().next().unwrap().unwrap();
    fs::write(own.path().join("keys.toml"), "key = []\n").unwrap();
    let (status, printed) = program.wait();
    assert_eq!(status.code(), Some(70), "{printed}");
    assert!(
        printed.contains("sidekey demo: a submit was refused: ERROR_"),
        "{printed}"
    );
    assert_eq!(files(&place), 0);
}

fn demo(temporary: &Path, arguments: &[&str]) -> Program {
    let mut command = sidekey();
    command.arg("demo").args(arguments).env("TMPDIR", temporary);
    Program::spawned(command)
}

fn files(place: &TempDir) -> usize {
    fs::read_dir(place.path()).unwrap().count()
}
