//! Files that never change because of how they are mounted. A new version of a mounted file is a new file in the place of
//! the old one; a mount holds on to the old one.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// What is mounted where, as `/proc/self/mountinfo` has it.
#[derive(Debug, Default)]
pub(super) struct Mounts(Vec<Mount>);

#[derive(Debug)]
struct Mount {
    /// What of its file system.
    root: String,
    point: PathBuf,
}

impl Mounts {
    /// None where there is no such table.
    pub(super) fn of_this_process() -> Self {
        Self::read(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Fields four and five of each line.
    fn read(table: &str) -> Self {
        let mount = |line: &str| {
            let mut fields = line.split(' ').skip(3);
            Some(Mount {
                root: unescaped(fields.next()?),
                point: unescaped(fields.next()?).into(),
            })
        };
        Self(table.lines().filter_map(mount).collect())
    }

    pub(super) fn has_point(&self, path: &Path) -> bool {
        self.0.iter().any(|mount| mount.point == path)
    }

    /// Mount points that lie in a directory.
    pub(super) fn names_in(&self, directory: &Path) -> impl Iterator<Item = &OsStr> {
        let inside = move |mount: &&Mount| mount.point.parent() == Some(directory);
        let points = self.0.iter().filter(inside);
        points.filter_map(|mount| mount.point.file_name())
    }

    /// `path` is a file's, with no link in it.
    pub(super) fn is_static(&self, path: &Path) -> bool {
        let nearest = self.nearest(path);
        nearest.is_some_and(|mount| mount.point == path || is_one_version(&mount.root))
    }

    /// Also a whole volume has its directory as its mount point.
    pub(super) fn is_static_directory(&self, path: &Path) -> bool {
        let nearest = self.nearest(path);
        nearest.is_some_and(|mount| is_one_version(&mount.root))
    }

    /// Of mounts over each other the last one is seen.
    fn nearest(&self, path: &Path) -> Option<&Mount> {
        let above = self.0.iter().filter(|mount| path.starts_with(&mount.point));
        above.max_by_key(|mount| mount.point.as_os_str().len())
    }
}

/// `subPath` of a directory: the volume's `..2026_11_21_10_00_00.1/dir`. Mounted as a whole it is the folder above.
fn is_one_version(root: &str) -> bool {
    root.split('/')
        .any(|part| part.len() > 2 && part.starts_with(".."))
}

/// Blank, tab, line feed and backslash are written as `\040` and so on.
fn unescaped(field: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(field.len()), field);
    while let Some(at) = rest.find('\\') {
        let code = rest
            .get(at + 1..at + 4)
            .and_then(|code| u8::from_str_radix(code, 8).ok());
        let Some(code) = code else { break };
        text.push_str(&rest[..at]);
        text.push(char::from(code));
        rest = &rest[at + 4..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
600 500 0:50 / / rw,relatime - overlay overlay rw
610 600 8:1 /var/lib/kubelet/pods/1/volumes/kubernetes.io~configmap/whole /etc/whole ro - ext4 /dev/sda1 rw
611 600 0:60 / /etc/secret ro - tmpfs tmpfs rw
612 600 0:61 /..2026_11_21_10_00_00.1/keys.toml /etc/sidekey/keys.toml ro - tmpfs tmpfs rw
613 600 0:61 /..2026_11_21_10_00_00.1/keys.toml//deleted /etc/sidekey/old.toml ro - tmpfs tmpfs rw
614 600 0:62 /..2026_11_21_10_00_00.1/keys.d /etc/sidekey/keys.d ro - tmpfs tmpfs rw
615 600 8:1 /home/a\\040b/keys.toml /etc/with\\040blank\\134.toml ro - ext4 /dev/sda1 rw
616 600 8:1 /home/..data /etc/covered rw - ext4 /dev/sda1 rw
617 616 8:1 /home/x /etc/covered rw - ext4 /dev/sda1 rw
";

    #[test]
    fn a_file_or_a_directory_of_one_version_is_static_and_a_whole_volume_is_not() {
        let mounts = Mounts::read(TABLE);
        for (path, expected) in [
            ("/etc/sidekey/keys.toml", true),
            ("/etc/sidekey/old.toml", true),
            ("/etc/sidekey/keys.d/account-1", true),
            ("/etc/with blank\\.toml", true),
            ("/etc/sidekey/other.toml", false),
            ("/etc/whole/..2026_11_21_10_00_00.1/sidekey.toml", false),
            ("/etc/secret/..2026_11_21_10_00_00.1/keys.toml", false),
            ("/etc/covered/keys.toml", false),
            ("/keys.toml", false),
        ] {
            assert_eq!(mounts.is_static(Path::new(path)), expected, "{path}");
        }
        assert!(mounts.has_point(Path::new("/etc/whole")));
        assert!(!mounts.is_static_directory(Path::new("/etc/whole")));
        assert!(mounts.is_static_directory(Path::new("/etc/sidekey/keys.d")));
        let names: Vec<_> = mounts.names_in(Path::new("/etc/sidekey")).collect();
        assert_eq!(names, ["keys.toml", "old.toml", "keys.d"]);
        assert!(!Mounts::default().is_static(Path::new("/keys.toml")));
    }

    #[test]
    fn a_table_of_any_text_is_read() {
        for table in ["", "\n", "a b c", "1 2 3 \\ \\0", "1 2 3 \\999x /\\04é -"] {
            assert!(!Mounts::read(table).is_static(Path::new("/x")));
        }
    }
}
