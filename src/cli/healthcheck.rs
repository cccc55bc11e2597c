//! `sidekey healthcheck`: for images without a shell.

use std::io::{self, Write};

use super::admin::{Client, Where};
use crate::config::environment::Environment;

const READY: u8 = 0;
const NOT_READY: u8 = 1;

/// Exit 0 when the running sidekey is ready, 1 when it is not or does not answer
///
/// Needs no token. What the configuration says beyond the admin address does not matter.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey healthcheck
  HEALTHCHECK CMD [\"sidekey\", \"healthcheck\"]   in a Dockerfile
  exec: { command: [sidekey, healthcheck] }     as a probe of Kubernetes")]
pub struct Args {
    #[command(flatten)]
    pub place: Where,
}

pub async fn run(args: &Args, environment: Environment, err: &mut impl Write) -> io::Result<u8> {
    let client = match Client::new(&args.place, &environment) {
        Ok(client) => client,
        Err(error) => {
            writeln!(err, "sidekey: {error}")?;
            return Ok(error.exit_code());
        }
    };
    match client.is_ready().await {
        Ok(true) => Ok(READY),
        Ok(false) => {
            writeln!(err, "sidekey: not ready: it is draining")?;
            Ok(NOT_READY)
        }
        Err(error) => {
            writeln!(err, "sidekey: {error}")?;
            Ok(NOT_READY)
        }
    }
}
