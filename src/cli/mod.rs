//! One file a command.

pub mod admin;
pub mod cert;
pub mod check;
pub mod completions;
pub mod demo;
pub mod estimate;
pub mod healthcheck;
pub mod import;
pub mod look;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod status;
mod table;
pub mod token;

/// A sidecar that puts real captcha-vendor API keys where legacy clients send placeholders
///
/// Point a client's base URL at it; the keys stay in one watched file.
#[derive(Debug, clap::Parser)]
#[command(
    name = "sidekey",
    version,
    after_help = "\
Start here:
  sidekey demo                                  see it work, without an account
  CAPTCHAAI_KEYS=key1,key2 sidekey run          serve on 127.0.0.1:8080
  sidekey status                                how the keys of the running one are
  sidekey report                                what was used this month, and what it costs"
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Run(run::Args),
    Demo(demo::Args),
    Sandbox(sandbox::Args),
    Check(check::Args),
    Status(status::Args),
    Report(report::Args),
    Estimate(estimate::Args),
    Healthcheck(healthcheck::Args),
    Token(token::Args),
    Import(import::Args),
    Cert(cert::Args),
    Completions(completions::Args),
}
