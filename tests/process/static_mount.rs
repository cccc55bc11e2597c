//! A file that is mounted by itself, as Kubernetes' `subPath` does: it is said that it will never change.

use std::process::Command;

use sidekey::background::Background;

use crate::support::{Place, Program, sidekey, vendor};

/// For `unshare`, in a mount namespace of its own: `$1` is mounted over `$2`, then the rest runs.
const MOUNTED: [&str; 7] = [
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"",
    "sh",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_file_mounted_by_itself_is_a_warning_and_a_metric() {
    if !may_mount() {
        // Where neither root nor user namespaces are there. The table of mounts has a test of its own.
        return;
    }
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    place.write(
        "elsewhere.toml",
        &std::fs::read_to_string(place.path("keys.toml")).unwrap(),
    );

    let program = Program::serving(mounted(&place, "run", "elsewhere.toml", "keys.toml"));
    program.wait_for_line("subPath");
    let of = |name: &str| {
        let file = place.path(name);
        format!(
            "sidekey_config_file_static{{file={:?}}}",
            file.display().to_string()
        )
    };
    assert_eq!(program.metric(&of("keys.toml")).await, 1.0);
    assert_eq!(program.metric(&of("sidekey.toml")).await, 0.0);
    program.kill();

    // One file of a directory of keys.
    std::fs::create_dir(place.path("keys.d")).unwrap();
    let in_directory = format!(
        "keys_dir = \"keys.d\"\n{}",
        std::fs::read_to_string(place.path("sidekey.toml")).unwrap()
    );
    place.write("sidekey.toml", &in_directory);
    place.write("keys.d/extra", &"e".repeat(32));
    place.write("elsewhere", &"f".repeat(32));
    let program = Program::serving(mounted(&place, "run", "elsewhere", "keys.d/extra"));
    assert_eq!(program.metric(&of("keys.d")).await, 1.0);
    assert_eq!(program.metric(&of("keys.toml")).await, 0.0);
    program.kill();

    let (status, printed) =
        Program::spawned(mounted(&place, "check", "elsewhere.toml", "keys.toml")).wait();
    assert_eq!(status.code(), Some(0), "{printed}");
    assert_eq!(
        printed.matches("subPath").count(),
        2,
        "in the message and in its help: {printed}"
    );
    let program = place.start();
    assert_eq!(program.metric(&of("keys.toml")).await, 0.0);
    program.kill();
}

/// `sidekey run` or `check`, with one file mounted over another.
fn mounted(place: &Place, command: &str, file: &str, over: &str) -> Command {
    let mut unshare = Command::new("unshare");
    unshare
        .args(MOUNTED)
        .arg(place.path(file))
        .arg(place.path(over))
        .arg(sidekey().get_program())
        .arg(command)
        .arg("--config")
        .arg(place.path("sidekey.toml"));
    unshare
}

fn may_mount() -> bool {
    let place = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        std::fs::write(place.path().join(name), "").unwrap();
    }
    let tried = Command::new("unshare")
        .args(MOUNTED)
        .args([place.path().join("a"), place.path().join("b")])
        .arg("true")
        .output();
    tried.is_ok_and(|tried| tried.status.success())
}
