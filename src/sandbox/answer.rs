//! Answers in the vendor's words, as text and as JSON, without a trailing newline.

use serde_json::json;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// A task was made.
    Task { id: String, as_number: bool },
    /// A task's answer; the price only where it was asked for.
    Solved {
        text: String,
        json: Option<String>,
        price_micros: Option<i64>,
    },
    /// An error, or `CAPCHA_NOT_READY`.
    Code(String),
    /// A bare text: a balance, `OK_REPORT_RECORDED`, joined answers of `ids=`.
    Plain(String),
    /// The same bytes in both formats.
    Verbatim(String),
}

impl Answer {
    pub(super) fn code(code: impl Into<String>) -> Self {
        Self::Code(code.into())
    }

    /// For the record: `OK` or the code.
    pub(super) fn outcome(&self) -> &str {
        match self {
            Self::Code(code) => code,
            _ => "OK",
        }
    }

    pub(super) fn render(&self, json: bool, error_text: bool) -> String {
        match (self, json) {
            (Self::Task { id, .. }, false) => format!("OK|{id}"),
            (
                Self::Task {
                    id,
                    as_number: true,
                },
                true,
            ) => format!("{{\"status\":1,\"request\":{id}}}"),
            (
                Self::Task {
                    id,
                    as_number: false,
                },
                true,
            ) => success(id),
            (
                Self::Solved {
                    text,
                    price_micros: None,
                    ..
                },
                false,
            ) => format!("OK|{text}"),
            (
                Self::Solved {
                    text,
                    price_micros: Some(price),
                    ..
                },
                false,
            ) => format!("OK|{text}|{}", dollars(*price)),
            (
                Self::Solved {
                    json: Some(json), ..
                },
                true,
            ) => json.clone(),
            (
                Self::Solved {
                    text,
                    price_micros: None,
                    ..
                },
                true,
            ) => success(text),
            (
                Self::Solved {
                    text,
                    price_micros: Some(price),
                    ..
                },
                true,
            ) => {
                format!(
                    "{{\"status\":1,\"request\":{},\"price\":\"{}\"}}",
                    json!(text),
                    dollars(*price)
                )
            }
            (Self::Code(text) | Self::Plain(text) | Self::Verbatim(text), false) => text.clone(),
            (Self::Code(code), true) if error_text && code != "CAPCHA_NOT_READY" => {
                let text = format!("the sandbox says {code}");
                format!(
                    "{{\"status\":0,\"request\":{},\"error_text\":{}}}",
                    json!(code),
                    json!(text)
                )
            }
            (Self::Code(code), true) => format!("{{\"status\":0,\"request\":{}}}", json!(code)),
            (Self::Plain(text), true) => success(text),
            (Self::Verbatim(text), true) => text.clone(),
        }
    }
}

fn success(request: &str) -> String {
    format!("{{\"status\":1,\"request\":{}}}", json!(request))
}

/// `12.345`, `0.00085`, `10`: as many decimals as needed.
pub(super) fn dollars(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let (whole, rest) = (
        micros.unsigned_abs() / 1_000_000,
        micros.unsigned_abs() % 1_000_000,
    );
    if rest == 0 {
        return format!("{sign}{whole}");
    }
    let rest = format!("{rest:06}");
    format!("{sign}{whole}.{}", rest.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_as_many_decimals_as_it_needs() {
        for (micros, text) in [
            (12_345_000, "12.345"),
            (850, "0.00085"),
            (10_000_000, "10"),
            (0, "0"),
            (-1, "-0.000001"),
        ] {
            assert_eq!(dollars(micros), text);
        }
    }

    #[test]
    fn both_formats_are_the_vendors_own() {
        let task = |as_number| Answer::Task {
            id: "73548291".into(),
            as_number,
        };
        assert_eq!(task(false).render(false, false), "OK|73548291");
        assert_eq!(
            task(false).render(true, false),
            r#"{"status":1,"request":"73548291"}"#
        );
        assert_eq!(
            task(true).render(true, false),
            r#"{"status":1,"request":73548291}"#
        );
        let solved = Answer::Solved {
            text: "ABCDE".into(),
            json: None,
            price_micros: Some(850),
        };
        assert_eq!(solved.render(false, false), "OK|ABCDE|0.00085");
        assert_eq!(
            solved.render(true, false),
            r#"{"status":1,"request":"ABCDE","price":"0.00085"}"#
        );
        let code = Answer::code("ERROR_ZERO_BALANCE");
        assert_eq!(
            code.render(true, false),
            r#"{"status":0,"request":"ERROR_ZERO_BALANCE"}"#
        );
        assert!(
            code.render(true, true)
                .contains(r#""error_text":"the sandbox says"#)
        );
        assert_eq!(
            Answer::code("CAPCHA_NOT_READY").render(true, true),
            r#"{"status":0,"request":"CAPCHA_NOT_READY"}"#
        );
    }
}
