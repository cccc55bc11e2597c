//! A vendor's dialect, as data. Built-in profiles are the TOML files in `profiles/`; the configuration can override any line.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A profile as it is used: every line present.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub name: String,
    /// Scheme, host and an optional path prefix: `https://ocr.captchaai.com`. Empty in the `custom` profile.
    pub url: String,
    /// Host names of this vendor that a client may name in an absolute-form target, whatever `url` is.
    pub hosts: Vec<String>,
    pub endpoints: Endpoints,
    pub takes: Takes,
    pub billing: Billing,
    /// What the vendor states that an account may call.
    pub limits: Rates,
    /// JSON fields that make an answer without `status` a solution.
    pub solution_fields: Vec<String>,
    /// What JSON clients hear while every slot is taken. In text it is ERROR_NO_SLOT_AVAILABLE everywhere.
    pub no_slot_json: String,
    /// By the code's exact text; a status without a known body is written `HTTP 429`.
    pub codes: BTreeMap<String, CodeRule>,
}

/// Paths below `url`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    pub submit: String,
    pub result: String,
    pub solve: String,
    pub load: String,
}

/// Which optional calls the vendor is known to take.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Takes {
    /// `res.php?action=get&ids=1,2,3`
    pub ids: bool,
    /// `res.php?action=threadsinfo`
    pub threadsinfo: bool,
}

/// What an account pays for, and so what decides whether it can take work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Billing {
    /// For each solve, out of its balance.
    Balance,
    /// For so many slots at a time. Its balance then says nothing.
    Threads,
}

/// 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// At most so many submits…
    pub submits: u32,
    /// … within so long.
    #[serde(deserialize_with = "seconds")]
    pub submits_in: Duration,
    /// At most so many other calls to begin with…
    pub polls: u32,
    /// … and so many more for each accepted submit.
    pub polls_per_task: u32,
}

/// Who is to blame for an error code, and so what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    KeyBad,
    KeyEmpty,
    KeyBusy,
    EgressIp,
    Request,
    /// The account has no such task: another account may.
    NoTask,
    Task,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeRule {
    pub class: Class,
    /// How long what was blamed rests.
    #[serde(default, deserialize_with = "seconds")]
    pub cooldown: Duration,
    /// Whether the account must not be polled either while it rests.
    #[serde(default)]
    pub polls: bool,
}

impl Profile {
    /// The default first.
    pub const NAMES: &'static [&'static str] = &[
        "captchaai",
        "2captcha",
        "rucaptcha",
        "solvecaptcha",
        "azcaptcha",
        "custom",
    ];

    pub fn builtin(name: &str) -> Option<Self> {
        if !Self::NAMES.contains(&name) {
            return None;
        }
        let mut table = with_base(name)?;
        table.insert("name".to_owned(), name.into());
        table.try_into().ok()
    }

    /// The vendor's ways to say that every slot is taken.
    pub fn is_no_slot(&self, code: &str) -> bool {
        code == "ERROR_NO_SLOT_AVAILABLE" || code == self.no_slot_json
    }
}

fn with_base(name: &str) -> Option<toml::Table> {
    let mut table: toml::Table = file(name)?.parse().ok()?;
    match table.remove("base") {
        Some(base) => {
            let mut whole = with_base(base.as_str()?)?;
            lay_over(&mut whole, table);
            Some(whole)
        }
        None => Some(table),
    }
}

/// Tables are merged line by line; everything else is replaced. A code's rule is one line, not a table to merge.
fn lay_over(below: &mut toml::Table, above: toml::Table) {
    for (name, value) in above {
        match (below.get_mut(&name), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) if !is_rule(below) => {
                lay_over(below, above);
            }
            (_, value) => {
                below.insert(name, value);
            }
        }
    }
}

fn is_rule(table: &toml::Table) -> bool {
    table.contains_key("class")
}

fn file(name: &str) -> Option<&'static str> {
    Some(match name {
        "common" => include_str!("profiles/common.toml"),
        "captchaai" => include_str!("profiles/captchaai.toml"),
        "2captcha" => include_str!("profiles/2captcha.toml"),
        "rucaptcha" => include_str!("profiles/rucaptcha.toml"),
        "solvecaptcha" => include_str!("profiles/solvecaptcha.toml"),
        "azcaptcha" => include_str!("profiles/azcaptcha.toml"),
        "custom" => include_str!("profiles/custom.toml"),
        _ => return None,
    })
}

/// `"60s"`: the only spelling that the profile files use.
fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    text.strip_suffix('s')
        .and_then(|number| number.parse().ok())
        .map(Duration::from_secs)
        .ok_or_else(|| de::Error::custom("a cooldown is written in seconds: \"60s\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builtin(name: &str) -> Profile {
        Profile::builtin(name).unwrap_or_else(|| panic!("{name} does not parse"))
    }

    fn rule(class: Class, seconds: u64) -> CodeRule {
        CodeRule {
            class,
            cooldown: Duration::from_secs(seconds),
            polls: false,
        }
    }

    #[test]
    fn every_name_has_a_profile_and_no_other_has() {
        for name in Profile::NAMES {
            assert_eq!(builtin(name).name, *name);
        }
        assert_eq!(Profile::NAMES[0], "captchaai");
        assert!(Profile::builtin("common").is_none());
        assert!(Profile::builtin("").is_none());
    }

    #[test]
    fn zero_balance_means_busy_at_captchaai_and_empty_elsewhere() {
        assert_eq!(
            builtin("captchaai").codes["ERROR_ZERO_BALANCE"],
            rule(Class::KeyBusy, 1)
        );
        for name in [
            "2captcha",
            "rucaptcha",
            "solvecaptcha",
            "azcaptcha",
            "custom",
        ] {
            assert_eq!(
                builtin(name).codes["ERROR_ZERO_BALANCE"],
                rule(Class::KeyEmpty, 60),
                "{name}"
            );
        }
    }

    #[test]
    fn an_override_keeps_the_other_lines_of_its_base() {
        let (base, over) = (builtin("2captcha"), builtin("solvecaptcha"));
        assert_eq!(over.codes, base.codes);
        assert_eq!(over.endpoints, base.endpoints);
        assert!(base.takes.ids && !over.takes.ids);
        assert_eq!(over.url, "https://api.solvecaptcha.com");
    }

    #[test]
    fn bans_rest_as_long_as_the_vendor_says() {
        let codes = builtin("2captcha").codes;
        for (code, expected) in [
            ("ERROR_KEY_DOES_NOT_EXIST", rule(Class::KeyBad, 60)),
            ("MAX_USER_TURN", rule(Class::KeyBusy, 10)),
            ("ERROR_NO_SLOT_AVAILABLE", rule(Class::KeyBusy, 1)),
            ("ERROR: 1001", rule(Class::KeyBusy, 600)),
            ("ERROR: 1002", rule(Class::KeyBusy, 300)),
            ("ERROR: 1003", rule(Class::KeyBusy, 30)),
            ("ERROR: 1004", rule(Class::EgressIp, 600)),
            ("IP_BANNED", rule(Class::EgressIp, 300)),
            ("ERROR_UPLOAD", rule(Class::Request, 0)),
            ("ERROR_CAPTCHA_UNSOLVABLE", rule(Class::Task, 0)),
        ] {
            assert_eq!(codes[code], expected, "{code}");
        }
        let polls: Vec<_> = codes.iter().filter(|(_, rule)| rule.polls).collect();
        let too_many = |seconds| CodeRule {
            polls: true,
            ..rule(Class::KeyBusy, seconds)
        };
        let expected = [
            ("ERROR: 1005", too_many(300)),
            ("ERROR_TOO_MUCH_REQUESTS", too_many(5)),
            ("HTTP 429", too_many(5)),
        ];
        let polls: Vec<_> = polls
            .into_iter()
            .map(|(code, rule)| (code.as_str(), *rule))
            .collect();
        assert_eq!(polls, expected);
    }

    #[test]
    fn only_captchaai_sells_threads() {
        for name in Profile::NAMES {
            let threads = builtin(name).billing == Billing::Threads;
            assert_eq!(threads, *name == "captchaai", "{name}");
        }
    }

    #[test]
    fn only_custom_has_no_address() {
        for name in Profile::NAMES {
            assert_eq!(builtin(name).url.is_empty(), *name == "custom", "{name}");
        }
    }
}
