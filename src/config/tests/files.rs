//! How files are looked at: modes, digests, swapped volumes.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_keys_file_that_others_can_read_is_a_warning_outside_of_volumes() {
    let directory = directory(&[
        ("sidekey.toml", ""),
        ("keys.toml", &keys_toml(&[("a", ONE), ("b", TWO)])),
    ]);
    let keys = directory.path().join("keys.toml");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = attempt(&directory, &[]).outcome.unwrap().warnings;
    assert!(warnings.to_string().contains("mode 0644"), "{warnings}");

    fs::create_dir(directory.path().join("..2026_1")).unwrap();
    fs::rename(&keys, directory.path().join("..2026_1/keys.toml")).unwrap();
    symlink("..2026_1", directory.path().join("..data")).unwrap();
    symlink("..data/keys.toml", &keys).unwrap();
    let Loaded { warnings, keys, .. } = attempt(&directory, &[]).outcome.unwrap();
    assert_eq!(keys.len(), 2);
    assert!(warnings.is_empty(), "{warnings}");
}

#[test]
fn a_second_look_tells_changed_contents_of_files_directories_and_swapped_links() {
    let directory = directory(&[
        ("sidekey.toml", "keys_dir = 'd'"),
        ("keys.toml", "key = []"),
        ("d/x", ONE),
    ]);
    let at = |name: &str| directory.path().join(name);
    let mut last = attempt(&directory, &[]).seen;
    assert_eq!(last, last.look_again());
    let mut changed = |what: &str| {
        let now = last.look_again();
        assert_ne!(last, now, "{what}");
        last = attempt(&directory, &[]).seen;
        assert_eq!(last, last.look_again(), "{what}");
    };
    write(&at("keys.toml"), "key = [");
    changed("a broken keys file");
    fs::remove_file(at("keys.toml")).unwrap();
    changed("a removed one");
    write(&at("d/y"), TWO);
    changed("a new file in the directory");
    write(&at("d/y"), &TWO.replace('2', "3"));
    changed("a new value");
    for version in ["..1", "..2", "..3"] {
        write(
            &at(version).join("keys.toml"),
            &format!("key = [] # {version}"),
        );
        symlink(version, at("tmp")).unwrap();
        fs::rename(at("tmp"), at("..data")).unwrap();
        if version == "..1" {
            symlink("..data/keys.toml", at("keys.toml")).unwrap();
        }
        changed(version);
    }
    let watched = last.directories();
    assert_eq!(
        watched,
        [directory.path().to_path_buf(), at("d")]
            .into_iter()
            .collect()
    );
}

#[test]
fn files_of_one_volume_are_read_in_one_version() {
    let directory = directory(&[
        ("..1/a", "old a"),
        ("..1/b", "old b"),
        ("..2/a", "new a"),
        ("..2/b", "new b"),
    ]);
    let at = |name: &str| directory.path().join(name);
    symlink("..1", at("..data")).unwrap();
    symlink("..data/a", at("a")).unwrap();
    symlink("..data/b", at("b")).unwrap();
    let swap = || {
        symlink("..2", at("tmp")).unwrap();
        fs::rename(at("tmp"), at("..data")).unwrap();
    };
    let mut files = Files::default();
    assert_eq!(files.read(&at("a")).unwrap(), b"old a");
    swap();
    assert_eq!(files.read(&at("b")).unwrap(), b"old b");
    assert!(!files.is_torn());

    // The old version is gone before all of it was read: everything is to be read again.
    fs::remove_file(at("..data")).unwrap();
    symlink("..1", at("..data")).unwrap();
    let mut files = Files::default();
    files.read(&at("a")).unwrap();
    swap();
    fs::remove_dir_all(at("..1")).unwrap();
    assert!(files.read(&at("b")).is_err());
    assert!(files.is_torn());
}

#[test]
fn the_digits_of_a_configuration_are_those_of_all_its_files() {
    let directory = directory(&[
        ("sidekey.toml", "keys_dir = 'd'"),
        ("keys.toml", "key = []"),
        ("d/x", ONE),
    ]);
    let at = |name: &str| directory.path().join(name);
    let origin = || attempt(&directory, &[]).outcome.unwrap().origin;
    let first = origin();
    assert_eq!(first.sha256.len(), 12);
    assert_eq!(first, origin());
    let paths: Vec<_> = first.sources.iter().map(|source| &source.path).collect();
    assert_eq!(paths, [&at("d"), &at("keys.toml"), &at("sidekey.toml")]);
    assert!(first.sources.iter().all(|source| !source.is_static));
    let mut seen = vec![first.sha256];
    for (name, content) in [
        ("d/x", TWO),
        ("d/y", ONE),
        ("keys.toml", "key = [] # none"),
        ("sidekey.toml", "keys_dir = 'd' # here"),
    ] {
        write(&at(name), content);
        let now = origin().sha256;
        assert!(!seen.contains(&now), "{name}");
        seen.push(now);
    }
}
