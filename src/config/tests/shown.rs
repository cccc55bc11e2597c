//! What the admin port shows of a configuration.

use super::shipped::options;
use super::*;
use crate::admin::config::config;

/// Every option that has a notation of its own, otherwise than by default.
const OTHERWISE: &str = r#"
[listen]
http = ["127.0.0.1:1", "[::1]:2"]
max_connections = 7
max_body = "3MiB"
max_body_total = "3145729B"
[admin]
listen = ["127.0.0.1:3"]
[vendor]
resolver = "dns"
profile = "2captcha"
url = "http://127.0.0.1:4"
allow_plaintext = true
connect_timeout = "1500ms"
billing = "threads"
hosts = ["a.example"]
endpoints.submit = "/x.php"
takes.ids = false
limits = { submits = 3, submits_in = "5s", polls = 9, polls_per_task = 2 }
answers.no_slot_json = "ERROR_X"
codes.ERROR_Y = { class = "key-busy", cooldown = "5s", polls = true }
[submit]
deadline = "90s"
max_keys = 9
when_busy = "park"
when_empty = "park"
wait = "250ms"
park_for = "2h"
park_max = 5
[poll]
pace = "0s"
first = "5s"
hide_outage = "1d"
unknown_task = "refuse"
keep = "61s"
[balance]
refresh = "7m"
minimum = 0.02
low = 12.345678
[pool.default]
strategy = "least-busy"
[pool.second]
strategy = "balance"
[prices]
image = 0.000001
[clients]
origins = ["https://a.example"]
nominal_balance = 0.5
[state]
store = "memory"
path = "other.db"
sync = "process"
[log]
format = "json"
level = "warn"
"#;

#[test]
fn what_is_shown_can_be_written_and_means_the_same() {
    for text in ["", OTHERWISE] {
        let settings = of(text);
        let mut shown = config(&settings);
        // Said about it, not of it.
        shown["admin"].as_object_mut().unwrap().remove("has_token");
        shown["vendor"]
            .as_object_mut()
            .unwrap()
            .remove("has_ca_file");
        shown["vendor"]["allow_plaintext"] = true.into();
        shown["state"].as_object_mut().unwrap().remove("url");
        let written = toml::to_string(&without_nulls(shown)).unwrap();
        let mut again = of(&written);
        again.state.url = settings.state.url.clone();
        assert_eq!(again, settings, "{written}");
    }
}

#[test]
fn every_option_is_shown() {
    let shown = config(&of(""));
    // Secrets, and what leads to them, are said to be there; the address above says what this allows.
    let otherwise = [
        "admin.token_file",
        "vendor.ca_file",
        "vendor.allow_plaintext",
    ];
    for option in options().iter().filter(|it| it.contains('.')) {
        let place = format!("/{}", option.replace('.', "/"));
        assert_eq!(
            shown.pointer(&place).is_none(),
            otherwise.contains(&&**option),
            "{option}"
        );
    }
}

#[test]
fn no_secret_of_a_configuration_is_shown() {
    let text = "admin.token_file = \"token\"\nalerts.webhook = \"https://hooks.example/very-hidden\"\n\
        vendor.proxy = \"http://me:very-hidden@proxy.example:3128\"\n\
        state.store = \"redis\"\nstate.url = \"redis://me:very-hidden@127.0.0.1:6379\"";
    let files = [
        ("sidekey.toml", text),
        ("token", "very-hidden-very-hidden-very-hidden"),
    ];
    let shown = config(&loaded(&files, &[("CAPTCHAAI_KEYS", ONE)]).settings);
    assert_eq!(shown["admin"]["has_token"], true);
    let shown = shown.to_string();
    assert!(shown.contains("hooks.example"), "{shown}");
    assert!(shown.contains("http://proxy.example:3128"), "{shown}");
    for secret in ["very-hidden", ONE] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// That a value is written is no part of what it means.
fn of(text: &str) -> Settings {
    let mut settings = loaded(&[("sidekey.toml", text)], &[("CAPTCHAAI_KEYS", ONE)]).settings;
    let listen = &mut settings.listen;
    let data = listen.http.iter_mut().chain(&mut listen.https);
    for listen in data.chain(&mut settings.admin.listen) {
        listen.written = false;
    }
    settings.state.path_written = false;
    settings
}

/// TOML has none: what is left out is its default.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            let kept = kept.map(|(name, value)| (name, without_nulls(value)));
            kept.collect::<serde_json::Map<_, _>>().into()
        }
        other => other,
    }
}
