//! Numbers in the answers of account calls. Pure.

use super::answer::{fields, scalar};
use crate::money::micro_usd;

/// Slots of an account, in the vendor's words threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    pub total: u32,
    pub working: u32,
}

/// In micro-dollars: `12.345` as text, or `{"status":1,"request":"12.345"}`, or `{"balance":12.345}`.
pub fn balance(body: &[u8]) -> Option<i64> {
    let text = body.trim_ascii();
    if text.first() == Some(&b'{') {
        let fields = fields(text)?;
        let said = fields.get("request").or_else(|| fields.get("balance"))?;
        return micro_usd(scalar(said).trim());
    }
    let text = std::str::from_utf8(text).ok()?;
    micro_usd(text.strip_prefix("OK|").unwrap_or(text).trim())
}

/// What a solve cost, in the answer to `get2`: `OK|ABCDE|0.00085` or `{"status":1,"request":"ABCDE","price":"0.00085"}`.
pub fn price(body: &[u8]) -> Option<i64> {
    let text = body.trim_ascii();
    let price = if text.first() == Some(&b'{') {
        micro_usd(scalar(fields(text)?.get("price")?).trim())
    } else {
        let answer = std::str::from_utf8(text).ok()?.strip_prefix("OK|")?;
        micro_usd(answer.rsplit_once('|')?.1)
    };
    price.filter(|price| (0..=DEAREST).contains(price))
}

/// `{"threads":"5","working_threads":"0"}`, as strings or numbers. The text form is documented nowhere.
pub fn threads(body: &[u8]) -> Option<Threads> {
    let fields = fields(body.trim_ascii())?;
    let count = |name: &str| scalar(fields.get(name)?).trim().parse().ok();
    Some(Threads {
        total: count("threads")?,
        working: count("working_threads")?,
    })
}

/// A hundred dollars a solve: what is more is no price.
const DEAREST: i64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_stand_behind_the_answer() {
        for body in [
            "OK|ABCDE|0.00085",
            "OK|A|B|0.00085\n",
            r#"{"status":1,"request":"ABCDE","price":"0.00085"}"#,
            r#"{"status":1,"request":"ABCDE","price":0.00085}"#,
        ] {
            assert_eq!(price(body.as_bytes()), Some(850), "{body}");
        }
        for body in [
            "OK|12345",
            "OK|ABCDE|-0.1",
            "OK|ABCDE|101",
            "OK|ABCDE|",
            "0.5|0.5",
            r#"{"status":1,"request":"0.5"}"#,
            "",
        ] {
            assert_eq!(price(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn balance_is_read_from_text_and_json() {
        for body in [
            "12.345",
            " 12.345\n",
            "OK|12.345",
            r#"{"status":1,"request":"12.345"}"#,
            r#"{"status":1,"request":12.345}"#,
            r#"{"balance":"12.345"}"#,
            r#"{"balance":12.345}"#,
        ] {
            assert_eq!(balance(body.as_bytes()), Some(12_345_000), "{body}");
        }
        assert_eq!(balance(b"-0.5"), Some(-500_000));
        assert_eq!(balance(b"8.0E-5"), Some(80));
        assert_eq!(balance(b"0"), Some(0));
    }

    #[test]
    fn what_is_no_number_is_no_balance() {
        for body in [
            "",
            "inf",
            "nan",
            "ERROR_X",
            "1e300",
            "12,5",
            "{}",
            "{\"request\":null}",
            "0x10",
            "\u{ff11}",
        ] {
            assert_eq!(balance(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn threads_are_read_as_strings_or_numbers() {
        let expected = Some(Threads {
            total: 5,
            working: 2,
        });
        assert_eq!(
            threads(br#"{"threads":"5","working_threads":"2"}"#),
            expected
        );
        assert_eq!(
            threads(br#"{"status":1,"threads":5,"working_threads":2}"#),
            expected
        );
        assert_eq!(threads(br#"{"threads":"5"}"#), None);
        assert_eq!(threads(br#"{"threads":"-5","working_threads":"2"}"#), None);
        assert_eq!(threads(b"5|2"), None);
    }
}
