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
fn every_shipped_file_loads() {
    let mut files = Vec::new();
    for entry in fs::read_dir("conf").unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(
            path.extension().and_then(|e| e.to_str()),
            Some("toml"),
            "{path:?}"
        );
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.push((name, fs::read_to_string(&path).unwrap()));
    }
    let mut count = 0;
    for (name, text) in &files {
        let config = match name.as_str() {
            // The fake vendor's own: `cli::sandbox` loads it.
            "sandbox.toml" => continue,
            keys if keys.starts_with("keys") => format!("keys_file = {keys:?}"),
            tenants if tenants.contains("tenants") => format!(
                "keys_file = \"keys.example.toml\"\ntenants_file = {tenants:?}\n[clients]\nmode = \"tenants\""
            ),
            _ => text.clone(),
        };
        let mut beside: Vec<_> = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        beside.push(("sidekey.toml", &config));
        let Loaded {
            warnings,
            keys,
            tenants,
            settings,
        } = loaded(&beside, &[]);
        assert_eq!(warnings.count(Severity::Error), 0, "{name}: {warnings}");
        assert_eq!(
            keys.len(),
            if name == "reference.toml" { 0 } else { 2 },
            "{name}"
        );
        let told_apart = settings.clients.mode == Mode::Tenants;
        assert_eq!(tenants.is_empty(), !told_apart, "{name}");
        count += 1;
    }
    assert!(count >= 6, "only {count} files in conf/");
}

/// Every option that the parser asks for.
fn options() -> BTreeSet<String> {
    let environment = Environment::default();
    let mut reader = Reader::new(&environment, Path::new(""));
    super::super::options::read(
        &mut reader.root(None),
        Occasion::Start,
        &mut Files::default(),
    );
    reader.options().map(str::to_owned).collect()
}
