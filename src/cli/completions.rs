//! `sidekey completions`: what a shell needs to complete our commands.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::Arguments;

/// Print what a shell needs to complete commands and options
///
/// Install the output where your shell looks for it, and start a new shell. Make the directory if it is not there yet.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey completions bash > ~/.local/share/bash-completion/completions/sidekey
  sidekey completions zsh > \"${fpath[1]}/_sidekey\"
  sidekey completions fish > ~/.config/fish/completions/sidekey.fish
  source <(sidekey completions bash)        for this shell only")]
pub struct Args {
    /// Which shell is to complete
    #[arg(value_enum)]
    pub shell: Shell,
}

pub fn run(args: &Args, out: &mut impl Write) -> io::Result<u8> {
    // The generator ends the process when it cannot write.
    let mut script = Vec::new();
    generate(
        args.shell,
        &mut Arguments::command(),
        "sidekey",
        &mut script,
    );
    out.write_all(&script)?;
    Ok(0)
}
