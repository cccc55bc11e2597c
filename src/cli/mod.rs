//! One file a command.

use clap::ColorChoice;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::environment::Environment;

pub mod admin;
pub mod cert;
pub mod check;
pub mod completions;
pub mod demo;
pub mod estimate;
pub mod healthcheck;
pub mod import;
pub mod look;
mod progress;
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
    // Longer lines of prose are hard to read. Where nobody knows a width, it is also what clap takes.
    max_term_width = 100,
    after_help = "\
Start here:
  sidekey demo                           see it work, without an account
  CAPTCHAAI_KEYS=key1,key2 sidekey run   serve on 127.0.0.1:8080
  sidekey status                         how the keys of the running one are
  sidekey report                         what was used this month and costs"
)]
pub struct Arguments {
    /// When to colour: `auto` is on a terminal, unless NO_COLOR says otherwise
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Global options"
    )]
    pub color: ColorChoice,
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

impl Arguments {
    /// With `--color` as the variable that says the same, so that one rule decides about all output.
    pub fn environment(&self, of_the_process: Environment) -> Environment {
        match self.color {
            ColorChoice::Auto => of_the_process,
            ColorChoice::Always => of_the_process
                .with("NO_COLOR", "")
                .with("CLICOLOR_FORCE", "1"),
            ColorChoice::Never => of_the_process.with("NO_COLOR", "1"),
        }
    }
}

/// Other programs take their file so.
pub fn with_tip(mut usage: clap::Error) -> clap::Error {
    let is_file = |word: &str| word == "-c" || word.ends_with(".toml");
    if usage.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(word)) = usage.get(ContextKind::InvalidArg)
        && is_file(word)
    {
        let tip = "a configuration is given as --config FILE".into();
        usage.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    usage
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::log::colours::wants_colours;

    #[test]
    fn a_usual_mistake_is_told_what_to_write() {
        for (typed, tip) in [
            ("run sidekey.toml", "--config FILE"),
            ("check -c sidekey.toml", "--config FILE"),
            ("sandbox --listen 8090", "write it like 127.0.0.1:8090"),
        ] {
            let words = ["sidekey"].into_iter().chain(typed.split(' '));
            let usage = with_tip(Arguments::try_parse_from(words).unwrap_err());
            assert!(usage.to_string().contains(tip), "{usage}");
        }
        let words = ["sidekey", "run", "--linge"];
        let usage = with_tip(Arguments::try_parse_from(words).unwrap_err());
        assert!(usage.to_string().contains("'--linger'"), "{usage}");
    }

    #[test]
    fn what_has_no_name_is_other() {
        let words = "sidekey estimate --type hcaptcha --count 1".split(' ');
        let Command::Estimate(args) = Arguments::try_parse_from(words).unwrap().command else {
            panic!("another command");
        };
        assert_eq!(args.kind, "other");
    }

    #[test]
    fn the_flag_is_stronger_than_the_variables() {
        for (flag, variables, expected) in [
            ("auto", &[("NO_COLOR", "1")][..], false),
            ("auto", &[], false),
            ("always", &[("NO_COLOR", "1"), ("TERM", "dumb")], true),
            ("never", &[("CLICOLOR_FORCE", "1")], false),
        ] {
            let words = ["sidekey", "status", "--color", flag];
            let arguments = Arguments::try_parse_from(words).unwrap();
            let environment = arguments.environment(variables.iter().copied().collect());
            assert_eq!(
                wants_colours(&environment, false),
                expected,
                "{flag} {variables:?}"
            );
        }
    }
}
