//! Nothing secret gets out, whatever is written where.

use proptest::prelude::*;
use proptest::strategy::Strategy;

use super::*;

const CANARY: &str = "CANARYc0ffee77c0ffee77CANARY";

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
        "[[key]]\nname = \"a\"\nvalue = \"x\"\npool = \"CANARY!\"\n",
        "[[key]]\nname = \"a\"\nvalue = \"x\"\nbilling = \"CANARY\"\n",
        "[[key]]\nname = \"a\"\nvalue = \"ENV:SECRET_WITH_BLANK\"\nweight = 0",
        "[[key]]\r\nname = \"a\"\r\nvalue = \"CANARY\r\n",
        "[[key]]\nname = \"\"\"x\nvalue = CANARY\"\"\"\nvalue = \"y\"",
        "[[key]]\nname = \"CANARY\"\nvalue = \"CANARY\"\nweight = 0\n",
        "[[key]]\nname = \"a\"\nvalue = \"CANARY\"\n[[key]]\nname = \"CANARY\"\nvalue = \"x\"\n",
        "[[key]]\nname = \"CANARY\"\nvalue = \"x\"\n[[key]]\nname = \"b\"\nvalue = \" CANARY \"\n",
        "[[key]]\nname = \"k-CANARYCANARY\"\nvalue = \"x\"\nweight = 0\n",
        "[[key]]\nname = \"a\"\nvalue = \"ENV:KEY_C0FFEE77C0FFEE77CANARY\"\n",
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
        assert!(!shown.contains("C0FFEE77"), "{keys}\n{shown}");
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
        "[admin]\ntoken_file = \"CANARY\"\n",
        "keys_env = \"CANARY\"\n",
        "keys_env = \"CANARY,CANARY\"\n",
        "CANARY\n",
        "CANARY = 1\n",
        "[vendor.codes]\nCANARY = 1\n",
        "[alerts]\nwebhook = \"http://hooks.example.com/CANARY\"\n",
        "[alerts]\nwebhook = \"https://user:CANARY@hooks.example.com/\"\n",
        "[alerts]\nwebhook = \"https://hooks.example.com/CANARY\"\nwebhook = 1\n",
        "[alerts]\nwebhook = [\"CANARY\"]\n",
        "[state]\nstore = \"redis\"\nurl = \"rediss://u:CANARY@host\"\n",
        "[state]\nstore = \"redis\"\nurl = \"redis://u:CANARY@host/CANARY\"\n",
        "[state]\nstore = \"redis\"\nurl = \"host CANARY\"\n",
        "[state]\nurl = \"redis://u:CANARY@host\nstore = 1\"\n",
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
    let good = format!("[alerts]\nwebhook = \"https://hooks.example.com/{CANARY}?sig={CANARY}\"\n");
    let read = attempt(&directory(&[("sidekey.toml", &good)]), &[]);
    let shown = everything_shown(&read);
    assert!(
        shown.contains("https://hooks.example.com") && !shown.contains(CANARY),
        "{shown}"
    );
    let good = format!("[state]\nstore = \"redis\"\nurl = \"redis://u:{CANARY}@host/2\"\n");
    let shown = everything_shown(&attempt(&directory(&[("sidekey.toml", &good)]), &[]));
    assert!(
        shown.contains("redis://host:6379/2") && !shown.contains(CANARY),
        "{shown}"
    );
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

#[test]
fn a_token_is_never_shown_wherever_it_stands() {
    for tenants in [
        "[[tenant]]\nname = \"a\"\ntoken = \"CANARY\nactive = true\n",
        "[[tenant]]\nname = \"a\"\ntoken = CANARY\n",
        "[[tenant]]\nname = \"a\", token = \"CANARY\"\n",
        "[[tenant]]\nname = \"a\"\ntokne = \"CANARY\"\n",
        "[[tenant]]\nname = \"a\"\nCANARY = \"a\"\n",
        "[[tenant]]\nname = \"CANARY!\"\ntoken = \"x\"\n",
        "[[tenant]]\nname = \"a\"\ntoken = [\"CANARY\"]\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"CANARY\" # was CANARY\ntoken = \"x\"\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"CANARY\"\ntoken_sha256 = \"CANARY\"\n",
        "[[tenant]]\nname = \"a\"\ntoken_sha256 = \"CANARY\"\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"ENV:CANARY\"\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"CANARY\"\n[[tenant]]\nname = \"b\"\ntoken = \"CANARY\"\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"x\"\nrole = \"CANARY\"\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"x\"\npool = \"CANARY!\"\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"x\"\nkeys = [\"CANARY!\"]\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"x\"\nkeys = \"CANARY\"\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"x\"\nproject = \"CANARY!\"\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"x\"\ndaily_limit = \"CANARY\"\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"x\"\nmonthly_budget = \"CANARY\"\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"x\"\nactive = \"CANARY\"\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"x\"\nprices = { image = \"CANARY\" }\n",
        "[[tenant]]\nname = \"a\"\ntoken = \"x\"\nprices = { CANARY = 1 }\n",
        "[tenant_defaults]\ntoken = \"CANARY\"\n",
        "tenant = [\"CANARY\"]\n",
        "[tenant]\nname = \"a\"\ntoken = \"CANARY\"\n",
        "a = \"CANARY\"\n",
        "[[tenant]]\nname = \"CANARY\"\ntoken = \"CANARY\"\npool = \"!\"\n",
        "[[tenant]]\nname = \"CANARY\"\ntoken = \"x\"\n[[tenant]]\nname = \"b\"\ntoken = \"CANARY\"\n",
        "CANARY\n",
    ] {
        let tenants = tenants.replace("CANARY", CANARY);
        let config = "tenants_file = \"tenants.toml\"\nclients.mode = \"tenants\"\n";
        let directory = directory(&[("sidekey.toml", config), ("tenants.toml", &tenants)]);
        let attempt = attempt(&directory, &[]);
        assert!(attempt.outcome.is_err(), "accepted: {tenants}");
        let shown = everything_shown(&attempt);
        assert!(!shown.contains(CANARY), "{tenants}\n{shown}");
    }
}

/// Like no key, so that it can be a name.
const OTHER: &str = "another-secret-of-somebody";

#[test]
fn nothing_is_named_by_what_is_secret_in_another_file() {
    let key = |name: &str, value: &str| format!("[[key]]\nname = '{name}'\nvalue = '{value}'\n");
    let config = "keys_dir = 'd'\ntenants_file = 'tenants.toml'\nclients.mode = 'tenants'\n";
    let tenant = format!("[[tenant]]\nname = 't'\ntoken = '{TWO}'\n");
    let named = format!("[[tenant]]\nname = '{CANARY}'\ntoken = '{TWO}'\n");
    let token = format!("[[tenant]]\nname = 't'\ntoken = '{CANARY}'\n");
    let swapped = format!("[[tenant]]\nname = '{OTHER}'\ntoken = '{CANARY}'\n");
    for (keys, file, content, tenants) in [
        (key(CANARY, ONE), "x", CANARY, &tenant),
        (key("a", CANARY), "x", ONE, &named),
        (key(CANARY, ONE), "x", "0123456789abcdef", &token),
        (key("a", ONE), CANARY, CANARY, &tenant),
        (key("a", ONE), &CANARY.repeat(2), "short", &tenant),
        // A second mistake, which is told with the name.
        (key(CANARY, "short"), "x", CANARY, &tenant),
        (key(CANARY, OTHER), "x", ONE, &swapped),
    ] {
        let file = format!("d/{file}");
        let files = [
            ("sidekey.toml", config),
            ("keys.toml", &keys),
            (&file, content),
            ("tenants.toml", tenants),
        ];
        let attempt = attempt(&directory(&files), &[]);
        assert!(attempt.outcome.is_err(), "accepted: {keys}{file}{tenants}");
        let shown = everything_shown(&attempt);
        assert!(!shown.contains(CANARY) && !shown.contains(OTHER), "{shown}");
    }
}

#[test]
fn a_key_in_the_place_of_a_path_is_refused_and_not_shown() {
    for option in ["keys_file", "keys_dir", "tenants_file", "admin.token_file"] {
        let config = format!("{option} = '{ONE}'\n");
        let attempt = attempt(&directory(&[("sidekey.toml", &config)]), &[]);
        assert!(attempt.outcome.is_err(), "accepted: {option}");
        let shown = everything_shown(&attempt);
        assert!(!shown.contains(ONE), "{shown}");
    }
    let config = format!("keys_file = './{ONE}'\n");
    assert!(
        attempt(&directory(&[("sidekey.toml", &config)]), &[])
            .outcome
            .is_ok()
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
