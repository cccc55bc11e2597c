//! `[vendor]`: a built-in profile, and lines of it that are written differently.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hyper::Uri;

use super::files::Files;
use super::reader::{At, Reader, Value, shown};
use super::section::Section;
use super::settings::Vendor;
use super::suggest::nearest;
use crate::vendor::profile::{Billing, Class, CodeRule, Profile, Rates};
use crate::vendor::proxy::Proxy;
use crate::vendor::way::{Resolver, Way};

pub(crate) fn vendor(mut section: Section<'_, '_>, files: &mut Files) -> Vendor {
    let (mut profile, profile_at) = profile(&mut section);
    let url = section.text("url");
    let allow_plaintext = section.boolean("allow_plaintext", false);
    let ca_file = section.path("ca_file");
    let connect_timeout = section.duration(
        "connect_timeout",
        Duration::from_secs(2),
        Duration::from_millis(10)..=Duration::from_secs(60),
    );
    let way = way(&mut section);
    if let Some(billing) = billing(&mut section) {
        profile.billing = billing;
    }
    if let Some(hosts) = section.list("hosts") {
        profile.hosts = host_names(section.reader, hosts.value);
    }
    endpoints(section.section("endpoints"), &mut profile);
    let mut takes = section.section("takes");
    profile.takes.ids = takes.boolean("ids", profile.takes.ids).value;
    profile.takes.threadsinfo = takes
        .boolean("threadsinfo", profile.takes.threadsinfo)
        .value;
    takes.done();
    limits(section.section("limits"), &mut profile.limits);
    let mut answers = section.section("answers");
    if let Some(fields) = answers.list("solution_fields") {
        profile.solution_fields = fields.value.into_iter().map(|field| field.value).collect();
    }
    if let Some(code) = answers.text("no_slot_json") {
        profile.no_slot_json = code.value;
    }
    answers.done();
    codes(&mut section, &mut profile.codes);

    match url {
        Some(url) => {
            if let Some(url) = checked_url(section.reader, &url, allow_plaintext.value) {
                profile.url = url;
            }
        }
        None if profile.url.is_empty() => {
            let help = "set `url` in [vendor], such as \"https://solver.example.com\"";
            section.reader.error(
                &profile_at,
                "the profile `custom` has no url of its own",
                help,
            );
        }
        // A profile's own url may be an http one, too.
        None => {
            let url = Value::written(profile.url.clone(), profile_at);
            checked_url(section.reader, &url, allow_plaintext.value);
        }
    }
    let ca_pem = ca_file.and_then(|file| {
        let path = file.value.display();
        match files.read(&file.value) {
            Ok(pem) if memchr::memmem::find(&pem, b"-----BEGIN CERTIFICATE-----").is_some() => {
                return Some(pem);
            }
            Ok(_) => section.reader.error(
                &file.at,
                format!("{path} holds no certificate"),
                "it must be a PEM file",
            ),
            Err(error) => {
                let help = "check the path and its permissions";
                section
                    .reader
                    .error(&file.at, format!("cannot read {path}: {error}"), help);
            }
        }
        None
    });
    section.done();
    Vendor {
        profile,
        ca_pem,
        connect_timeout: connect_timeout.value,
        way,
    }
}

fn way(section: &mut Section<'_, '_>) -> Way {
    let choices = [("system", Resolver::System), ("dns", Resolver::Dns)];
    let resolver = section.choice("resolver", Resolver::System, &choices);
    // Never quoted: it may hold a password.
    let proxy = section.secret_text("proxy").and_then(|url| {
        let proxy = Proxy::parse(url.value.trim());
        let report = |error| {
            let message = format!("the url of `vendor.proxy` {error}");
            let help = "write it like \"http://user:password@proxy.example.com:3128\"";
            section.reader.error(&url.at, message, help);
        };
        proxy.map_err(report).ok()
    });
    if proxy.is_some() && resolver.value == Resolver::Dns {
        section.reader.warn(
            &resolver.at,
            "`resolver` is used by nothing: the proxy looks up the vendor's name",
            "remove it",
        );
    }
    Way {
        resolver: resolver.value,
        proxy,
    }
}

/// None: as the profile says, or for a key as `[vendor]` does.
pub(crate) fn billing(section: &mut Section<'_, '_>) -> Option<Billing> {
    let choices = [
        ("auto", None),
        ("balance", Some(Billing::Balance)),
        ("threads", Some(Billing::Threads)),
    ];
    section.choice("billing", None, &choices).value
}

fn profile(section: &mut Section<'_, '_>) -> (Profile, At) {
    let name = section
        .text("profile")
        .unwrap_or_else(|| Value::default(DEFAULT_PROFILE.to_owned()));
    let found = Profile::builtin(&name.value).or_else(|| {
        let help = match nearest(&name.value, Profile::NAMES.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("one of: {}", Profile::NAMES.join(", ")),
        };
        section.reader.error(
            &name.at,
            format!("no profile is named {}", shown(&name.value)),
            help,
        );
        Profile::builtin(DEFAULT_PROFILE)
    });
    let found =
        found.unwrap_or_else(|| unreachable!("the default profile is built in; a test loads it"));
    (found, name.at)
}

const DEFAULT_PROFILE: &str = "captchaai";

fn endpoints(mut section: Section<'_, '_>, profile: &mut Profile) {
    let endpoints = &mut profile.endpoints;
    for (name, path) in [
        ("submit", &mut endpoints.submit),
        ("result", &mut endpoints.result),
        ("solve", &mut endpoints.solve),
        ("load", &mut endpoints.load),
    ] {
        let Some(Value { value, at }) = section.text(name) else {
            continue;
        };
        let is_path = value.starts_with('/')
            && value
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"?#".contains(&b));
        if is_path {
            *path = value;
        } else {
            let message = format!("{} is not a path", shown(&value));
            section
                .reader
                .error(&at, message, "write it from the slash on: \"/in.php\"");
        }
    }
    section.done();
}

fn limits(mut section: Section<'_, '_>, limits: &mut Rates) {
    let count = |section: &mut Section<'_, '_>, name, limit: &mut u32| {
        *limit = section.integer(name, *limit, 0..=1_000_000).value;
    };
    count(&mut section, "submits", &mut limits.submits);
    let within = Duration::from_secs(1)..=Duration::from_secs(3600);
    limits.submits_in = section
        .duration("submits_in", limits.submits_in, within)
        .value;
    count(&mut section, "polls", &mut limits.polls);
    count(&mut section, "polls_per_task", &mut limits.polls_per_task);
    section.done();
}

fn host_names(reader: &mut Reader<'_>, written: Vec<Value<String>>) -> Vec<String> {
    let mut hosts = Vec::with_capacity(written.len());
    for Value { value, at } in written {
        let is_host = !value.is_empty()
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if is_host {
            hosts.push(value.to_ascii_lowercase());
        } else {
            let help = "write the name alone: \"ocr.captchaai.com\"";
            reader.error(&at, format!("{} is not a host name", shown(&value)), help);
        }
    }
    hosts
}

fn codes(section: &mut Section<'_, '_>, codes: &mut BTreeMap<String, CodeRule>) {
    const CLASSES: [(&str, Class); 8] = [
        ("key-bad", Class::KeyBad),
        ("key-empty", Class::KeyEmpty),
        ("key-busy", Class::KeyBusy),
        ("egress-ip", Class::EgressIp),
        ("request", Class::Request),
        ("no-task", Class::NoTask),
        ("task", Class::Task),
        ("server", Class::Server),
    ];
    for (code, value) in section.entries("codes") {
        let at = At::Text(value.span());
        if code.is_empty()
            || code.len() > 64
            || !code
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-: ".contains(&b))
        {
            section.reader.error(
                &at,
                "this is not an error code",
                "write it as the vendor sends it: ERROR_SOMETHING",
            );
            continue;
        }
        let known = codes.get(code).copied();
        let Some(mut rule) = section.inner(format!("vendor.codes.{code}"), value) else {
            continue;
        };
        let class = rule.choice(
            "class",
            known.map_or(Class::Server, |known| known.class),
            &CLASSES,
        );
        let rest = known.map_or(Duration::ZERO, |known| known.cooldown);
        let cooldown = rule.duration(
            "cooldown",
            rest,
            Duration::ZERO..=Duration::from_secs(86_400),
        );
        let polls = rule.boolean("polls", known.is_some_and(|known| known.polls));
        let says_class = value
            .get_ref()
            .as_table()
            .is_some_and(|rule| rule.contains_key("class"));
        if known.is_none() && !says_class {
            rule.reader.error(
                &at,
                "a code that the profile does not have needs a `class`",
                "add class = \"server\"",
            );
        }
        rule.done();
        codes.insert(
            code.to_owned(),
            CodeRule {
                class: class.value,
                cooldown: cooldown.value,
                polls: polls.value,
            },
        );
    }
}

/// Scheme, host, maybe a port and a path in front of the endpoints, without the last slash.
/// The url is not repeated in messages: it may hold a password.
fn checked_url(
    reader: &mut Reader<'_>,
    url: &Value<String>,
    allow_plaintext: bool,
) -> Option<String> {
    let example = "write it like \"https://ocr.captchaai.com\"";
    let text = url.value.trim();
    if text.contains('@') {
        reader.error(
            &url.at,
            "a url must not hold a user name or password",
            example,
        );
        return None;
    }
    if text.contains(['?', '#']) {
        reader.error(
            &url.at,
            "a url must not hold a query or a fragment",
            example,
        );
        return None;
    }
    let uri: Option<Uri> = text.parse().ok();
    let parts = uri.as_ref().and_then(|uri| {
        Some((
            uri.scheme_str()?,
            uri.host().filter(|host| !host.is_empty())?,
        ))
    });
    match parts {
        Some(("https", _)) => {}
        Some(("http", host)) if !allow_plaintext => {
            let message = format!("over http the keys would travel in the clear to {host}");
            let help =
                "set an https `url`, or allow_plaintext = true if the way to that host is safe";
            reader.error(&url.at, message, help);
            return None;
        }
        Some(("http", host)) => {
            if !is_loopback(host) {
                reader.warn(
                    &url.at,
                    "the keys travel in the clear to another host",
                    "use https if the vendor has it",
                );
            }
        }
        _ => {
            reader.error(
                &url.at,
                "this is not a url with https:// and a host",
                example,
            );
            return None;
        }
    }
    Some(text.trim_end_matches('/').to_owned())
}

fn is_loopback(host: &str) -> bool {
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
