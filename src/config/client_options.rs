//! `[clients]`: who may call.

use super::reader::{Value, shown};
use super::section::Section;
use super::settings::{Clients, Mode};

pub(super) fn clients(mut section: Section<'_, '_>) -> Clients {
    let modes = [("open", Mode::Open), ("tenants", Mode::Tenants)];
    let mode = section.choice("mode", Mode::Open, &modes);
    let nominal_balance = section.dollars("nominal_balance", 10_000_000, 1_000_000_000_000);
    let mut origins = Vec::new();
    for Value { value, at } in section
        .list("origins")
        .map(|list| list.value)
        .unwrap_or_default()
    {
        let lower = value.to_ascii_lowercase();
        if is_origin(&lower) {
            origins.push(lower);
        } else {
            let help = "write it as browsers send it: \"https://app.example.com\", without a path or a slash at the end";
            section
                .reader
                .error(&at, format!("{} is not an origin", shown(&value)), help);
        }
    }
    section.done();
    Clients {
        mode: mode.value,
        nominal_balance_micro_usd: nominal_balance.value,
        origins,
    }
}

/// `scheme://host` or `scheme://host:port`, in lower case.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let is_made_of = |text: &str, others: &[u8]| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || others.contains(&b))
    };
    is_made_of(scheme, b"+-.")
        && is_made_of(host, b"-._[]:")
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for good in [
            "https://a.example",
            "http://localhost:3000",
            "http://[::1]:80",
            "http://[::1]",
            "chrome-extension://abc",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "null",
            "*",
            "a.example",
            "https://",
            "https://a/",
            "https://a:",
            "https://a:x",
            "https://u@a",
            "https://*.a",
            "://a",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
