//! `[balance]` and `[prices]`.

use std::time::Duration;

use super::section::Section;
use super::settings::{Balance, Prices};

pub(crate) fn balance(mut section: Section<'_, '_>) -> Balance {
    let refresh = section.duration("refresh", REFRESH, Duration::from_secs(1)..=DAY);
    let minimum = section.dollars("minimum", 10_000, MOST);
    let low = section.dollars("low", 1_000_000, MOST);
    if low.value < minimum.value {
        let at = if low.is_written() {
            &low.at
        } else {
            &minimum.at
        };
        section.reader.warn(
            at,
            "`low` is below `minimum`: a key gets no work before anybody hears that its balance is low",
            "make `low` the greater of the two",
        );
    }
    section.done();
    Balance {
        refresh: refresh.value,
        minimum_micro_usd: minimum.value,
        low_micro_usd: low.value,
    }
}

pub(crate) fn prices(mut section: Section<'_, '_>) -> Prices {
    let prices = DEFAULTS.map(|(kind, price)| (kind, section.dollars(kind, price, DEAREST).value));
    section.done();
    Prices(prices.into_iter().collect())
}

/// Vendors allow 1,200 calls a day without work; these are 288 of them.
const REFRESH: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(86_400);
/// A million dollars.
const MOST: i64 = 1_000_000_000_000;
/// A thousand dollars a solve.
const DEAREST: i64 = 1_000_000_000;

/// Every type of a task, in micro-dollars: about what the vendors ask.
const DEFAULTS: [(&str, i64); 7] = [
    ("recaptcha_v2", 3_000),
    ("recaptcha_v3", 4_000),
    ("turnstile", 2_000),
    ("geetest", 3_000),
    ("image", 1_000),
    ("bls", 2_000),
    ("other", 3_000),
];
