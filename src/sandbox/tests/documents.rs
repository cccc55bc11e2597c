use std::collections::BTreeSet;

use super::*;

#[test]
fn the_sample_configuration_shows_every_option_with_its_default() {
    let text = include_str!("../../../conf/sandbox.toml");
    let sample: SandboxConfig = toml::from_str(text).unwrap();
    sample.check().unwrap();
    let accounts = sample.accounts.clone();
    assert_eq!(
        SandboxConfig {
            accounts: Vec::new(),
            ..sample
        },
        SandboxConfig::default()
    );
    assert_eq!(accounts.len(), 2);

    let shown: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| Some(line.trim_start_matches("# ").split_once(" = ")?.0))
        .collect();
    let names = |value: serde_json::Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    for name in names(serde_json::to_value(SandboxConfig::default()).unwrap()) {
        assert!(
            name == "accounts" || shown.contains(name.as_str()),
            "{name} is not shown"
        );
    }
    for name in names(serde_json::to_value(AccountConfig::default()).unwrap()) {
        assert!(shown.contains(name.as_str()), "{name} is not shown");
    }
}
