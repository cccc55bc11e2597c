//! The programs that documents start, on ports that are free, and where they listen.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use sidekey::config::environment::Environment;
use tokio::time::Instant;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

/// What stands in documents, and where it is here.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) sandbox: String,
    pub(crate) http: String,
    pub(crate) admin: String,
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            sandbox: SANDBOX.to_owned(),
            http: HTTP.to_owned(),
            admin: ADMIN.to_owned(),
        }
    }
}

impl Addresses {
    pub(crate) fn put_in(&self, text: &str) -> String {
        text.replace(SANDBOX, &self.sandbox)
            .replace(HTTP, &self.http)
            .replace(ADMIN, &self.admin)
    }

    /// From the first lines of a server.
    fn learn(&mut self, log: &str) -> bool {
        if let Some(address) = value_after(log, &["listening on "]) {
            self.sandbox = address;
            return true;
        }
        let http = value_after(log, &[" http=", "\"http\":"]);
        let admin = value_after(log, &[" admin=", "\"admin\":"]);
        let (Some(http), Some(admin)) = (http, admin) else {
            return false;
        };
        (self.http, self.admin) = (http, admin);
        true
    }
}

impl Server {
    pub(crate) fn start(
        command: &str,
        folder: &Path,
        number: usize,
        addresses: &mut Addresses,
    ) -> Result<Self, String> {
        let log = folder.join(format!("server-{number}.log"));
        let file = File::create(&log).unwrap();
        let command = if command.contains("--listen") {
            command.to_owned()
        } else {
            command.replace("sidekey sandbox", "sidekey sandbox --listen 127.0.0.1:0")
        };
        let child = program("bash", folder)
            .args(["-c", &format!("exec {}", bare(&command))])
            .env("SIDEKEY_LISTEN__HTTP", "127.0.0.1:0")
            .env("SIDEKEY_ADMIN__LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut server = Self { child, log };
        let deadline = Instant::now() + PATIENCE;
        while !addresses.learn(&server.printed()) {
            if Instant::now() > deadline || server.child.try_wait().unwrap().is_some() {
                return Err(format!("it does not serve:\n{}", server.printed()));
            }
            sleep(BETWEEN_LOOKS);
        }
        Ok(server)
    }

    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Knows nothing of this process's environment but where programs are.
pub(crate) fn program(name: &str, folder: &Path) -> Command {
    let environment = Environment::of_this_process();
    let path = environment.get("PATH").unwrap_or_default();
    let built = Path::new(env!("CARGO_BIN_EXE_sidekey")).parent().unwrap();
    let mut command = match name {
        "sidekey" => Command::new(env!("CARGO_BIN_EXE_sidekey")),
        other => Command::new(other),
    };
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", format!("{}:{path}", built.display()))
        .env("HOME", folder)
        .env("NO_PROXY", "*");
    command
}

/// As an editor or Kubernetes does it: the file is never half there. Keys are for their owner only.
pub(crate) fn write(path: &Path, text: &str) {
    let new = path.with_file_name(".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    fs::rename(new, path).unwrap();
}

/// `exec` takes no assignments before its command.
fn bare(command: &str) -> String {
    match command.contains('=') && !command.starts_with("sidekey") {
        true => format!("env {command}"),
        false => command.to_owned(),
    }
}

fn value_after(log: &str, names: &[&str]) -> Option<String> {
    let rest = names.iter().find_map(|name| log.split_once(name))?.1;
    let end = rest
        .trim_start_matches('"')
        .split(['"', ' ', '\n', ','])
        .next()?;
    end.starts_with("127.0.0.1:").then(|| end.to_owned())
}

const SANDBOX: &str = "127.0.0.1:8089";
const HTTP: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:9090";
