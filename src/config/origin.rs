//! What a configuration was read from, for those who ask which version a program serves and whether it will see the next one.

use std::path::{Path, PathBuf};

use super::files::Seen;
use super::mounts::Mounts;
use super::report::{Diagnostic, Severity};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The first 12 hex digits of a SHA-256 over all files: equal contents in equal places have the same.
    ///
    /// SECURITY: everybody may see it, and it tells nothing: of all files together, so that nobody can try guesses of one
    /// short token against it without knowing every key.
    pub sha256: String,
    pub sources: Vec<Source>,
}

/// A file, or a directory with one file a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub path: PathBuf,
    /// A file that replaces it is never seen, because of how it is mounted.
    pub is_static: bool,
}

/// Ten thousand keys may each have a file of their own; a metric has a series for each of these.
const MOST_SOURCES: usize = 100;

impl Origin {
    /// `certificates` are files that are not among what was `seen`.
    pub(super) fn of<'a>(
        seen: &Seen,
        certificates: impl Iterator<Item = &'a Path>,
        mounts: &Mounts,
    ) -> Self {
        let of_listed = |path: &Path| path.parent().is_some_and(|parent| seen.has_listed(parent));
        let is_static = |path: &Path| {
            path.canonicalize()
                .is_ok_and(|path| mounts.is_static(&path))
        };
        let file = |path: &Path| Source {
            path: path.to_path_buf(),
            is_static: is_static(path),
        };
        let files = seen.files_read().filter(|path| !of_listed(path)).map(file);
        // Asked of the few mounts, not of ten thousand files.
        let has_mounted = |directory: &Path, at: &Path| {
            let mut names = mounts.names_in(at);
            names.any(|name| seen.has_read(&directory.join(name)))
        };
        let directories = seen.listed().map(|directory| Source {
            path: directory.to_path_buf(),
            is_static: directory
                .canonicalize()
                .is_ok_and(|at| mounts.is_static_directory(&at) || has_mounted(directory, &at)),
        });
        let mut sources: Vec<_> = files
            .chain(certificates.map(file))
            .chain(directories)
            .collect();
        sources.sort_by(|a, b| (b.is_static, &a.path).cmp(&(a.is_static, &b.path)));
        sources.truncate(MOST_SOURCES);
        let digest = seen.digest();
        Self {
            sha256: digest[..6]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            sources,
        }
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = Diagnostic> {
        let fixed = self.sources.iter().filter(|source| source.is_static);
        fixed.map(|source| {
            Diagnostic::about(
                &source.path.display().to_string(),
                Severity::Warning,
                "this is mounted by itself or from one version of a volume, as subPath does: a new version never arrives here",
                "mount the whole directory, without subPath; until then every change needs a restart",
            )
        })
    }
}
