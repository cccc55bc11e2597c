//! US dollars, counted in whole millionths: sums of floats drift, and a bill must not. Pure.

/// A decimal number, read exactly: `12.345`, `-0.5`, `8.0E-5` (PHP writes small numbers so). What is finer than a
/// millionth is rounded to the nearest one, halves away from zero.
pub fn micro_usd(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i8>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    // SECURITY: an answer may be as long as the vendor likes.
    if !(1..=MOST_DIGITS).contains(&(whole.len() + fraction.len()))
        || !is_number(whole)
        || !is_number(fraction)
    {
        return None;
    }
    let digits = format!("{whole}{fraction}").parse::<i128>().ok()?;
    let scale = 6 + i32::from(exponent) - fraction.len() as i32;
    let power = 10_i128.checked_pow(scale.unsigned_abs());
    let micros = match power {
        _ if digits == 0 => 0,
        Some(power) if scale >= 0 => digits.checked_mul(power)?,
        Some(power) => (digits + power / 2) / power,
        None if scale >= 0 => return None,
        None => 0,
    };
    let micros = i64::try_from(micros).ok().filter(|it| *it <= MOST)?;
    Some(if negative { -micros } else { micros })
}

/// As vendors write balances: no sign for plus, at least the cents, no zeros behind them.
pub fn decimal(micro_usd: i64) -> String {
    let sign = if micro_usd < 0 { "-" } else { "" };
    let micros = micro_usd.unsigned_abs();
    let fraction = format!("{:06}", micros % MICROS);
    let (cents, rest) = fraction.split_at(2);
    let rest = rest.trim_end_matches('0');
    format!("{sign}{}.{cents}{rest}", micros / MICROS)
}

/// For metrics and JSON, where numbers are floats.
pub fn usd(micro_usd: i64) -> f64 {
    micro_usd as f64 / MICROS as f64
}

const MICROS: u64 = 1_000_000;
/// Nine billion dollars: no account holds more, and thousands of them still fit into one sum.
const MOST: i64 = 9_000_000_000_000_000;
/// Floats are written with 17; the rest is for zeros. As many fit into the number that is computed with.
const MOST_DIGITS: usize = 36;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        for (text, expected) in [
            ("12.345", 12_345_000),
            ("0.003", 3_000),
            ("0.00085", 850),
            ("-0.5", -500_000),
            ("+1", 1_000_000),
            ("8.0E-5", 80),
            ("1e3", 1_000_000_000),
            (".5", 500_000),
            ("5.", 5_000_000),
            ("0", 0),
            ("0e127", 0),
            ("1e-128", 0),
            ("0.0000005", 1),
            ("-0.0000005", -1),
            ("0.00000049999", 0),
            ("0.0029999999999999996", 3_000),
            ("9000000000", MOST),
        ] {
            assert_eq!(micro_usd(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for text in [
            "",
            "-",
            ".",
            "e5",
            "1e",
            "1e+",
            "inf",
            "nan",
            "-nan",
            "1,5",
            "1 ",
            "--1",
            "+-1",
            "1.2.3",
            "1.-2",
            "0x10",
            "\u{ff11}",
            "9000000000.000001",
            "1e300",
            "1e127",
            "123456789012345678901234567890123456789",
        ] {
            assert_eq!(micro_usd(text), None, "{text}");
        }
    }

    #[test]
    fn amounts_are_written_as_bare_decimals() {
        assert_eq!(decimal(12_345_000), "12.345");
        assert_eq!(decimal(0), "0.00");
        assert_eq!(decimal(10_000_000), "10.00");
        assert_eq!(decimal(-1), "-0.000001");
        assert_eq!(decimal(i64::MIN), "-9223372036854.775808");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(micros in -MOST..=MOST) {
            prop_assert_eq!(micro_usd(&decimal(micros)), Some(micros));
        }

        #[test]
        fn moving_the_point_changes_nothing(micros in 0..=MOST, by in 0_usize..=12) {
            let shifted = format!("{micros}{}e-{}", "0".repeat(by), by + 6);
            prop_assert_eq!(micro_usd(&shifted), Some(micros));
        }

        #[test]
        fn nothing_panics(text in "[-+0-9.eE]{0,60}|.{0,20}") {
            let read = micro_usd(&text);
            prop_assert!(read.is_none_or(|micros| micros.abs() <= MOST));
        }
    }
}
