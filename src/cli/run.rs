//! `sidekey run`: serve until told to stop.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::set_no_new_privs;
use tokio::signal::unix::{SignalKind, signal};

use super::look::Look;
use crate::app;
use crate::background::Background;
use crate::config::environment::Environment;
use crate::config::{Input, load};
use crate::log;

/// Also when work was cut off: it was told to stop, and it did.
const STOPPED: u8 = 0;
const BAD_CONFIGURATION: u8 = 78;

/// Serve clients, with real keys in the place of their placeholders
///
/// Without a file all defaults hold, and the keys come from CAPTCHAAI_KEYS: clients on 127.0.0.1:8080, the admin port and its
/// dashboard on 127.0.0.1:9090. SIGHUP reloads, SIGTERM drains; a second one ends at once.
///
/// Exit code 0: it stopped when told to. 69: it could not listen, or could not use its store. 78: the configuration is wrong,
/// `sidekey check` says where.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  CAPTCHAAI_KEYS=key1,key2 sidekey run
  sidekey run --config /etc/sidekey/sidekey.toml
  SIDEKEY_LISTEN__HTTP=127.0.0.1:8081 sidekey run")]
pub struct Args {
    /// Configuration file [default: $SIDEKEY_CONFIG, or sidekey.toml if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// After SIGTERM, go on accepting for so many seconds while /readyz says 503
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub linger: u64,
}

/// Returns the exit code. `err` gets what prevented the start while there is no log yet.
pub async fn run(args: &Args, environment: Environment, err: &mut impl Write) -> io::Result<u8> {
    harden(err)?;
    let input = Input {
        config: args.config.clone(),
        environment,
    };
    let attempt = load(&input);
    let log = match &attempt.outcome {
        Ok(loaded) => log::start(&loaded.settings.log, &input.environment),
        Err(report) => {
            let look = Look::of_stderr(&input.environment);
            write!(err, "{}", report.render(look.colours, look.width))?;
            return Ok(BAD_CONFIGURATION);
        }
    };
    // It would kill a program that is still starting. The reload listens for itself; what changes before it does, its
    // first look finds.
    let _hangup = signal(SignalKind::hangup())?;
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let mut told_to_stop = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let background = Background::new();
    let running = match app::start(input, attempt, &background).await {
        Ok(running) => running,
        Err(error) => {
            tracing::error!(%error, "sidekey cannot start");
            return Ok(error.exit_code());
        }
    };
    running.server.metrics.watch_log(log.dropped());
    told_to_stop().await;
    tracing::info!("draining; a second signal ends at once");
    let drained = async {
        running.drain(Duration::from_secs(args.linger)).await;
        running.stop(&background).await
    };
    tokio::select! {
        cut_off = drained => {
            match cut_off {
                0 => tracing::info!("drained"),
                _ => tracing::warn!(cut_off, "the drain took too long, some work was cut off"),
            }
        }
        () = told_to_stop() => tracing::warn!("ended at once by a second signal"),
    }
    Ok(STOPPED)
}

/// SECURITY: keys are in this process's memory, so before any is read: no core files, no other process of this user may
/// look inside, no new privileges.
fn harden(err: &mut impl Write) -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let steps = [
        (
            "core files cannot be switched off",
            setrlimit(Resource::Core, none),
        ),
        (
            "this process's memory stays readable",
            set_dumpable_behavior(DumpableBehavior::NotDumpable),
        ),
        ("privileges can still be gained", set_no_new_privs(true)),
    ];
    for (what, done) in steps {
        if let Err(error) = done {
            writeln!(err, "sidekey: warning: {what}: {error}")?;
        }
    }
    Ok(())
}
