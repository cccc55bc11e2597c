//! argv -> a command; nothing else.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use sidekey::cli::{self, Command};
use sidekey::config::environment::Environment;
use sidekey::request::clock;

/// Gives memory back within seconds of a burst, where glibc and mimalloc keep it (benches/load, `memory`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = match cli::Arguments::try_parse().map_err(cli::with_tip) {
        Ok(arguments) => arguments,
        Err(usage) => {
            // clap's own code for wrong usage is 2; 64 is what sysexits names it.
            let code = if usage.use_stderr() { 64 } else { 0 };
            return ExitCode::from(match usage.print() {
                Ok(()) => code,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
                Err(_) => 70,
            });
        }
    };
    let environment = arguments.environment(Environment::of_this_process());
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let done = match arguments.command {
        Command::Check(args) => cli::check::run(&args, environment, &mut out),
        Command::Status(args) => {
            on_runtime(cli::status::run(&args, environment, &mut out, &mut err))
        }
        Command::Report(args) => {
            cli::report::run(&args, environment, clock::now_ms(), &mut out, &mut err)
        }
        Command::Estimate(args) => {
            on_runtime(cli::estimate::run(&args, environment, &mut out, &mut err))
        }
        Command::Healthcheck(args) => {
            on_runtime(cli::healthcheck::run(&args, environment, &mut err))
        }
        Command::Token(args) => cli::token::run(&args, &mut out),
        Command::Import(args) => cli::import::run(&args, &mut out, &mut err),
        Command::Cert(args) => cli::cert::run(&args, environment, &mut out, &mut err),
        Command::Completions(args) => cli::completions::run(&args, &mut out),
        Command::Run(args) => on_runtime(cli::run::run(&args, environment, &mut err)),
        Command::Sandbox(args) => on_runtime(cli::sandbox::run(&args, &mut out, &mut err)),
        Command::Demo(args) => on_runtime(cli::demo::run(&args, environment, &mut out, &mut err)),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        // Whoever reads our output has closed it: `sidekey check | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(err, "sidekey: {error}");
            ExitCode::from(70)
        }
    }
}

fn on_runtime(command: impl Future<Output = io::Result<u8>>) -> io::Result<u8> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(command)
}
