//! An outcome, in the client's own format: status 200, text or JSON as it asked, no trailing newline, no BOM.
//!
//! Nearly all clients take anything else for the end of the solve: an HTTP error, HTML, an empty body.

use bytes::Bytes;
use hyper::Response;
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderValue};

pub use crate::vendor::relay::Relay;

use super::refuse::Refusal;
use crate::wire::Hints;

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// What the vendor said, byte for byte.
    Relay(Relay),
    /// A control code of the vendor's, in the client's format.
    Code(String),
    /// The commonest of them, said without a call.
    NotReady,
    /// A value that Sidekey puts together: a balance, an id, merged answers.
    Value(String),
    /// Text clients are given the value as it is, without `OK|`.
    Bare(String),
    Threads {
        total: u64,
        working: u64,
    },
    Refused(Refusal),
}

impl Outcome {
    pub fn into_response(self, hints: Hints) -> Response<Bytes> {
        let json = hints.json;
        let own = match self {
            Self::Relay(relay) => {
                return response(relay.body, relay.content_type, relay.allow_origin, hints);
            }
            Self::NotReady => {
                let body = Bytes::from_static(if json {
                    br#"{"status":0,"request":"CAPCHA_NOT_READY"}"#
                } else {
                    b"CAPCHA_NOT_READY"
                });
                return response(body, None, None, hints);
            }
            Self::Code(code) if json => format!(r#"{{"status":0,"request":{}}}"#, quoted(&code)),
            Self::Code(code) => code,
            Self::Value(value) | Self::Bare(value) if json => {
                format!(r#"{{"status":1,"request":{}}}"#, quoted(&value))
            }
            Self::Value(value) => format!("OK|{value}"),
            Self::Bare(value) => value,
            // Documented in JSON only, and its counts as strings.
            Self::Threads { total, working } => {
                format!(r#"{{"status":1,"threads":"{total}","working_threads":"{working}"}}"#)
            }
            Self::Refused(refusal) if json => {
                let text = quoted(&format!("sidekey: {}", refusal.sentence()));
                format!(
                    r#"{{"status":0,"request":"{}","error_text":{text}}}"#,
                    refusal.code_in_json()
                )
            }
            Self::Refused(refusal) => refusal.code().to_owned(),
        };
        response(own.into(), None, None, hints)
    }
}

fn response(
    body: Bytes,
    content_type: Option<HeaderValue>,
    allow_origin: Option<HeaderValue>,
    hints: Hints,
) -> Response<Bytes> {
    let content_type = content_type.unwrap_or_else(|| {
        // What old clients expect around plain text.
        HeaderValue::from_static(if hints.json {
            "application/json; charset=utf-8"
        } else {
            "text/html; charset=UTF-8"
        })
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    let any_origin = || hints.header_acao.then(|| HeaderValue::from_static("*"));
    if let Some(origin) = allow_origin.or_else(any_origin) {
        response
            .headers_mut()
            .insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Hints = Hints {
        json: false,
        header_acao: false,
    };
    const JSON: Hints = Hints {
        json: true,
        header_acao: true,
    };

    #[test]
    fn own_words_take_the_clients_format() {
        for (outcome, text, json) in [
            (
                Outcome::Code("CAPCHA_NOT_READY".into()),
                "CAPCHA_NOT_READY",
                r#"{"status":0,"request":"CAPCHA_NOT_READY"}"#,
            ),
            (
                Outcome::NotReady,
                "CAPCHA_NOT_READY",
                r#"{"status":0,"request":"CAPCHA_NOT_READY"}"#,
            ),
            (
                Outcome::Value("74\"1".into()),
                "OK|74\"1",
                r#"{"status":1,"request":"74\"1"}"#,
            ),
            (
                Outcome::Bare("12.5".into()),
                "12.5",
                r#"{"status":1,"request":"12.5"}"#,
            ),
            (
                Outcome::Refused(Refusal::UnknownTask),
                "ERROR_WRONG_CAPTCHA_ID",
                r#"{"status":0,"request":"ERROR_WRONG_CAPTCHA_ID","error_text":"sidekey: no account is known to have this task"}"#,
            ),
        ] {
            assert_eq!(outcome.clone().into_response(TEXT).body(), text);
            assert_eq!(outcome.into_response(JSON).body(), json);
        }
    }

    #[test]
    fn every_origin_may_read_the_answer_only_when_the_client_asked_for_that() {
        let outcome = Outcome::Bare("1".into());
        assert!(
            !outcome
                .clone()
                .into_response(TEXT)
                .headers()
                .contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)
        );
        assert_eq!(
            outcome.into_response(JSON).headers()[ACCESS_CONTROL_ALLOW_ORIGIN],
            "*"
        );
    }
}
