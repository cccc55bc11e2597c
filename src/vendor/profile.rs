//! A vendor's dialect, as data. Built-in profiles are the TOML files in `profiles/`; the configuration can override any line.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// A profile as it is used: every line present.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pub name: String,
    /// Scheme, host and an optional path prefix: `https://ocr.captchaai.com`. Empty in the `custom` profile.
    pub url: String,
    /// Further host names of this vendor that a client may name in an absolute-form target.
    pub hosts: Vec<String>,
    pub endpoints: Endpoints,
    pub takes: Takes,
    /// JSON fields that make an answer without `status` a solution.
    pub solution_fields: Vec<String>,
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

/// Who is to blame for an error code, and so what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    KeyBad,
    KeyEmpty,
    KeyBusy,
    EgressIp,
    Request,
    Task,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeRule {
    pub class: Class,
    /// How long what was blamed rests.
    pub cooldown: Duration,
}

impl Profile {
    pub const NAMES: &[&str] = &["captchaai", "custom"];

    pub fn builtin(name: &str) -> Option<Self> {
        let url = match name {
            "captchaai" => "https://ocr.captchaai.com",
            "custom" => "",
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            url: url.to_owned(),
            hosts: Vec::new(),
            endpoints: Endpoints {
                submit: "/in.php".to_owned(),
                result: "/res.php".to_owned(),
                solve: "/solve.php".to_owned(),
                load: "/load.php".to_owned(),
            },
            takes: Takes {
                ids: true,
                threadsinfo: true,
            },
            solution_fields: Vec::new(),
            codes: BTreeMap::new(),
        })
    }
}
