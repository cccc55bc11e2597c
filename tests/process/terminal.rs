//! The commands on a terminal: colours, lines that fit, progress, and a `--watch` that leaves it as it was. In a pipe none of
//! it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;
use sidekey::background::Background;
use tokio::time::{Instant, sleep};
use unicode_width::UnicodeWidthStr;

use crate::support::{PATIENCE, Place, Program, body, id, query, sidekey, vendor};

const SUBMIT: &str =
    "/in.php?key=placeholder&method=userrecaptcha&googlekey=SITEKEY&pageurl=http://example.com";
const BROKEN: &str = "[listen]\nhtpp = [\"127.0.0.1:8080\"] # a comment that goes on until the line is too wide for any\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_line_fits_the_terminal_and_has_colours_there_only() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = place.start();
    solve(&place, &program).await;
    place.write("broken.toml", BROKEN);
    let admin = program.admin.to_string();
    let commands: [(&[&str], i32); 5] = [
        (&["status", "--admin", &admin], 0),
        (&["report", "--store", "sidekey.db"], 0),
        (&["check", "--config", "broken.toml"], 78),
        (&["run", "--config", "broken.toml"], 78),
        (&["report", "--help"], 0),
    ];
    for (arguments, code) in commands {
        for columns in [80, 40] {
            let terminal = Terminal::run(command(&place, arguments), columns);
            let (ended, printed) = terminal.ended();
            assert_eq!(ended, Some(code), "{arguments:?}: {printed}");
            assert!(is_coloured(&printed), "{arguments:?}: {printed:?}");
            for line in plain(&printed).split(['\r', '\n']) {
                let fits = line.width() <= usize::from(columns);
                assert!(fits, "{arguments:?} in {columns}: {line:?}");
            }
            let mut without = command(&place, arguments);
            without.env("NO_COLOR", "1");
            let (_, printed) = Terminal::run(without, columns).ended();
            assert!(!is_coloured(&printed), "{arguments:?}: {printed:?}");
        }
        let mut piped = command(&place, arguments);
        let output = piped.output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        let printed = [output.stdout, output.stderr].concat();
        assert!(!printed.contains(&0x1b), "{arguments:?} in a pipe");
        let output = piped.env("CLICOLOR_FORCE", "1").output().unwrap();
        let printed = [output.stdout, output.stderr].concat();
        assert!(printed.contains(&0x1b), "{arguments:?} when forced");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_leaves_the_terminal_as_it_was() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = place.start();
    let admin = program.admin.to_string();
    for columns in [80, 40] {
        let sidekey = command(&place, &["status", "--watch", "--admin", &admin]);
        let mut terminal = Terminal::run(of_its_own(&sidekey), columns);
        let before = terminal.modes();
        terminal.wait_for("account-3");
        terminal.wait_for("\x1b[J");
        terminal.types("\x03");
        let modes = terminal.modes();
        let (ended, printed) = terminal.ended();
        assert_eq!(ended, Some(0), "{printed}");
        assert_eq!(modes, before);
        assert!(is_coloured(&printed), "{printed:?}");
        // No other screen, no hidden cursor; the prompt gets a line of its own.
        assert!(!printed.contains("\x1b[?"), "{printed:?}");
        assert!(printed.ends_with('\n'), "{printed:?}");
        for line in plain(&printed).split(['\r', '\n']) {
            assert!(line.width() <= columns.into(), "{columns}: {line:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_in_json_draws_over_nothing() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = place.start();
    let admin = program.admin.to_string();
    let arguments = ["status", "--watch", "--format", "json", "--admin", &admin];
    let mut terminal = Terminal::run(of_its_own(&command(&place, &arguments)), 80);
    terminal.wait_for("\n");
    terminal.types("\x03");
    let (ended, printed) = terminal.ended();
    assert_eq!(ended, Some(0), "{printed}");
    assert!(!printed.contains('\x1b'), "{printed:?}");
    let object: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    assert!(object["keys"].is_array(), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_shown_to_who_waits_and_a_script_gets_the_result_only() {
    let background = Background::new();
    let sandbox = vendor(&background).await;
    let place = Place::new(&sandbox);
    let program = place.start();
    solve(&place, &program).await;
    let arguments = [
        "report",
        "--store",
        "sidekey.db",
        "--csv-dir",
        "bills",
        "--overwrite",
    ];
    let mut terminal = Terminal::new(80);
    let mut report = command(&place, &arguments);
    report.stdout(Stdio::piped());
    terminal.start(report);
    let mut out = String::new();
    let pipe = terminal.child.as_mut().unwrap().stdout.take();
    pipe.unwrap().read_to_string(&mut out).unwrap();
    assert!(
        out.starts_with("bills/_") && out.lines().count() == 1,
        "{out}"
    );
    let (ended, shown) = terminal.ended();
    assert_eq!(ended, Some(0), "{shown}");
    assert!(shown.contains("reading the store"), "{shown:?}");
    assert!(shown.ends_with("\r\x1b[K"), "{shown:?}");
    let output = command(&place, &arguments).output().unwrap();
    assert_eq!(output.stdout, out.as_bytes());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// So that there is something to report.
async fn solve(place: &Place, program: &Program) {
    let mut client = program.client().await;
    let task = client.get(SUBMIT).await.unwrap();
    let poll = format!("/res.php?key=a&action=get&id={}", id(&task).unwrap());
    let answer = client.get(&poll).await.unwrap();
    assert!(body(&answer).starts_with("OK|"));
    // The client does not wait for the row of its bill.
    let rows = || {
        query(
            &place.path("sidekey.db"),
            "SELECT count(*) FROM usage",
            |row| row.get::<_, i64>(0),
        )
    };
    let deadline = Instant::now() + PATIENCE;
    while rows() != [1] {
        assert!(Instant::now() < deadline, "the solve is not in the store");
        sleep(Duration::from_millis(10)).await;
    }
}

fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = sidekey();
    command
        .args(arguments)
        .current_dir(place.path(""))
        .env("TERM", "xterm")
        .stdin(Stdio::null());
    command
}

/// On a terminal of its own, where `^C` becomes a signal.
fn of_its_own(sidekey: &Command) -> Command {
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", "--wait"])
        .arg(sidekey.get_program())
        .args(sidekey.get_args())
        .env("TERM", "xterm");
    command
}

/// Whether anything sets a colour or bold.
fn is_coloured(printed: &str) -> bool {
    printed.split("\x1b[").skip(1).any(|rest| {
        let rest = rest.trim_start_matches(|char: char| char.is_ascii_digit() || char == ';');
        rest.starts_with('m')
    })
}

/// Without what the terminal obeys.
fn plain(printed: &str) -> String {
    let mut parts = printed.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part
            .split_once(|char: char| char.is_ascii_alphabetic())
            .unwrap()
            .1
    })
}

/// A pseudoterminal of 24 lines, and what runs on it.
struct Terminal {
    master: File,
    child: Option<Child>,
    printed: String,
    more: Option<Receiver<Vec<u8>>>,
}

impl Terminal {
    fn run(mut command: Command, columns: u16) -> Self {
        let mut terminal = Self::new(columns);
        command.stdout(terminal.slave());
        command.stdin(terminal.slave());
        terminal.start(command);
        terminal
    }

    fn new(columns: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        Self {
            master: master.into(),
            child: None,
            printed: String::new(),
            more: None,
        }
    }

    fn slave(&self) -> File {
        let path = ptsname(&self.master, Vec::new()).unwrap();
        let path = path.into_string().unwrap();
        let mut options = File::options();
        options.read(true).write(true).open(path).unwrap()
    }

    /// With its errors on the terminal; the rest is where the command says.
    fn start(&mut self, mut command: Command) {
        self.child = Some(command.stderr(self.slave()).spawn().unwrap());
        // The command holds the terminal open while it is there.
        drop(command);
        let (send, more) = channel();
        let mut master = self.master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            // An error is the end: nobody has the terminal open.
            while let Ok(read) = master.read(&mut buffer) {
                if send.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        self.more = Some(more);
    }

    fn modes(&self) -> String {
        format!("{:?}", tcgetattr(self.master.as_fd()).unwrap())
    }

    fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn wait_for(&mut self, text: &str) {
        while !self.printed.contains(text) {
            let more = self.more.as_ref().unwrap().recv_timeout(PATIENCE);
            let more = more.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.printed));
            self.printed += &String::from_utf8_lossy(&more);
        }
    }

    /// The exit code, and all that was printed.
    fn ended(mut self) -> (Option<i32>, String) {
        for more in self.more.take().unwrap() {
            self.printed += &String::from_utf8_lossy(&more);
        }
        let status = self.child.take().unwrap().wait().unwrap();
        (status.code(), self.printed.clone())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
