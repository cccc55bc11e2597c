//! Reads files once and remembers what was looked at, so that a change can be told by comparing contents.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::mounts::Mounts;
use super::origin::Origin;

/// SECURITY: 10,000 keys are one megabyte; nobody fills the memory by way of a mounted file.
const LARGEST_FILE: u64 = 16 << 20;
/// SECURITY: one file a key.
const MOST_ENTRIES: usize = 20_000;

/// Every file and directory that was looked at, there or not, and what they held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    kind: Kind,
    readable: bool,
    /// Hash of the content, or of the reason why there is none.
    hash: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
}

impl Seen {
    /// The same places as they are now. Reads everything, understands nothing. Call where blocking is allowed.
    pub fn look_again(&self) -> Self {
        let mut files = Files::default();
        for (path, entry) in &self.entries {
            // What cannot be read is remembered as such.
            let _ = match entry.kind {
                Kind::File => files.read(path).map(|_| ()),
                Kind::Directory => files.list(path).map(|_| ()),
            };
        }
        files.seen
    }

    /// The first place that could be read `before` and can no longer be.
    pub fn lost_since(&self, before: &Self) -> Option<&Path> {
        let was_readable = |path| before.entries.get(path).is_some_and(|then| then.readable);
        let mut entries = self.entries.iter();
        let lost = entries.find(|(path, now)| !now.readable && was_readable(*path));
        lost.map(|(path, _)| path.as_path())
    }

    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.of_kind(Kind::File).map(|(path, _)| path)
    }

    /// Those that were there and could be read.
    pub fn files_read(&self) -> impl Iterator<Item = &Path> {
        self.of_kind(Kind::File)
            .filter(|(_, entry)| entry.readable)
            .map(|(path, _)| path)
    }

    /// Directories with one file a key.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Path> {
        self.of_kind(Kind::Directory).map(|(path, _)| path)
    }

    pub(super) fn has_listed(&self, path: &Path) -> bool {
        let entry = self.entries.get(path);
        entry.is_some_and(|entry| entry.kind == Kind::Directory)
    }

    pub(super) fn has_read(&self, file: &Path) -> bool {
        let entry = self.entries.get(file);
        entry.is_some_and(|entry| entry.kind == Kind::File && entry.readable)
    }

    /// Over everything that could be read.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for (path, entry) in self.entries.iter().filter(|(_, entry)| entry.readable) {
            digest.update(path.as_os_str().as_encoded_bytes());
            digest.update([0]);
            digest.update(entry.hash);
        }
        digest.finalize().into()
    }

    /// What to watch: Kubernetes changes a file by swapping a link beside it, so a file's own watch goes deaf.
    pub fn directories(&self) -> BTreeSet<PathBuf> {
        let own = self
            .of_kind(Kind::Directory)
            .map(|(path, _)| path.to_path_buf());
        own.chain(self.files().map(directory_of)).collect()
    }

    fn of_kind(&self, wanted: Kind) -> impl Iterator<Item = (&Path, &Entry)> {
        self.entries
            .iter()
            .filter(move |(_, entry)| entry.kind == wanted)
            .map(|(path, entry)| (path.as_path(), entry))
    }

    fn insert<T>(
        &mut self,
        path: &Path,
        kind: Kind,
        found: &io::Result<T>,
        content: impl FnOnce(&T) -> [u8; 32],
    ) {
        let hash = match found {
            Ok(found) => content(found),
            Err(error) => Sha256::digest(format!("unreadable: {:?}", error.kind())).into(),
        };
        let entry = Entry {
            kind,
            readable: found.is_ok(),
            hash,
        };
        self.entries.insert(path.to_path_buf(), entry);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Files {
    seen: Seen,
    /// Where `..data` of a directory points to, asked once, so that all files of one volume are of one version.
    volumes: HashMap<PathBuf, Option<PathBuf>>,
    mounts: Option<Mounts>,
    torn: bool,
}

impl Files {
    pub(crate) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let place = self.place_in_volume(path);
        let content = read_bounded(&place);
        self.check_torn(path, content.is_err());
        self.seen.insert(path, Kind::File, &content, |bytes| {
            Sha256::digest(bytes).into()
        });
        content
    }

    /// Names of the files in a directory, sorted. Hidden ones are not keys: editors' backups, Kubernetes' `..data`.
    pub(crate) fn list(&mut self, directory: &Path) -> io::Result<Vec<String>> {
        let place = match self.volume(directory) {
            Some(target) => directory.join(target),
            None => directory.to_path_buf(),
        };
        let names = list_bounded(&place);
        self.check_torn(&directory.join("any"), names.is_err());
        self.seen
            .insert(directory, Kind::Directory, &names, |names| {
                Sha256::digest(names.join("\0")).into()
            });
        names
    }

    /// The file's mode, if others than its owner may read it. Inside a mounted volume the mode is not the operator's choice.
    pub(crate) fn readable_by_others(&mut self, path: &Path) -> Option<u32> {
        let directory = directory_of(path);
        if self.volume(&directory).is_some() {
            return None;
        }
        let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
        (mode & 0o044 != 0 && !self.is_mount_point(path) && !self.is_mount_point(&directory))
            .then_some(mode)
    }

    /// A volume was swapped while it was read: read everything again.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn
    }

    /// What all this was, when everything was read.
    pub(crate) fn origin<'a>(&mut self, certificates: impl Iterator<Item = &'a Path>) -> Origin {
        let mounts = self.mounts.get_or_insert_with(Mounts::of_this_process);
        Origin::of(&self.seen, certificates, mounts)
    }

    pub(crate) fn into_seen(self) -> Seen {
        self.seen
    }

    fn is_mount_point(&mut self, path: &Path) -> bool {
        let mounts = self.mounts.get_or_insert_with(Mounts::of_this_process);
        path.canonicalize()
            .is_ok_and(|path| mounts.has_point(&path))
    }

    fn volume(&mut self, directory: &Path) -> Option<PathBuf> {
        self.volumes
            .entry(directory.to_path_buf())
            .or_insert_with(|| fs::read_link(directory.join("..data")).ok())
            .clone()
    }

    /// `keys.toml -> ..data/keys.toml` is read as `..2026_11_21/keys.toml`, which never changes.
    fn place_in_volume(&mut self, path: &Path) -> PathBuf {
        let directory = directory_of(path);
        let in_volume = self.volume(&directory).and_then(|target| {
            let link = fs::read_link(path).ok()?;
            Some(
                directory
                    .join(target)
                    .join(link.strip_prefix("..data").ok()?),
            )
        });
        in_volume.unwrap_or_else(|| path.to_path_buf())
    }

    fn check_torn(&mut self, path: &Path, failed: bool) {
        let directory = directory_of(path);
        if failed && let Some(target) = self.volume(&directory) {
            self.torn |= fs::read_link(directory.join("..data")).ok() != Some(target);
        }
    }
}

pub(crate) fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would be waited for without end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Vec::new();
    fs::File::open(path)?
        .take(LARGEST_FILE + 1)
        .read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST_FILE {
        return Err(io::Error::other("larger than 16 MiB"));
    }
    Ok(content)
}

fn list_bounded(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !directory.join(&name).is_dir() {
            names.push(name);
        }
        if names.len() > MOST_ENTRIES {
            return Err(io::Error::other("more than 20,000 files"));
        }
    }
    names.sort_unstable();
    Ok(names)
}
