//! `sidekey cert`: a private CA and a certificate for the vendor's names, for clients whose https host is fixed.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use crate::config::environment::Environment;
use crate::config::{Input, vendor_hosts};
use authority::{Authority, IssueError, Pem, is_host};

mod authority;

/// Make a private CA, and with it a certificate for the vendor's host names
///
/// For transparent mode: clients whose https address is fixed reach Sidekey by a hosts file and trust this CA. Run again,
/// it makes a new certificate under the same CA, which a running sidekey takes up without a restart.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sidekey cert --out tls               for the configured vendor's host names
  sidekey cert --host 2captcha.com --host rucaptcha.com --out tls
  sidekey cert --out tls --days 90     a new certificate under the CA in ./tls

It writes ca.pem, which clients are to trust, ca-key.pem, cert.pem and key.pem.
The CA can sign for these names and those below them only. Keep ca-key.pem where
no client can read it.")]
pub struct Args {
    /// A name that clients call; may be repeated [default: those of the configured vendor]
    #[arg(long = "host", value_name = "NAME", num_args = 1.., value_parser = host)]
    pub hosts: Vec<String>,
    /// Where to write; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How long the certificate is good; the CA is for ten years
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=LONGEST))]
    pub days: u16,
    /// Configuration file that says which vendor [default: $SIDEKEY_CONFIG, or sidekey.toml if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Clients on Apple's systems refuse more, also from a CA that their user added.
const LONGEST: i64 = 825;

pub fn run(
    args: &Args,
    environment: Environment,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    let hosts = match args.hosts.is_empty() {
        false => args.hosts.clone(),
        true => {
            let config = args.config.clone();
            let mut hosts = vendor_hosts(&Input {
                config,
                environment,
            });
            // A vendor that is called by its address has no name for a certificate.
            hosts.retain(|host| is_host(host));
            hosts
        }
    };
    let now = SystemTime::now();
    match make(&args.out, hosts, now, args.days) {
        Ok(made) => {
            say(&made, &args.out, out)?;
            Ok(0)
        }
        Err(error) => {
            writeln!(err, "sidekey cert: {error}")?;
            Ok(78)
        }
    }
}

struct Made {
    hosts: Vec<String>,
    until: OffsetDateTime,
    is_new_authority: bool,
}

#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error(
        "the configuration names no vendor, or one that is called by its address; name the host that clients call with --host"
    )]
    NoHost,
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is there without {}; put that back, or remove it for a new CA, which clients must then be given", there.display(), missing.display())]
    Half { there: PathBuf, missing: PathBuf },
    #[error("{path}: {source}", path = path.display())]
    Issue { path: PathBuf, source: IssueError },
}

fn make(dir: &Path, mut hosts: Vec<String>, now: SystemTime, days: u16) -> Result<Made, MakeError> {
    hosts.sort();
    hosts.dedup();
    if hosts.is_empty() {
        return Err(MakeError::NoHost);
    }
    fs::create_dir_all(dir).map_err(|source| MakeError::Write {
        path: dir.to_owned(),
        source,
    })?;
    let issue = |source| MakeError::Issue {
        path: dir.to_owned(),
        source,
    };
    let kept = kept(dir)?;
    let is_new_authority = kept.is_none();
    let authority = match &kept {
        Some(kept) => Authority::read(kept),
        None => Authority::new(&hosts, now),
    };
    let authority = authority.map_err(issue)?;
    let until = now + Duration::from_secs(u64::from(days) * 24 * 3600);
    let leaf = authority.issue(&hosts, now, until).map_err(issue)?;
    if is_new_authority {
        write(&dir.join(CA_KEY), &authority.pem().key, PRIVATE)?;
        write(&dir.join(CA), &authority.pem().certificate, PUBLIC)?;
    }
    write(&dir.join("key.pem"), &leaf.key, PRIVATE)?;
    // Last: a running sidekey that looks in between keeps its old pair, and looks again at this.
    write(&dir.join("cert.pem"), &leaf.certificate, PUBLIC)?;
    Ok(Made {
        hosts,
        until: until.into(),
        is_new_authority,
    })
}

fn kept(dir: &Path) -> Result<Option<Pem>, MakeError> {
    let read = |name| {
        let path = dir.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(MakeError::Read { path, source }),
        }
    };
    let half = |there, missing| MakeError::Half {
        there: dir.join(there),
        missing: dir.join(missing),
    };
    match (read(CA)?, read(CA_KEY)?) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(Pem {
            certificate,
            key: key.into(),
        })),
        (Some(_), None) => Err(half(CA, CA_KEY)),
        (None, Some(_)) => Err(half(CA_KEY, CA)),
    }
}

/// Whole or not at all, and never readable for others before it is for its owner only.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), MakeError> {
    let failed = |source| MakeError::Write {
        path: path.to_owned(),
        source,
    };
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(path.parent().unwrap_or_else(|| Path::new(".")))
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn say(made: &Made, dir: &Path, out: &mut impl Write) -> io::Result<()> {
    let whole = fs::canonicalize(dir)?;
    let path = |name: &str| whole.join(name).display().to_string();
    let (ca, hosts) = (path(CA), made.hosts.join(" "));
    let until = made.until.date();
    writeln!(
        out,
        "wrote {} and {}, for {hosts}, good until {until}",
        path("cert.pem"),
        path("key.pem")
    )?;
    if !made.is_new_authority {
        return writeln!(
            out,
            "the CA is the same: clients need nothing new, and a running sidekey takes up the certificate by itself"
        );
    }
    writeln!(
        out,
        "wrote {ca} and {ca_key}: a new CA, which can sign for these names only\n\n\
         sidekey.toml:\n  \
           [listen]\n  https = [\"127.0.0.1:443\"]\n  tls_cert = \"{cert}\"\n  tls_key = \"{key}\"\n\n  \
           [vendor]\n  resolver = \"dns\"\n\n\
         The client's hosts file (hostAliases in Kubernetes):\n  127.0.0.1 {hosts}\n\n\
         The client's environment, so that it trusts the CA:\n  \
           Python requests      REQUESTS_CA_BUNDLE={ca}\n  \
           Python otherwise     SSL_CERT_FILE={ca}\n  \
           Node.js              NODE_EXTRA_CA_CERTS={ca}\n  \
           Ruby, Go, .NET       SSL_CERT_FILE={ca}\n  \
           curl                 CURL_CA_BUNDLE={ca}\n\n\
         All but Node.js then trust nothing else. docs/transparent.md has the way out, and that of Java and PHP.\n\
         Keep {ca_key} where no client can read it. Before {until}, run this again.",
        ca_key = path(CA_KEY),
        cert = path("cert.pem"),
        key = path("key.pem"),
    )
}

fn host(text: &str) -> Result<String, &'static str> {
    let name = text.to_ascii_lowercase();
    match is_host(&name) {
        true => Ok(name),
        false => Err("write a host name alone, such as 2captcha.com"),
    }
}

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

#[cfg(test)]
mod tests;
