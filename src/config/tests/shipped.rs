//! The files in `conf/`.

use std::collections::BTreeSet;

use super::super::Occasion;
use super::super::reader::Reader;
use super::super::settings::Mode;
use super::*;

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
fn every_shipped_file_loads_and_nothing_is_doubtful_in_it() {
    let files = shipped();
    let is_of = |name: &str, what: &str| name == what || name.ends_with(&format!(".{what}"));
    let mut count = 0;
    for (name, text) in &files {
        let config = match name.as_str() {
            // The fake vendor's own: `cli::sandbox` loads it. It names the keys that are not there.
            "sandbox.toml" | "reference.toml" => continue,
            // Loaded with those that name them.
            keys if is_of(keys, "keys.toml") => continue,
            tenants if is_of(tenants, "tenants.toml") => continue,
            "keys.example.toml" => "keys_file = \"keys.example.toml\"",
            "tenants.example.toml" => EXAMPLES,
            _ => text,
        };
        let Loaded {
            warnings,
            keys,
            tenants,
            settings,
            ..
        } = sample(&files, config);
        // Its admin port is meant for probes and metrics only, and that is what the warning says.
        let expected = usize::from(name == "minimal.toml");
        assert_eq!(warnings.diagnostics().len(), expected, "{name}: {warnings}");
        assert!(keys.len() > 1, "{name}");
        let told_apart = settings.clients.mode == Mode::Tenants;
        assert_eq!(tenants.is_empty(), !told_apart, "{name}");
        count += 1;
    }
    assert!(count >= 5, "only {count} files in conf/");
}

#[test]
fn the_samples_show_the_patterns_that_they_promise() {
    let files = shipped();
    let of = |name: &str| {
        let (_, text) = files.iter().find(|(file, _)| file == name).unwrap();
        sample(&files, text).tenants
    };
    let tenant = |tenants: &[TenantEntry], name: &str| {
        let found = tenants.iter().find(|tenant| tenant.name == name);
        found.unwrap().clone()
    };
    let team = of("team.toml");
    let (alice, bob) = (tenant(&team, "alice"), tenant(&team, "bob"));
    assert_eq!(
        (alice.limits.daily, alice.limits.rate_per_minute),
        (Some(500), None)
    );
    assert_eq!(
        (alice.keys, bob.keys),
        (Some(vec!["alice".to_owned()]), None)
    );
    assert_eq!(
        tenant(&team, "checkout").project.as_deref(),
        Some("checkout")
    );
    assert_eq!(
        tenant(&team, "production").pool.as_deref(),
        Some("production")
    );
    assert_eq!(tenant(&team, "operator").role, Role::Admin);
    let saas = of("saas.toml");
    let (acme, globex) = (tenant(&saas, "acme"), tenant(&saas, "globex"));
    assert_eq!(
        (acme.limits.daily, acme.limits.rate_per_minute),
        (Some(1000), Some(10))
    );
    assert!(acme.keys.is_some() && acme.fallback_pool.is_some() && acme.fallback_when_empty);
    assert_eq!(globex.limits.budget_micro_usd, Some(25_000_000));
    assert!(!tenant(&saas, "initech").active);
}

/// The parser itself says which options there are.
#[test]
fn the_example_of_tenants_shows_every_option() {
    let known = |table: &str| -> BTreeSet<String> {
        let files = [
            (
                "sidekey.toml",
                "tenants_file = \"tenants.toml\"\nclients.mode = \"tenants\"",
            ),
            ("tenants.toml", &*format!("{table}\n\"?\" = 1\n")),
        ];
        let report = refused(&files, &[]);
        let help = report
            .diagnostics()
            .iter()
            .find_map(|found| found.help.as_deref()?.strip_prefix("known here: "));
        help.unwrap().split(", ").map(str::to_owned).collect()
    };
    let example = fs::read_to_string("conf/tenants.example.toml").unwrap();
    let example: toml::Table = example.parse().unwrap();
    let shown: BTreeSet<String> = example["tenant"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|tenant| tenant.as_table().unwrap().keys().cloned())
        .collect();
    assert_eq!(shown, known("[[tenant]]"));
    let text = fs::read_to_string("conf/tenants.example.toml").unwrap();
    let defaults = &text[text.find("[tenant_defaults]").unwrap()..text.find("[[tenant]]").unwrap()];
    for option in known("[tenant_defaults]") {
        assert!(defaults.contains(&option), "{option}");
    }
}

const EXAMPLES: &str = "keys_file = \"keys.example.toml\"\ntenants_file = \"tenants.example.toml\"\nclients.mode = \"tenants\"";

/// Names and texts.
fn shipped() -> Vec<(String, String)> {
    let files = fs::read_dir("conf").unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.ends_with(".toml"), "{name}");
        (name, fs::read_to_string(&path).unwrap())
    });
    files.collect()
}

/// This configuration, with all shipped files beside it.
fn sample(files: &[(String, String)], config: &str) -> Loaded {
    let mut beside: Vec<_> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    beside.push(("sidekey.toml", config));
    loaded(&beside, &[])
}

/// Every option that the parser asks for.
pub(super) fn options() -> BTreeSet<String> {
    let environment = Environment::default();
    let mut reader = Reader::new(&environment, Path::new(""));
    super::super::options::read(
        &mut reader.root(None),
        Occasion::Start,
        &mut Files::default(),
    );
    reader.options().map(str::to_owned).collect()
}
