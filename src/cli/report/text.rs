//! A bill as a table and as comma-separated values. Pure.

use std::fmt::Write;

use crate::bills::{Bill, shown};
use crate::cli::look::Look;
use crate::cli::table::{self, Align, not_shown, shortened};
use crate::money::decimal;
use crate::store::{By, Line};

/// Without a width no name is cut.
pub(super) fn table(bill: &Bill, limit: impl Fn(&str) -> Option<u32>, look: Look) -> String {
    // Only where somebody is charged something else than the vendor takes.
    let differs = bill.lines.iter().any(|line| line.charged != line.cost);
    let has_today = bill.has_today && !matches!(bill.by, By::Day | By::Month);
    let by_tenant = bill.by == By::Tenant;
    let columns = [
        ("SOLVES", true),
        ("COST", true),
        ("VENDOR", differs),
        ("TODAY", has_today),
        ("LIMIT", has_today && by_tenant),
        ("FAILED", true),
        ("EXPIRED", true),
        ("REFUSED", true),
        ("UNCERTAIN", true),
    ];
    let row = |first: String, values: [String; 9]| {
        let values = values.into_iter().zip(columns);
        let values = values.filter_map(|(value, (_, is_shown))| is_shown.then_some(value));
        [first].into_iter().chain(values).collect::<Vec<_>>()
    };
    let line = |of: &str, line: &Line, limit: Option<u32>| {
        let values = [
            line.solves.to_string(),
            format!("${}", decimal(line.charged)),
            format!("${}", decimal(line.cost)),
            line.today.to_string(),
            or_dash(limit),
            line.failed.to_string(),
            line.expired.to_string(),
            or_dash(line.refused),
            line.uncertain.to_string(),
        ];
        row(shortened(of, usize::MAX), values)
    };
    let head = columns.map(|(name, _)| name.to_owned());
    let head = row(bill.by.name().to_uppercase(), head);
    let spare = SPARE.map(|name| head.iter().position(|cell| cell == name));
    let spare: Vec<usize> = spare.into_iter().flatten().collect();
    let mut rows = vec![head];
    for each in &bill.lines {
        rows.push(line(shown(&each.of), each, limit(&each.of)));
    }
    rows.push(line("TOTAL", &bill.total, None));
    let (lines, left_out) = table::table(&rows, look.width, &spare, Align::Numbers);
    let last = lines.len() - 1;
    let lines = lines.iter().enumerate().map(|(place, cells)| match place {
        place if place == 0 || place == last => look.bold(&cells.concat()) + "\n",
        _ => cells.concat() + "\n",
    });
    lines.collect::<String>() + &not_shown(&left_out, look.width)
}

/// What a narrow terminal does without.
const SPARE: [&str; 7] = [
    "EXPIRED",
    "REFUSED",
    "FAILED",
    "LIMIT",
    "TODAY",
    "VENDOR",
    "UNCERTAIN",
];

/// Text as RFC 4180 quotes it, and lines that end as on this system.
pub(super) fn csv(bill: &Bill, limit: impl Fn(&str) -> Option<u32>) -> String {
    let mut text = format!(
        "{},solves,cost_usd,vendor_cost_usd,today,daily_limit,failed,expired,refused,uncertain\n",
        bill.by.name()
    );
    let or_empty = |value: Option<i64>| value.map(|it| it.to_string()).unwrap_or_default();
    for line in &bill.lines {
        let limit = limit(&line.of).filter(|_| bill.by == By::Tenant);
        // A String takes everything.
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{},{},{},{}",
            cell(shown(&line.of)),
            line.solves,
            six_decimals(line.charged),
            six_decimals(line.cost),
            or_empty(bill.has_today.then_some(line.today)),
            or_empty(limit.map(i64::from)),
            line.failed,
            line.expired,
            or_empty(line.refused),
            line.uncertain,
        );
    }
    text
}

/// SECURITY: ids are the vendor's and projects the clients', and a spreadsheet runs a cell that begins like a formula. An
/// apostrophe in front makes it text. Ids of vendors are digits, so bills seldom have one.
pub(super) fn cell(text: &str) -> String {
    let is_formula = text.len() > 1 && text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = match is_formula {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

/// `0.003000`: every micro-dollar is there.
pub(super) fn six_decimals(micro_usd: i64) -> String {
    let sign = if micro_usd < 0 { "-" } else { "" };
    let micros = micro_usd.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_more_than_one_cell() {
        for (text, expected) in [
            ("73548291", "73548291"),
            ("-", "-"),
            ("=1+2", "'=1+2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2+3", "'-2+3"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\nb", "\"a\nb\""),
            ("=HYPERLINK(\"x\",1)", "\"'=HYPERLINK(\"\"x\"\",1)\""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }

    #[test]
    fn every_micro_dollar_is_written() {
        assert_eq!(six_decimals(3_000), "0.003000");
        assert_eq!(six_decimals(12_000_001), "12.000001");
        assert_eq!(six_decimals(-1), "-0.000001");
    }
}
