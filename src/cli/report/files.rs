//! Bills as files: one for each tenant, with a line for each of its solves.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::text::{cell, six_decimals};
use crate::calendar::{Month, rfc3339};
use crate::store::{Asked, By, Ledger, LedgerError};

#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(
        "{0} is there already and was left as it is: move it away, or replace it with --overwrite"
    )]
    Exists(PathBuf),
    #[error(transparent)]
    Store(#[from] LedgerError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What is told while it goes on.
pub(super) enum Step<'a> {
    /// How many were written so far, in all bills.
    Solves(u64),
    /// This bill is whole.
    Written(&'a Path),
}

/// A bill is never replaced unasked; if one stands in the way, none is written.
pub(super) fn write(
    directory: &Path,
    month: Month,
    ledger: &mut Ledger,
    asked: &Asked,
    overwrite: bool,
    mut tell: impl FnMut(Step<'_>) -> io::Result<()>,
) -> Result<(), WriteError> {
    fs::create_dir_all(directory).map_err(|error| named(directory, error))?;
    let by_tenant = Asked {
        by: By::Tenant,
        ..asked.clone()
    };
    for line in ledger.lines(&by_tenant)? {
        let path = path(directory, &line.of, month);
        if line.solves > 0 && !overwrite && path.symlink_metadata().is_ok() {
            return Err(WriteError::Exists(path));
        }
    }
    let mut open: Option<Open> = None;
    let mut solves = 0;
    ledger.solves(&by_tenant, |solve| {
        if open.as_ref().is_none_or(|open| open.tenant != solve.tenant) {
            if let Some(done) = open.take() {
                tell(Step::Written(&done.finish(overwrite)?))?;
            }
            open = Some(Open::new(directory, month, &solve.tenant)?);
        }
        if let Some(open) = &mut open {
            let (at, id) = (rfc3339(solve.at_ms), cell(&solve.id));
            let cost = six_decimals(solve.charged_micro_usd);
            writeln!(open.file, "{at},{id},{},{cost}", cell(&solve.kind))?;
        }
        solves += 1;
        tell(Step::Solves(solves))
    })??;
    if let Some(done) = open {
        tell(Step::Written(&done.finish(overwrite)?))?;
    }
    Ok(())
}

fn named(directory: &Path, error: io::Error) -> io::Error {
    let message = format!("cannot write {}: {error}", directory.display());
    io::Error::new(error.kind(), message)
}

/// A bill that is being written, under another name until it is whole.
struct Open {
    tenant: String,
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl Open {
    fn new(directory: &Path, month: Month, tenant: &str) -> io::Result<Self> {
        // As any other new file: what the umask lets others do.
        let file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory)
            .map_err(|error| named(directory, error))?;
        let mut file = BufWriter::new(file);
        file.write_all(HEAD)?;
        Ok(Self {
            tenant: tenant.to_owned(),
            path: path(directory, tenant, month),
            file,
        })
    }

    fn finish(self, overwrite: bool) -> io::Result<PathBuf> {
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        match overwrite {
            true => file.persist(&self.path)?,
            // Also when it came meanwhile.
            false => file.persist_noclobber(&self.path)?,
        };
        Ok(self.path)
    }
}

/// In open mode there is no tenant, and the name begins with the line. A tenant's name may be anything that a file's cannot:
/// all but letters, digits, `-`, `_` and inner points is written as in a URL, so that no two tenants share a file and none
/// leaves the directory.
fn path(directory: &Path, tenant: &str, month: Month) -> PathBuf {
    let mut name = String::new();
    for (place, byte) in tenant.bytes().enumerate() {
        match byte {
            b'.' if place > 0 => name.push('.'),
            b'-' | b'_' => name.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => name.push(byte.into()),
            // A String takes everything.
            byte => drop(write!(name, "%{byte:02X}")),
        }
    }
    directory.join(format!("{name}_{month}.csv"))
}

const HEAD: &[u8] = b"timestamp,task_id,type,cost_usd\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_tenant_leaves_the_directory_or_meets_another() {
        let month = Month::parse("2026-11").unwrap();
        for (tenant, file) in [
            ("alice", "alice_2026-11.csv"),
            ("", "_2026-11.csv"),
            ("a.b-c_d", "a.b-c_d_2026-11.csv"),
            ("../etc/passwd", "%2E.%2Fetc%2Fpasswd_2026-11.csv"),
            ("Zoë & co", "Zo%C3%AB%20%26%20co_2026-11.csv"),
            ("a%20b", "a%2520b_2026-11.csv"),
        ] {
            assert_eq!(
                path(Path::new("bills"), tenant, month),
                Path::new("bills").join(file)
            );
        }
    }
}
