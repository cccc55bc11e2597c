//! `sidekey token`: a new tenant's token.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

/// Make a token for a tenant
///
/// 32 hex digits, because some client libraries demand a key of that form. Hand it to the tenant; it goes into the client
/// in the place of the vendor's key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey token            a token, for `token = \"…\"` in tenants.toml
  sidekey token --sha256   and its hash, for `token_sha256 = \"…\"` in its place:
                           the file then holds no token")]
pub struct Args {
    /// Print the token's SHA-256 on a second line
    #[arg(long)]
    sha256: bool,
}

pub fn run(args: &Args, out: &mut impl Write) -> io::Result<u8> {
    let token = make()?;
    writeln!(out, "{token}")?;
    if args.sha256 {
        writeln!(out, "{}", hex(&Sha256::digest(&token)))?;
    }
    Ok(0)
}

pub(super) fn make() -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(hex(&random))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_32_hex_digits_and_never_the_same() {
        let mut out = Vec::new();
        assert_eq!(run(&Args { sha256: true }, &mut out).unwrap(), 0);
        let text = String::from_utf8(out).unwrap();
        let [token, hash] = text.lines().collect::<Vec<_>>().try_into().unwrap();
        assert!(token.len() == 32 && token.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(hash, hex(&Sha256::digest(token)));
        assert_ne!(make().unwrap(), make().unwrap());
    }
}
