//! Opening the file: make it, or make sure that it is ours, whole, and nobody else's at this moment.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, ffi};

use super::parked::OwnId;
use super::rows::ENDED_IN_MID_SUBMIT;
use super::{schema, statements};
use crate::config::settings::Sync;
use crate::keys::secret::Salt;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the directory {0} does not exist: create it, or set state.path to another place")]
    NoDirectory(PathBuf),
    #[error(
        "{0} is locked by another process: stop the other sidekey, or set state.path to another file"
    )]
    Locked(PathBuf),
    #[error(
        "{0} is a database of another program: set state.path to another file, or move it away"
    )]
    NotOurs(PathBuf),
    #[error(
        "{0} is empty, so it was cut off or made by something else: restore it, or delete it to start without the tasks that it held"
    )]
    Empty(PathBuf),
    #[error(
        "{0} is missing but its log {1} is there: put the file back, or delete the log to start without the tasks that they held"
    )]
    LogWithoutFile(PathBuf, PathBuf),
    #[error(
        "{path} is damaged ({problem}): restore it from a copy, or move it away to start without the tasks that it holds"
    )]
    Damaged { path: PathBuf, problem: String },
    #[error(
        "{path} was written by a newer sidekey (its version is {version}): run that one, or move the file away"
    )]
    TooNew { path: PathBuf, version: i64 },
    #[error(
        "{0} cannot be written: check its owner, its mode, and that the volume is not read-only"
    )]
    ReadOnly(PathBuf),
    #[error(
        "the Redis server at {address} cannot be used ({problem}): start it, or correct state.url"
    )]
    Redis { address: String, problem: String },
    #[error(
        "the Redis server at {address} was written by a newer sidekey (its version is {version}): run that one, or set state.url to another database"
    )]
    RedisTooNew { address: String, version: i64 },
    #[error("cannot open {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot open {path}: {source}")]
    Sqlite {
        path: PathBuf,
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// The place cannot hold a store at all, which says nothing about a store that is there.
    pub fn is_unwritable(&self) -> bool {
        match self {
            Self::NoDirectory(_) | Self::ReadOnly(_) => true,
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                )
            }
            _ => false,
        }
    }
}

/// What was found in the store when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Submits that were on their way when the process before ended; they are uncertain now.
    pub open_intents: u64,
}

pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) lock: File,
    pub(super) salt: Salt,
    /// The highest number used so far by intents, uncertain submits and claims, and by bad-key answers.
    pub(super) last_intent: i64,
    pub(super) last_bad_key_answer: i64,
    pub(super) last_own_id: i64,
    pub(super) recovered: Recovered,
}

pub(super) fn open(path: &Path, sync: Sync) -> Result<Opened, OpenError> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(OpenError::NoDirectory(directory.to_owned()));
    }
    let lock = lock(path)?;
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let log = beside(path, "-wal");
            if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
                return Err(OpenError::LogWithoutFile(path.to_owned(), log));
            }
            create(path, directory)?
        }
        Err(source) => return Err(io_error(path, source)),
    };
    check_header(path, size)?;
    let mut connection = connect(path, sync).map_err(|error| sqlite_error(path, error))?;
    check_content(&connection, path, size)?;
    let found = recover(&mut connection)
        .map_err(|error| sqlite_error(path, error))?
        .map_err(|version| OpenError::TooNew {
            path: path.to_owned(),
            version,
        })?;
    Ok(Opened {
        connection,
        lock,
        salt: found.salt,
        last_intent: found.last_intent,
        last_bad_key_answer: found.last_bad_key_answer,
        last_own_id: found.last_own_id,
        recovered: found.recovered,
    })
}

/// A connection that writes. Never makes a file: a file that went missing must not come back empty.
pub(super) fn connect(path: &Path, sync: Sync) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let synchronous = match sync {
        Sync::Full => "FULL",
        Sync::Process => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Moves all of the log into the main file and syncs that.
pub(super) fn empty_log(connection: &Connection) -> rusqlite::Result<()> {
    let busy: bool =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy {
        return Err(rusqlite::Error::SqliteFailure(
            ffi::Error::new(ffi::SQLITE_BUSY),
            None,
        ));
    }
    Ok(())
}

/// A side file, because SQLite's own locks must stay free for operators who read. Gone with the process,
/// whatever way it ends.
fn lock(path: &Path) -> Result<File, OpenError> {
    // By the file's own name: two names of one file must meet at one lock.
    let named = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let lock_path = beside(&named, ".lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|source| io_error(&lock_path, source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(io_error(&lock_path, source)),
    }
}

/// Made under another name and renamed when it is complete, so that an empty file under the right name
/// is never a start that was interrupted, always a loss.
fn create(path: &Path, directory: &Path) -> Result<u64, OpenError> {
    let new = beside(path, ".new");
    for left_over in [new.clone(), beside(&new, "-wal"), beside(&new, "-shm")] {
        match fs::remove_file(&left_over) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(&left_over, error));
            }
            _ => {}
        }
    }
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&new)
        .map_err(|source| io_error(&new, source))?;
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|error| io_error(path, io::Error::other(error)))?;
    fill(&new, &salt).map_err(|error| sqlite_error(path, error))?;
    let size = File::open(&new)
        .and_then(|file| file.sync_all().and_then(|()| file.metadata()))
        .map_err(|source| io_error(&new, source))?
        .len();
    fs::rename(&new, path).map_err(|source| io_error(path, source))?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| io_error(directory, source))?;
    Ok(size)
}

fn fill(new: &Path, salt: &[u8; 32]) -> rusqlite::Result<()> {
    let mut connection = connect(new, Sync::Process)?;
    // Synced once, when it is complete: the start waits for every sync.
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(()))?;
    let transaction = connection.transaction()?;
    transaction.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    // A fresh file has version 0, which no program is older than.
    let _ = schema::migrate(&transaction)?;
    transaction.execute(
        "INSERT INTO meta (name, value) VALUES ('salt', ?)",
        [&salt[..]],
    )?;
    transaction.commit()?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}

fn check_header(path: &Path, size: u64) -> Result<(), OpenError> {
    if size == 0 {
        return Err(OpenError::Empty(path.to_owned()));
    }
    let mut header = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Ok(()) if header == *MAGIC => Ok(()),
        Err(source) if source.kind() != io::ErrorKind::UnexpectedEof => Err(io_error(path, source)),
        _ => Err(OpenError::Damaged {
            path: path.to_owned(),
            problem: "it does not begin like a database".to_owned(),
        }),
    }
}

fn check_content(connection: &Connection, path: &Path, size: u64) -> Result<(), OpenError> {
    let wrap = |error| sqlite_error(path, error);
    let application: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(wrap)?;
    if application != schema::APPLICATION_ID {
        return Err(OpenError::NotOurs(path.to_owned()));
    }
    if connection.is_readonly("main").map_err(wrap)? {
        return Err(OpenError::ReadOnly(path.to_owned()));
    }
    if size <= CHECKED_WHOLE {
        let found: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(wrap)?;
        if found != "ok" {
            return Err(OpenError::Damaged {
                path: path.to_owned(),
                problem: found,
            });
        }
    }
    Ok(())
}

struct Found {
    salt: Salt,
    last_intent: i64,
    last_bad_key_answer: i64,
    last_own_id: i64,
    recovered: Recovered,
}

/// New tables, then the intents that the process before left open, in one transaction.
/// `Err` inside is the version of a file that is too new.
fn recover(connection: &mut Connection) -> rusqlite::Result<Result<Found, i64>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Err(version) = schema::migrate(&transaction)? {
        return Ok(Err(version));
    }
    let open_intents = transaction.execute(INTENTS_TO_UNCERTAIN, [ENDED_IN_MID_SUBMIT])? as u64;
    if open_intents > 0 {
        transaction.execute("DELETE FROM intents", [])?;
    }
    statements::parked::end_open_sendings(&transaction)?;
    let salt = "SELECT value FROM meta WHERE name = 'salt'";
    let salt = transaction.query_row(salt, [], |row| statements::digest(row, 0))?;
    let last = |sql| transaction.query_row(sql, [], |row| row.get(0));
    // A claim is found by the number of its intent, so none may come twice while it is kept.
    let last_intent = last(
        "SELECT max(coalesce((SELECT max(id) FROM uncertain), 0), coalesce((SELECT max(intent) FROM claims), 0))",
    )?;
    let last_bad_key_answer = last("SELECT coalesce(max(id), 0) FROM bad_key_answers")?;
    let last_own_id = statements::parked::last_own_id(&transaction)?;
    transaction.commit()?;
    Ok(Ok(Found {
        salt: Salt(salt),
        last_intent,
        last_bad_key_answer,
        last_own_id: last_own_id.unwrap_or_else(OwnId::before_the_first),
        recovered: Recovered { open_intents },
    }))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly(path)
        }
        _ => OpenError::Io { path, source },
    }
}

fn sqlite_error(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    let damaged = match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            return OpenError::Locked(path);
        }
        Some(ErrorCode::ReadOnly) => return OpenError::ReadOnly(path),
        Some(code) => matches!(
            code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown
        ),
        // A value is missing, or is not what we write there.
        None => true,
    };
    if damaged {
        let problem = source.to_string();
        OpenError::Damaged { path, problem }
    } else {
        OpenError::Sqlite { path, source }
    }
}

const INTENTS_TO_UNCERTAIN: &str = "INSERT OR REPLACE INTO uncertain
    (id, profile, tenant, project, kind, endpoint, owner_name, owner_identity, at_ms, why)
    SELECT id, profile, tenant, project, kind, endpoint, owner_name, owner_identity, at_ms, ?
    FROM intents";

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Larger files are trusted until a page proves damaged: checking all of a million tasks takes a second.
const CHECKED_WHOLE: u64 = 4 << 20;

/// An operator's own transaction holds the lock. On the writer's thread, so nobody else waits.
const BUSY: Duration = Duration::from_millis(500);

/// After a burst the log file is cut back to this.
const LOG_KEPT: i64 = 8 << 20;
