//! UTC days and months, as people and programs write them. Pure.

use time::{Date, Month as Name, OffsetDateTime};

pub const DAY_MS: i64 = 86_400_000;

/// A UTC month: bills are for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: i32,
    month: u8,
}

impl Month {
    pub fn of(at_ms: i64) -> Self {
        let at = moment(at_ms);
        Self {
            year: at.year(),
            month: at.month().into(),
        }
    }

    /// `2026-11`.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let digits = |text: &str, count| {
            text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(year, 4) || !digits(month, 2) {
            return None;
        }
        let month = month
            .parse()
            .ok()
            .filter(|month| (1..=12).contains(month))?;
        Some(Self {
            year: year.parse().ok()?,
            month,
        })
    }

    pub fn began_ms(self) -> i64 {
        let first = Name::try_from(self.month)
            .and_then(|name| Date::from_calendar_date(self.year, name, 1))
            .unwrap_or(Date::MIN);
        first.midnight().assume_utc().unix_timestamp() * 1000
    }

    /// When the next one begins.
    pub fn ends_ms(self) -> i64 {
        let next = match self.month {
            12 => Self {
                year: self.year + 1,
                month: 1,
            },
            month => Self {
                year: self.year,
                month: month + 1,
            },
        };
        next.began_ms()
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// `2026-11-21`, of a day counted from 1970.
pub fn date(day: i64) -> String {
    let at = moment(day.saturating_mul(DAY_MS));
    format!(
        "{:04}-{:02}-{:02}",
        at.year(),
        u8::from(at.month()),
        at.day()
    )
}

/// RFC 3339, in UTC, to the second: `2026-11-21T14:36:23Z`.
pub fn rfc3339(at_ms: i64) -> String {
    let at = moment(at_ms);
    let (hour, minute, second) = at.to_hms();
    let date = date(at_ms.div_euclid(DAY_MS));
    format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
}

/// What no calendar holds is the beginning of 1970.
fn moment(at_ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at_ms.div_euclid(1000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_the_calendar_says() {
        // By `date -u -d @N`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_795_271_783, "2026-11-21T14:36:23Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1000), text);
        }
    }

    #[test]
    fn months_begin_and_end_at_midnight() {
        for (text, began, ends) in [
            ("2026-11", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2028-02", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ] {
            let month = Month::parse(text).unwrap();
            assert_eq!(rfc3339(month.began_ms()), began);
            assert_eq!(rfc3339(month.ends_ms()), ends);
            assert_eq!(month.to_string(), text);
            assert_eq!(Month::of(month.began_ms()), month);
            assert_eq!(Month::of(month.ends_ms() - 1), month);
        }
    }

    #[test]
    fn what_is_no_month_is_none() {
        for text in [
            "",
            "2026",
            "2026-13",
            "2026-00",
            "2026-1",
            "26-11",
            "2026-11-01",
            "+026-11",
        ] {
            assert_eq!(Month::parse(text), None, "{text}");
        }
    }
}
