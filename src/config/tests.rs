//! Loading as a whole: precedence and sources of keys. Other subjects have files of their own.

mod files;
mod secrets;
mod shipped;
mod shown;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::environment::Environment;
use super::files::Files;
use super::report::{Report, Severity};
use super::settings::*;
use super::{Attempt, Input, Loaded, load};

const ONE: &str = "0123456789abcdef0123456789abcde1";
const TWO: &str = "0123456789abcdef0123456789abcde2";

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
fn money_is_read_exactly_wherever_it_is_written() {
    let file = "[balance]\nminimum = 0.1\nlow = 5\n[prices]\nimage = 5e-4\nother = 0.0015\n";
    let variables = [
        ("CAPTCHAAI_KEYS", "a,b"),
        ("SIDEKEY_PRICES__BLS", " 0.00085 "),
    ];
    let settings = loaded(&[("sidekey.toml", file)], &variables).settings;
    assert_eq!(settings.balance.minimum_micro_usd, 100_000);
    assert_eq!(settings.balance.low_micro_usd, 5_000_000);
    let price = |kind| settings.prices.price(kind);
    assert_eq!((price("image"), price("bls")), (500, 850));
    assert_eq!(
        (price("recaptcha_v2"), price("never heard of")),
        (3_000, 1_500)
    );
}

#[test]
fn billing_is_the_profiles_unless_written() {
    use crate::vendor::profile::Billing::{Balance, Threads};
    let keys = format!(
        "[[key]]\nname = \"a\"\nvalue = \"{ONE}\"\nbilling = \"balance\"\n\
         [[key]]\nname = \"b\"\nvalue = \"{TWO}\"\nbilling = \"auto\"\n"
    );
    for (config, expected) in [
        ("", Threads),
        ("[vendor]\nbilling = \"auto\"", Threads),
        ("[vendor]\nbilling = \"balance\"", Balance),
        ("[vendor]\nprofile = \"2captcha\"", Balance),
        (
            "[vendor]\nprofile = \"2captcha\"\nbilling = \"threads\"",
            Threads,
        ),
    ] {
        let files = [("sidekey.toml", config), ("keys.toml", &keys)];
        let Loaded { settings, keys, .. } = loaded(&files, &[]);
        assert_eq!(settings.vendor.profile.billing, expected, "{config}");
        assert_eq!((keys[0].billing, keys[1].billing), (Some(Balance), None));
    }
}

#[test]
fn every_type_that_a_task_can_have_has_a_price() {
    let prices = loaded(&[("sidekey.toml", "")], &[("CAPTCHAAI_KEYS", "a,b")])
        .settings
        .prices;
    assert!(crate::tasks::kind::ALL.iter().eq(prices.0.keys()));
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

#[test]
fn parking_without_a_disk_is_warned_of() {
    let memory = "[state]\nstore = \"memory\"\n";
    let parks = "[submit]\nwhen_empty = \"park\"\n";
    for (config, warned) in [
        (memory.to_owned(), false),
        (parks.to_owned(), false),
        (format!("{parks}{memory}"), true),
    ] {
        let keys = "[[key]]\nname = \"a\"\nvalue = \"0123456789abcdef0123456789abcdef\"\n";
        let loaded = loaded(&[("sidekey.toml", &config), ("keys.toml", keys)], &[]);
        let says = loaded
            .warnings
            .to_string()
            .contains("parked in memory only");
        assert_eq!(says, warned, "{config}");
    }
}
