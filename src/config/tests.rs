//! Loading as a whole: precedence, sources of keys, shipped examples, and that nothing secret gets out.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::Strategy;
use tempfile::TempDir;

use super::environment::Environment;
use super::files::Files;
use super::reader::Reader;
use super::report::{Report, Severity};
use super::settings::*;
use super::{Attempt, Input, Loaded, load};

const ONE: &str = "0123456789abcdef0123456789abcde1";
const TWO: &str = "0123456789abcdef0123456789abcde2";
const CANARY: &str = "CANARYc0ffee77c0ffee77CANARY";

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        write(&directory.path().join(name), content);
    }
    directory
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn attempt(directory: &TempDir, variables: &[(&str, &str)]) -> Attempt {
    load(&Input {
        config: Some(directory.path().join("sidekey.toml")),
        environment: variables.iter().copied().collect(),
    })
}

fn loaded(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Loaded {
    attempt(&directory(files), variables)
        .outcome
        .unwrap_or_else(|report| panic!("{report}"))
}

fn refused(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Report {
    attempt(&directory(files), variables)
        .outcome
        .expect_err("must be refused")
}

fn keys_toml(keys: &[(&str, &str)]) -> String {
    keys.iter()
        .map(|(name, value)| format!("[[key]]\nname = \"{name}\"\nvalue = \"{value}\"\n"))
        .collect()
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.keys.iter().map(|key| key.name.as_str()).collect()
}

/// Every option that the parser asks for.
fn options() -> BTreeSet<String> {
    let environment = Environment::default();
    let mut reader = Reader::new(&environment, Path::new(""));
    super::options::read(&mut reader.root(None), &mut Files::default());
    reader.options().map(str::to_owned).collect()
}

#[test]
fn with_no_file_there_are_defaults_and_keys_from_the_environment() {
    let environment = [("CAPTCHAAI_KEYS", format!("{ONE}, {TWO}\n"))]
        .into_iter()
        .collect();
    let config = None;
    let Attempt { outcome, seen } = load(&Input {
        config,
        environment,
    });
    let loaded = outcome.unwrap();
    assert_eq!(names(&loaded), ["env-1", "env-2"]);
    assert_eq!(loaded.keys[1].value.expose(), TWO.as_bytes());
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.settings.listen.http.len(), 2);
    assert!(
        loaded
            .settings
            .listen
            .http
            .iter()
            .all(|listen| !listen.written)
    );
    // Both may appear later.
    let files: Vec<_> = seen
        .files()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(files, ["keys.toml", "sidekey.toml"]);
}

#[test]
fn the_reference_holds_every_option_with_its_default() {
    let reference = fs::read_to_string("conf/reference.toml").unwrap();
    let environment = [("CAPTCHAAI_KEYS", format!("{ONE},{TWO}"))];
    let environment: Environment = environment.into_iter().collect();
    let of = |config: &str| {
        let directory = directory(&[("sidekey.toml", config)]);
        let config = Some(directory.path().join("sidekey.toml"));
        let mut settings = load(&Input {
            config,
            environment: environment.clone(),
        })
        .outcome
        .unwrap()
        .settings;
        // That a value is written is the one difference there may be.
        let listen = &mut settings.listen;
        for listen in listen
            .http
            .iter_mut()
            .chain(&mut listen.https)
            .chain(&mut settings.admin.listen)
        {
            listen.written = false;
        }
        settings.state.path_written = false;
        settings
    };
    assert_eq!(of(&reference), of(""));

    // Commented examples count: an option without a default cannot be active. Text that is no TOML stays a comment.
    let is_line = |line: &str| {
        line.starts_with('[')
            || line
                .split_once(" = ")
                .is_some_and(|(name, _)| !name.contains(' '))
    };
    let uncommented: Vec<&str> = reference
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|line| is_line(line))
                .unwrap_or(line)
        })
        .collect();
    let table: toml::Table = uncommented.join("\n").parse().unwrap();
    let mut written = BTreeSet::new();
    collect("", &table, &mut written);
    written.retain(|name| !name.starts_with("vendor.codes."));
    assert_eq!(written, options());
}

fn collect(prefix: &str, table: &toml::Table, into: &mut BTreeSet<String>) {
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) => collect(&format!("{prefix}{name}."), inner, into),
            _ => _ = into.insert(format!("{prefix}{name}")),
        }
    }
}

#[test]
fn every_shipped_file_loads() {
    let mut count = 0;
    for entry in fs::read_dir("conf").unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(
            path.extension().and_then(|e| e.to_str()),
            Some("toml"),
            "{path:?}"
        );
        let name = path.file_name().unwrap().to_string_lossy();
        if name == "sandbox.toml" {
            // The fake vendor's own: `cli::sandbox` loads it.
            continue;
        }
        let is_keys = name.starts_with("keys");
        let config = match is_keys {
            true => format!("keys_file = {:?}", fs::canonicalize(&path).unwrap()),
            false => fs::read_to_string(&path).unwrap(),
        };
        let keys = fs::read_to_string("conf/keys.example.toml").unwrap();
        let Loaded { warnings, keys, .. } = loaded(
            &[
                ("sidekey.toml", &config),
                ("keys.toml", &keys),
                ("keys.example.toml", &keys),
            ],
            &[],
        );
        assert_eq!(warnings.count(Severity::Error), 0);
        assert_eq!(keys.len(), 2, "{path:?}");
        count += 1;
    }
    assert!(count >= 3, "only {count} files in conf/");
}

#[test]
fn the_environment_comes_before_the_file() {
    let file = "[submit]\ndeadline = \"9s\"\nmax_keys = 5\n[listen]\nhttp = [\"127.0.0.1:1\"]\n";
    let variables = [
        ("CAPTCHAAI_KEYS", "a,b"),
        ("SIDEKEY_SUBMIT__DEADLINE", "20s"),
        ("SIDEKEY_LISTEN__HTTP", "127.0.0.1:2, [::1]:2"),
        ("SIDEKEY_LISTEN__MAX_BODY", "1MiB"),
        ("SIDEKEY_VENDOR__TAKES__IDS", "false"),
    ];
    let settings = loaded(&[("sidekey.toml", file)], &variables).settings;
    assert_eq!(settings.submit.deadline.as_secs(), 20);
    assert_eq!(settings.submit.max_keys, 5);
    let written: Vec<_> = settings
        .listen
        .http
        .iter()
        .map(|listen| listen.address.to_string())
        .collect();
    assert_eq!(written, ["127.0.0.1:2", "[::1]:2"]);
    assert!(settings.listen.http[0].written);
    assert_eq!(settings.listen.max_body, 1 << 20);
    assert!(!settings.vendor.profile.takes.ids);
}

#[test]
fn what_kubernetes_puts_into_the_environment_is_ignored() {
    let variables = [
        ("CAPTCHAAI_KEYS", "0123456789abcdef,fedcba9876543210"),
        ("SIDEKEY_PORT", "tcp://10.0.0.1:8080"),
        ("SIDEKEY_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("SIDEKEY_SERVICE_HOST", "10.0.0.1"),
        ("SIDEKEY_LOG__LEVEL", "tcp://10.0.0.1:1"),
        ("SIDEKEY_SUBMIT__DEDLINE", "1s"),
    ];
    let Loaded {
        settings, warnings, ..
    } = loaded(&[("sidekey.toml", "")], &variables);
    assert_eq!(settings.log.level, LogLevel::Info);
    let lines: Vec<String> = warnings
        .diagnostics()
        .iter()
        .map(|found| found.one_line())
        .collect();
    assert_eq!(
        lines,
        [
            "environment variable SIDEKEY_LOG__LEVEL: ignored: this looks like a Kubernetes service link",
            "environment variable SIDEKEY_SUBMIT__DEDLINE: ignored: no option has this name",
        ]
    );
    assert_eq!(
        warnings.diagnostics()[1].help.as_deref(),
        Some("did you mean SIDEKEY_SUBMIT__DEADLINE?")
    );
}

#[test]
fn integers_that_helm_wrote_as_floats_are_integers() {
    let file =
        "[listen]\nmax_connections = 8080.0\nmax_body = 1.048576e+06\n[submit]\nmax_keys = 2.5";
    let report = refused(&[("sidekey.toml", file)], &[("CAPTCHAAI_KEYS", "a,b")]);
    assert_eq!(report.count(Severity::Error), 1, "{report}");
    let file = file.replace("2.5", "2.0");
    let settings = loaded(&[("sidekey.toml", &file)], &[("CAPTCHAAI_KEYS", "a,b")]).settings;
    assert_eq!(
        (settings.listen.max_connections, settings.listen.max_body),
        (8080, 1_048_576)
    );
}

#[test]
fn sources_of_keys_form_a_union_and_a_value_in_two_is_one_key() {
    let files = [
        ("sidekey.toml", "keys_dir = \"keys.d\""),
        ("keys.toml", &keys_toml(&[("a", ONE)])),
        ("keys.d/b", &format!(" {TWO} \n")),
        ("keys.d/.hidden", "not a key"),
        ("keys.d/same", &format!("{ONE}\n")),
    ];
    let loaded = loaded(
        &files,
        &[("CAPTCHAAI_KEYS", "0123456789abcdef0123456789abcde3")],
    );
    assert_eq!(names(&loaded), ["a", "b", "env-1"]);
    assert_eq!(loaded.keys[1].value.expose(), TWO.as_bytes());
    assert_eq!(
        loaded.warnings.count(Severity::Warning),
        1,
        "{}",
        loaded.warnings
    );
}

#[test]
fn values_come_from_variables_and_files_too() {
    let keys = "[[key]]\nname='a'\nvalue='ENV:K'\n[[key]]\nname='b'\nfile='b.key'\nweight=7.0\npriority=-1\n";
    let files = [
        ("sidekey.toml", "keys_file = 'secrets/k.toml'"),
        ("secrets/k.toml", keys),
        ("secrets/b.key", TWO),
    ];
    let loaded = loaded(&files, &[("K", ONE)]);
    assert_eq!(loaded.keys[0].value.expose(), ONE.as_bytes());
    assert_eq!(loaded.keys[1].value.expose(), TWO.as_bytes());
    assert_eq!((loaded.keys[1].weight, loaded.keys[1].priority), (7, -1));
}

#[test]
fn an_empty_list_means_no_keys_and_an_empty_file_is_broken() {
    assert!(
        loaded(&[("sidekey.toml", ""), ("keys.toml", "key = []")], &[])
            .keys
            .is_empty()
    );
    for blank in ["", " \n\n", "# nothing\n", "\u{feff}"] {
        let report = refused(&[("sidekey.toml", ""), ("keys.toml", blank)], &[]);
        assert!(
            report.to_string().contains("there is no key in this file"),
            "{report}"
        );
    }
}

#[test]
fn a_written_keys_file_may_be_missing_with_a_warning() {
    let loaded = loaded(
        &[("sidekey.toml", "keys_file = 'later.toml'")],
        &[("CAPTCHAAI_KEYS", &format!("{ONE},{TWO}"))],
    );
    assert_eq!(loaded.warnings.count(Severity::Warning), 1);
    assert!(loaded.warnings.to_string().contains("does not exist (yet)"));
}

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
fn the_digest_follows_contents_of_files_directories_and_swapped_links() {
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
        assert_ne!(last.digest(), now.digest(), "{what}");
        last = attempt(&directory, &[]).seen;
        assert_eq!(last.digest(), last.look_again().digest(), "{what}");
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
fn ten_thousand_keys_load_and_ten_thousand_mistakes_make_a_short_report() {
    let keys: Vec<(String, String)> = (0..10_000)
        .map(|i| (format!("k{i}"), format!("{i:032x}")))
        .collect();
    let text = |keys: &[(String, String)]| -> String {
        keys.iter()
            .map(|(name, value)| format!("[[key]]\nname = \"{name}\"\nvalue = \"{value}\"\n"))
            .collect()
    };
    assert_eq!(
        loaded(&[("sidekey.toml", ""), ("keys.toml", &text(&keys))], &[])
            .keys
            .len(),
        10_000
    );
    let same: Vec<_> = keys
        .into_iter()
        .map(|(name, _)| (name, ONE.to_owned()))
        .collect();
    let report = refused(&[("sidekey.toml", ""), ("keys.toml", &text(&same))], &[]);
    assert_eq!(report.count(Severity::Error), 9_999);
    assert!(report.to_string().len() < 100_000);
    assert!(report.to_string().ends_with("... and 9899 more\n\n"));
}

/// Text, JSON, log lines and Debug, of all that a load can give.
fn everything_shown(attempt: &Attempt) -> String {
    let report = match &attempt.outcome {
        Ok(loaded) => &loaded.warnings,
        Err(report) => report,
    };
    let lines: String = report
        .diagnostics()
        .iter()
        .map(|found| found.one_line())
        .collect();
    format!("{report}{}{lines}{:?}", report.to_json(), attempt.outcome)
}

#[test]
fn a_secret_is_never_shown_wherever_it_stands() {
    let in_keys = [
        "[[key]]\nname = \"a\"\nvalue = \"CANARY\nweight = 0\n",
        "[[key]]\nname = \"a\"\nvalue = CANARY\n",
        "[[key]]\nname = \"a\"\nvalue = 'CANARY\n",
        "[[key]]\nname = \"a\"\nvalue = \"\"\"\nCANARY\n",
        "[[key]]\nname = \"a\"\nvalue = \"\"\"\nCANARY two\n\"\"\"\nweight = 0\n",
        "[[key]]\nname = \"a\nvalue = \"CANARY\"\n",
        "[[key]]\nname = \"a\", value = \"CANARY\"\n",
        "[[key]]\nname = \"a\"\nvaule = \"CANARY\"\n",
        "[[key]]\nname = \"a\"\nCANARY = \"a\"\n",
        "[[key]]\nname = \"CANARY!\"\nvalue = \"x\"\n",
        "[[key]]\nname = \"a\"\nvalue = [\"CANARY\"]\n",
        "[[key]]\nname = \"a\"\nvalue = \"CANARY\" # was CANARY\nvalue = \"x\"\n",
        "[[key]]\nname = \"a\"\nvalue = \"CANARY \\x CANARY\"\n",
        "[[key]]\nname = \"a\"\nvalue = \"CANARY CANARY\"\nvalue = \"CANARY\"\n",
        "key = [{ name = \"a\", value = \"CANARY\", weight = 0 }, { name = \"a\", value = \"CANARY\" }]\n",
        "key = [{ name = a\", value = \"CANARY\" }]\n",
        "key = [\"CANARY\"]\n",
        "key = \"CANARY\"\n",
        "[key]\nname = \"a\"\nvalue = \"CANARY\"\n",
        "CANARY\nCANARY\n",
        "a = \"CANARY\"\n",
        "[\"CANARY\"]\nvalue = 1\n",
        "[CANARY.CANARY]\n",
        "[[key]]\nname = \"a\"\nvalue = \"ENV:CANARY-1\"\n",
        "[[key]]\nname = \"a\"\nvalue = \"ENV:CANARY\"\n",
        "[[key]]\nname = \"a\"\nfile = \"CANARY\"\n",
        "[[key]]\nname = \"a\"\nvalue = \"ENV:SECRET_WITH_BLANK\"\nweight = 0",
        "[[key]]\r\nname = \"a\"\r\nvalue = \"CANARY\r\n",
        "[[key]]\nname = \"\"\"x\nvalue = CANARY\"\"\"\nvalue = \"y\"",
    ];
    for keys in in_keys {
        let keys = keys.replace("CANARY", CANARY);
        let directory = directory(&[("sidekey.toml", ""), ("keys.toml", &keys)]);
        let attempt = attempt(
            &directory,
            &[("SECRET_WITH_BLANK", &format!("{CANARY} {CANARY}"))],
        );
        assert!(attempt.outcome.is_err(), "accepted: {keys}");
        let shown = everything_shown(&attempt);
        assert!(!shown.contains(CANARY), "{keys}\n{shown}");
    }
    let in_config = [
        "keys = [\"CANARY\"]\n",
        "CAPTCHAAI_KEYS = CANARY\n",
        "token = \"CANARY\"\n",
        "[[key]]\nname = \"a\"\nvalue = \"CANARY\"\n",
        "[vendor]\nurl = \"https://user:CANARY@host/\"\n",
        "[vendor]\nurl = \"https://host/?key=CANARY\"\n",
        "[vendor]\nurl = \"https://user:CANARY@host/\n",
        "[vendor]\nurl = https://user:CANARY@host/\n",
        "[admin]\ntoken = \"CANARY\"\nlisten = 5\n",
        "CANARY\n",
        "CANARY = 1\n",
        "[vendor.codes]\nCANARY = 1\n",
    ];
    for config in in_config {
        let directory = directory(&[("sidekey.toml", &config.replace("CANARY", CANARY))]);
        let attempt = attempt(
            &directory,
            &[("SIDEKEY_TOKEN", CANARY), ("SIDEKEY_VENDOR__URL", "")],
        );
        assert!(attempt.outcome.is_err(), "accepted: {config}");
        let shown = everything_shown(&attempt);
        assert!(!shown.contains(CANARY), "{config}\n{shown}");
    }
    let variables = [(
        "CAPTCHAAI_KEYS",
        format!("{CANARY} x,,{CANARY}, <no value>"),
    )];
    let attempt = attempt(
        &directory(&[("sidekey.toml", "")]),
        &[(variables[0].0, &variables[0].1)],
    );
    let shown = everything_shown(&attempt);
    assert!(
        attempt.outcome.is_err() && !shown.contains(CANARY),
        "{shown}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_are_understood_or_refused(config in toml_like(), keys in toml_like(), raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let directory = directory(&[("sidekey.toml", &config), ("keys.toml", &keys)]);
        everything_shown(&attempt(&directory, &[]));
        fs::write(directory.path().join("keys.toml"), &raw).unwrap();
        fs::write(directory.path().join("sidekey.toml"), &raw).unwrap();
        everything_shown(&attempt(&directory, &[]));
    }

    /// One good file, with one piece of it cut out or put in twice.
    #[test]
    fn a_damaged_keys_file_shows_no_secret(from in 0usize..200, length in 0usize..30, insert in "[\\[\\]{}\"'=#,.\n a-z]{0,6}") {
        let good = format!("[[key]]\nname = \"a\"\nvalue = \"{CANARY}1\"\nweight = 2\n\n[[key]]\nname = \"b\" # second\nvalue = '{CANARY}2'\ndisabled = true\n");
        let from = from.min(good.len());
        let to = (from + length).min(good.len());
        let keys = format!("{}{insert}{}", &good[..from], &good[to..]);
        let directory = directory(&[("sidekey.toml", ""), ("keys.toml", &keys)]);
        let shown = everything_shown(&attempt(&directory, &[]));
        for part in [CANARY, &CANARY[..14], &CANARY[14..]] {
            prop_assert!(!shown.contains(part), "{}\n{}", keys, shown);
        }
    }
}

/// Pieces of TOML in any order: far more of it is nearly right than random bytes are.
fn toml_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "[[key]]\n",
            "[listen]\n",
            "[vendor.codes]\n",
            "[vendor]\n",
            "http = ",
            "name = ",
            "value = ",
            "weight = ",
            "codes = ",
            "max_body = ",
            "\"16MiB\"",
            "\"",
            "\"\"\"",
            "'",
            "{",
            "}",
            "[",
            "]",
            "=",
            ",",
            "\n",
            "1.0e9",
            "-1",
            "0x7f",
            "nan",
            "1979-05-27",
            "true",
            "é",
            "\u{feff}",
            "ERROR_X",
            ".",
            " ",
            "#",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,8}",
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}
