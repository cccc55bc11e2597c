//! Until when a certificate is good, by its own words.

use std::time::Duration;

use time::{Date, Month, PrimitiveDateTime, Time};

/// `notAfter` of an X.509 certificate in DER, since 1970. It stands behind four parts that are passed over, so reading no more
/// than lengths is enough; a whole parser of certificates would be a great dependency for one number.
pub(super) fn not_after(der: &[u8]) -> Option<Duration> {
    let (_, mut certificate) = next(&mut &*der)?;
    let (_, mut signed) = next(&mut certificate)?;
    // The version is not written where it is the first.
    if signed.first() == Some(&VERSION) {
        next(&mut signed)?;
    }
    // Serial number, algorithm of the signature, issuer.
    for _ in 0..3 {
        next(&mut signed)?;
    }
    let (_, mut validity) = next(&mut signed)?;
    next(&mut validity)?;
    let (kind, text) = next(&mut validity)?;
    at(kind, text)
}

/// Takes one value off the front: its kind and its content.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(first) {
        short @ ..=0x7F => (short, rest),
        // So many bytes say the length; four of them are 4 GB.
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(long - 0x80)?;
            let length = digits
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((kind, content))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, and nothing else, says RFC 5280.
fn at(kind: u8, text: &[u8]) -> Option<Duration> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let pairs: Vec<u8> = pairs
        .iter()
        .map(|[tens, ones]| (tens - b'0') * 10 + (ones - b'0'))
        .collect();
    let (year, rest) = match (kind, &*pairs) {
        (UTC_TIME, [year @ ..50, rest @ ..]) => (2000 + i32::from(*year), rest),
        (UTC_TIME, [year, rest @ ..]) => (1900 + i32::from(*year), rest),
        (GENERALIZED_TIME, [century, year, rest @ ..]) => {
            (i32::from(*century) * 100 + i32::from(*year), rest)
        }
        _ => return None,
    };
    let &[month, day, hour, minute, second] = rest else {
        return None;
    };
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    let time = Time::from_hms(hour, minute, second).ok()?;
    let seconds = PrimitiveDateTime::new(date, time)
        .assume_utc()
        .unix_timestamp();
    Some(Duration::from_secs(seconds.try_into().ok()?))
}

const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn until(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 3, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_ways_of_writing_a_year() {
        // `date -u -d 2049-03-01 +%s`
        assert_eq!(
            not_after(&until(2049)),
            Some(Duration::from_secs(2_498_169_600))
        );
        assert_eq!(
            not_after(&until(2050)),
            Some(Duration::from_secs(2_529_705_600))
        );
    }

    #[test]
    fn times_that_are_none_have_no_end() {
        for (kind, text) in [
            (UTC_TIME, "490301000000"),
            (UTC_TIME, "4903010000Z"),
            (UTC_TIME, "490231000000Z"),
            (UTC_TIME, "20490301000000Z"),
            (GENERALIZED_TIME, "490301000000Z"),
            (GENERALIZED_TIME, "00000301000000Z"),
            (0x16, "490301000000Z"),
            (UTC_TIME, "49030100000xZ"),
        ] {
            assert_eq!(at(kind, text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(cut in 0usize..400, at in 0usize..400, byte in any::<u8>(), noise in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut der = until(2049);
            let at = at % der.len();
            der[at] = byte;
            der.truncate(der.len().saturating_sub(cut));
            not_after(&der);
            not_after(&noise);
        }
    }
}
