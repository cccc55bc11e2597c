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

/// The words of a shell line that quotes only with `'`.
fn words(line: &str) -> Vec<String> {
    let pieces = line.split('\'').enumerate();
    pieces
        .flat_map(|(n, piece)| match n % 2 {
            1 => vec![piece.to_owned()],
            _ => piece.split_whitespace().map(str::to_owned).collect(),
        })
        .collect()
}

#[tokio::test]
async fn every_curl_line_of_the_manual_works() {
    let sandbox = begin(SandboxConfig::default().with_three_accounts()).await;
    let lines = include_str!("../../../docs/sandbox.md").lines();
    let mut count = 0;
    for line in lines.filter(|line| line.starts_with("curl ")) {
        let words = words(line);
        let after = |flag: &str| {
            words
                .iter()
                .skip_while(|word| *word != flag)
                .nth(1)
                .map(String::as_str)
        };
        let target = words
            .iter()
            .find_map(|word| word.strip_prefix("http://127.0.0.1:8089"))
            .unwrap();
        let (method, content) = (
            after("-X").unwrap_or("GET"),
            after("-d").unwrap_or_default(),
        );
        let length = content.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{content}"
        );
        let (head, answer) = send(&sandbox, &request).await;
        assert!(head.starts_with("http/1.1 200"), "{line}\n{head}\n{answer}");
        assert!(!answer.contains("ERROR_"), "{line}\n{answer}");
        count += 1;
    }
    assert!(count > 20, "only {count} lines were found");
}
