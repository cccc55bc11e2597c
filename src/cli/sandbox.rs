//! `sidekey sandbox`: the vendor to test against, alone, for a user's own tests.

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::background::Background;
use crate::sandbox::{self, SandboxConfig};

const DONE: u8 = 0;
const CANNOT_BIND: u8 = 69;
const BAD_CONFIGURATION: u8 = 78;

/// Connections are dropped at once when it stops; this is for tasks that are just ending.
const PATIENCE: Duration = Duration::from_secs(2);

/// A fake vendor to test against: accounts, balances, threads, solve times, faults
///
/// It answers in.php, res.php, solve.php and load.php as real vendors do. The control API below /sandbox/
/// changes accounts, sets faults and shows which key made which call.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey sandbox                         three accounts, on 127.0.0.1:8089
  sidekey sandbox --listen 127.0.0.1:0    a free port: the first line says which
  sidekey sandbox --config sandbox.toml   own accounts and behaviour")]
pub struct Args {
    /// Accounts and behaviour [default: three accounts on a thread plan]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8089", value_parser = address)]
    pub listen: SocketAddr,
}

/// Serves until SIGINT or SIGTERM and returns the exit code. `out` gets the address first, `err` what went wrong.
pub async fn run(args: &Args, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    serve_until(stop, args, out, err).await
}

async fn serve_until(
    stop: impl Future<Output = ()>,
    args: &Args,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    let config = match read_config(args) {
        Ok(config) => config,
        Err(mistake) => {
            writeln!(err, "sidekey sandbox: {mistake}")?;
            return Ok(BAD_CONFIGURATION);
        }
    };
    let background = Background::new();
    let sandbox = match sandbox::start(config.clone(), args.listen, &background).await {
        Ok(sandbox) => sandbox,
        Err(error) => {
            writeln!(
                err,
                "sidekey sandbox: could not listen on {}: {error}; choose another with --listen, port 0 takes a free one",
                args.listen
            )?;
            return Ok(CANNOT_BIND);
        }
    };
    introduce(&config, &sandbox.url(), sandbox.address(), out)?;
    stop.await;
    background.ask_to_stop();
    background.wait(PATIENCE).await;
    Ok(DONE)
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write it like 127.0.0.1:8090")
}

fn read_config(args: &Args) -> Result<SandboxConfig, String> {
    let mut config = SandboxConfig::default();
    if let Some(path) = &args.config {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("could not read {}: {error}", path.display()))?;
        config = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        config
            .check()
            .map_err(|mistake| format!("{}: {mistake}", path.display()))?;
    }
    if config.accounts.is_empty() {
        config = config.with_three_accounts();
    }
    Ok(config)
}

fn introduce(
    config: &SandboxConfig,
    url: &str,
    address: SocketAddr,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "listening on {address}\n")?;
    for account in &config.accounts {
        let threads = account
            .threads
            .map_or_else(|| "no limit of".to_owned(), |threads| threads.to_string());
        writeln!(
            out,
            "{}  key {}  {threads} threads, solves in {} ms",
            account.name, account.key, account.solve_ms
        )?;
    }
    let key = config
        .accounts
        .first()
        .map_or("", |account| account.key.as_str());
    writeln!(
        out,
        "\ncurl '{url}/in.php?key={key}&method=userrecaptcha&googlekey=SITEKEY&pageurl=http://example.com'\n\
         curl '{url}/res.php?key={key}&action=get&id={}'\n\
         curl 'http://{address}/sandbox/record'",
        config.first_id
    )?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn args(config: Option<PathBuf>, listen: &str) -> Args {
        Args {
            config,
            listen: listen.parse().unwrap(),
        }
    }

    async fn ended(args: Args) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = serve_until(async {}, &args, &mut out, &mut err)
            .await
            .unwrap();
        (
            code,
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    }

    #[tokio::test]
    async fn the_first_line_is_the_address_and_the_rest_can_be_used() {
        let (code, out, err) = ended(args(None, "127.0.0.1:0")).await;
        assert_eq!((code, err.as_str()), (DONE, ""));
        let address: SocketAddr = out
            .lines()
            .next()
            .unwrap()
            .strip_prefix("listening on ")
            .unwrap()
            .parse()
            .unwrap();
        assert_ne!(address.port(), 0);
        assert_eq!(
            out.matches("sandboxaccount0").count(),
            5,
            "three accounts, two commands:\n{out}"
        );
    }

    #[tokio::test]
    async fn it_answers_while_it_runs() {
        let (ask, stop) = tokio::sync::oneshot::channel::<()>();
        let (address_is, address) = tokio::sync::oneshot::channel();
        let background = Background::new();
        let serving = background.spawn(async move {
            let mut out = FirstLine(Some(address_is), Vec::new());
            let stop = async { stop.await.unwrap_or_default() };
            serve_until(stop, &args(None, "127.0.0.1:0"), &mut out, &mut io::sink()).await
        });
        let address: String = address.await.unwrap();
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream
                .write_all(b"GET /sandbox/accounts HTTP/1.0\r\n\r\n")
                .unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        assert!(answer.await.unwrap().contains("account-3"));
        ask.send(()).unwrap();
        assert_eq!(serving.await.unwrap().unwrap(), DONE);
    }

    /// Hands over the address as soon as the first line is complete.
    struct FirstLine(Option<tokio::sync::oneshot::Sender<String>>, Vec<u8>);

    impl Write for FirstLine {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            let text = String::from_utf8_lossy(&self.1);
            let first = text
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("listening on "));
            if let (Some(address), Some(sender)) = (first, self.0.take()) {
                sender.send(address.to_owned()).ok();
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_wrong_file_and_a_taken_port_have_their_own_exit_codes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sandbox.toml");
        for (text, said) in [
            ("dialekt = \"captchaai\"", "unknown field `dialekt`"),
            ("[[accounts]]\nname = \"a\"", "account `a` has no key"),
            (
                "[[accounts]]\nname = \"a\"\nkey = \"short\"",
                "account `a` has a key of 5 characters",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let (code, out, err) = ended(args(Some(path.clone()), "127.0.0.1:0")).await;
            assert_eq!((code, out.as_str()), (BAD_CONFIGURATION, ""));
            assert!(err.contains(said) && err.contains("sandbox.toml"), "{err}");
        }
        let (code, _, err) = ended(args(Some(dir.path().join("none")), "127.0.0.1:0")).await;
        assert!(
            code == BAD_CONFIGURATION && err.contains("could not read"),
            "{err}"
        );

        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (code, _, err) = ended(args(None, &taken.local_addr().unwrap().to_string())).await;
        assert!(code == CANNOT_BIND && err.contains("--listen"), "{err}");
    }
}
