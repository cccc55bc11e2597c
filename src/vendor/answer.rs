//! What the vendor's answer says. Pure: bytes in, a reading out.
//!
//! The order of the questions matters. Success is looked for first, because an image may read "ERROR" and then
//! `OK|ERROR` is its solution; only what is no success is compared with the error codes.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::profile::{Class, CodeRule, Profile};

/// What was asked, because the same bytes mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    Submit,
    Solve,
    Poll,
    Report,
    Balance,
    Threads,
    Other,
}

impl Asked {
    /// In metrics and traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Solve => "solve",
            Self::Poll => "poll",
            Self::Report => "report",
            Self::Balance => "balance",
            Self::Threads => "threads",
            Self::Other => "other",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A submit was taken. The id is the vendor's own text, digit by digit also where JSON has a number.
    Accepted {
        id: String,
    },
    /// A task's solution. The caller relays the trimmed bytes.
    Final,
    NotReady,
    /// A good answer to any other call.
    Said,
    /// The vendor says no, in words, whatever the HTTP status.
    Code {
        code: String,
        rule: CodeRule,
    },
    /// Nothing that can be understood: after a submit nobody knows whether the vendor took it.
    Trouble {
        why: &'static str,
    },
}

pub fn read(profile: &Profile, asked: Asked, status: u16, body: &[u8]) -> Reading {
    let text = trimmed(body);
    let meant = if text.first() == Some(&b'{') {
        read_json(profile, asked, text)
    } else {
        read_text(profile, asked, text)
    };
    match meant {
        Reading::Code { .. } | Reading::NotReady => meant,
        _ if status == 429 => by_code(profile, asked, "HTTP 429"),
        _ if (200..300).contains(&status) => meant,
        _ if (300..400).contains(&status) => Reading::Trouble { why: "a redirect" },
        _ => Reading::Trouble {
            why: "an HTTP error status",
        },
    }
}

/// Without BOM, surrounding blanks and the trailing newline, at which many clients fail. Shares the buffer.
pub fn trim(body: &Bytes) -> Bytes {
    body.slice_ref(trimmed(body))
}

fn trimmed(body: &[u8]) -> &[u8] {
    let mut text = body.trim_ascii();
    while let Some(rest) = text.strip_prefix(BOM) {
        text = rest.trim_ascii_start();
    }
    text
}

fn read_text(profile: &Profile, asked: Asked, text: &[u8]) -> Reading {
    if text.is_empty() {
        return Reading::Trouble {
            why: "an empty answer",
        };
    }
    if let Some(rest) = text.strip_prefix(b"OK|") {
        return match asked {
            Asked::Submit => accepted(std::str::from_utf8(rest).ok()),
            Asked::Poll | Asked::Solve => Reading::Final,
            _ => Reading::Said,
        };
    }
    if let Some(refused) = read_code(profile, asked, text) {
        return refused;
    }
    let understood = match asked {
        Asked::Submit | Asked::Poll | Asked::Solve | Asked::Threads => false,
        Asked::Report => text == b"OK" || text.starts_with(b"OK_"),
        Asked::Balance => super::account::balance(text).is_some(),
        // Statistics and server load are XML.
        Asked::Other => !is_html(text),
    };
    if understood {
        Reading::Said
    } else if is_html(text) {
        Reading::Trouble {
            why: "an HTML page",
        }
    } else {
        Reading::Trouble {
            why: "an answer of no known form",
        }
    }
}

fn read_json(profile: &Profile, asked: Asked, text: &[u8]) -> Reading {
    let Some(fields) = fields(text) else {
        return Reading::Trouble { why: "broken JSON" };
    };
    let status = fields.get("status").map(|raw| scalar(raw));
    let request = fields.get("request").map(|raw| scalar(raw));
    if status.as_deref() == Some("1") {
        return match asked {
            Asked::Submit => accepted(request.as_deref()),
            Asked::Poll | Asked::Solve => Reading::Final,
            _ => Reading::Said,
        };
    }
    let error = fields.get("error").map(|raw| scalar(raw));
    for code in [request, error].into_iter().flatten() {
        if let Some(refused) = read_code(profile, asked, code.trim().as_bytes()) {
            return refused;
        }
    }
    let understood = status.is_none()
        && match asked {
            Asked::Poll | Asked::Solve => {
                let solved = profile
                    .solution_fields
                    .iter()
                    .any(|name| fields.contains_key(name.as_str()));
                return if solved {
                    Reading::Final
                } else {
                    Reading::Trouble {
                        why: "JSON of no known form",
                    }
                };
            }
            Asked::Balance => super::account::balance(text).is_some(),
            Asked::Other => true,
            Asked::Submit | Asked::Report | Asked::Threads => false,
        };
    // CaptchaAI's threads come with any `status` or none.
    if understood || (asked == Asked::Threads && super::account::threads(text).is_some()) {
        Reading::Said
    } else {
        Reading::Trouble {
            why: "JSON of no known form",
        }
    }
}

/// `None`: these bytes are no code.
fn read_code(profile: &Profile, asked: Asked, text: &[u8]) -> Option<Reading> {
    let code = std::str::from_utf8(text)
        .ok()
        .filter(|code| code.len() <= LONGEST_CODE)?;
    if matches!(code, "CAPCHA_NOT_READY" | "CAPTCHA_NOT_READY") {
        // To a submit this is neither a yes nor a no.
        return Some(match asked {
            Asked::Submit => Reading::Trouble {
                why: "not-ready in answer to a submit",
            },
            _ => Reading::NotReady,
        });
    }
    let listed = profile.codes.contains_key(code) && !code.starts_with("HTTP ");
    (listed || looks_like_a_code(code)).then(|| by_code(profile, asked, code))
}

fn by_code(profile: &Profile, asked: Asked, code: &str) -> Reading {
    // Both `ERROR: 1001` and `ERROR:1001` are seen.
    let listed = match code.strip_prefix("ERROR:") {
        Some(number) => profile
            .codes
            .get(&format!("ERROR: {}", number.trim_start())),
        None => profile.codes.get(code),
    };
    let mut rule = listed.copied().unwrap_or(UNKNOWN_CODE);
    if asked == Asked::Submit && rule.class == Class::Task {
        rule.class = Class::Request;
    }
    Reading::Code {
        code: code.to_owned(),
        rule,
    }
}

fn looks_like_a_code(text: &str) -> bool {
    if matches!(
        text,
        "ERROR" | "IP_BANNED" | "MAX_USER_TURN" | "TOO_MANY_BAD_IMAGES"
    ) {
        return true;
    }
    if let Some(name) = text.strip_prefix("ERROR_") {
        let known = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        return !name.is_empty() && name.bytes().all(known);
    }
    text.strip_prefix("ERROR:").is_some_and(|rest| {
        let number = rest.strip_prefix(' ').unwrap_or(rest);
        number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit())
    })
}

fn accepted(id: Option<&str>) -> Reading {
    match id {
        Some(id)
            if !id.is_empty() && id.len() <= LONGEST_ID && !id.chars().any(char::is_control) =>
        {
            Reading::Accepted { id: id.to_owned() }
        }
        _ => Reading::Trouble {
            why: "accepted, but with no usable id",
        },
    }
}

pub(super) type Fields<'a> = HashMap<String, &'a RawValue>;

/// The top level of a JSON object; a repeated name counts by its last value, as in PHP.
pub(super) fn fields(text: &[u8]) -> Option<Fields<'_>> {
    serde_json::from_slice(text).ok()
}

/// A string without its quotes, or a number, `true`, an array … as it is written: `2122988149` must not become a float.
pub(super) fn scalar(raw: &RawValue) -> String {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
}

/// One of them. Without its `OK|` a solution is whatever is no code.
pub fn read_piece(profile: &Profile, piece: &str) -> Reading {
    read_code(profile, Asked::Poll, piece.trim().as_bytes()).unwrap_or(Reading::Final)
}

/// The joined answers to `ids=`: JSON, one piece for each id in the order asked.
pub fn pieces(body: &[u8]) -> Option<Vec<String>> {
    let fields = fields(body)?;
    let joined = scalar(fields.get("request")?);
    Some(joined.split('|').map(str::to_owned).collect())
}

fn is_html(text: &[u8]) -> bool {
    let head = text[..text.len().min(9)].to_ascii_lowercase();
    head.starts_with(b"<!doctype") || head.starts_with(b"<html")
}

const BOM: &[u8] = b"\xef\xbb\xbf";
/// SECURITY: ids are stored and codes are logged; an answer of a megabyte must become neither.
const LONGEST_ID: usize = 128;
const LONGEST_CODE: usize = 64;
/// A code that nobody has listed is handed to the client and blames no key.
const UNKNOWN_CODE: CodeRule = CodeRule {
    class: Class::Request,
    cooldown: std::time::Duration::ZERO,
    polls: false,
};

#[cfg(test)]
mod tests;
