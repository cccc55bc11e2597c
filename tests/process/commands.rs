//! The commands that ask a running program, as processes of their own.

use rustix::process::Signal;
use sidekey::background::Background;

use crate::support::{Place, Program, sidekey, vendor};

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_while_the_program_is_away_and_ends_by_ctrl_c() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = place.start();
    let mut command = sidekey();
    let admin = format!("http://{}", program.admin);
    command.args(["status", "--watch", "--admin", &admin]);
    let watch = Program::spawned(command);
    watch.wait_for_line("account-3");
    program.kill();
    watch.wait_for_line("tries without an answer: 1");
    watch.signal(Signal::INT);
    let (status, printed) = watch.wait();
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(
        !printed.contains('\u{1b}'),
        "this is no terminal: {printed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthcheck_passes_over_a_configuration_that_is_broken_by_now() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = place.start();
    let listens = format!(
        "[admin]\nlisten = [\"{}\"]\n[nonsense]\n[vendor\n",
        program.admin
    );
    place.write("sidekey.toml", &listens);
    let mut command = sidekey();
    command
        .arg("healthcheck")
        .arg("--config")
        .arg(place.path("sidekey.toml"));
    let (status, printed) = Program::spawned(command).wait();
    assert_eq!(status.code(), Some(0), "{printed}");
}
