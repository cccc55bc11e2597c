//! A bill as a table and as comma-separated values. Pure.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use crate::bills::{Bill, shown};
use crate::cli::look::Look;
use crate::cli::table::{not_shown, shortened};
use crate::money::decimal;
use crate::store::{By, Line};

/// Without a width no name is cut.
pub(super) fn table(bill: &Bill, limit: impl Fn(&str) -> Option<u32>, look: Look) -> String {
    // Only where somebody is charged something else than the vendor takes.
    let differs = bill.lines.iter().any(|line| line.charged != line.cost);
    let has_today = bill.has_today && !matches!(bill.by, By::Day | By::Month);
    let by_tenant = bill.by == By::Tenant;
    let mut columns = [
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
    let cells = |of: &str, line: &Line, limit: Option<u32>| {
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
        (shortened(of, usize::MAX), values)
    };
    let head = columns.map(|(name, _)| name.to_owned());
    let mut all = vec![(bill.by.name().to_uppercase(), head)];
    for line in &bill.lines {
        all.push(cells(shown(&line.of), line, limit(&line.of)));
    }
    all.push(cells("TOTAL", &bill.total, None));
    let rows = |columns: [(&str, bool); 9]| {
        let is_shown = columns.map(|(_, is)| is);
        let rows = all.iter().cloned();
        rows.map(|(of, values)| row(of, values, is_shown))
            .collect::<Vec<_>>()
    };
    let mut shown = rows(columns);
    let mut left_out = Vec::new();
    if let Some(width) = look.width {
        for name in SPARE {
            if LEAST_NAME + others(&shown) <= width {
                break;
            }
            let column = columns.iter_mut().find(|column| **column == (name, true));
            if let Some(column) = column {
                column.1 = false;
                left_out.push(name.to_owned());
                shown = rows(columns);
            }
        }
        cut_names(&mut shown, width);
    }
    let lines = aligned(&shown);
    let last = lines.len() - 1;
    let lines = lines.iter().enumerate().map(|(place, line)| match place {
        place if place == 0 || place == last => look.bold(line) + "\n",
        _ => format!("{line}\n"),
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

fn row<const N: usize>(first: String, values: [String; N], is_shown: [bool; N]) -> Vec<String> {
    let values = values.into_iter().zip(is_shown);
    let values = values.filter(|(_, is_shown)| *is_shown);
    [first]
        .into_iter()
        .chain(values.map(|(value, _)| value))
        .collect()
}

/// So that the lines fit, but to no less than can be told apart.
fn cut_names(rows: &mut [Vec<String>], width: usize) {
    let room = width.saturating_sub(others(rows)).max(LEAST_NAME);
    for row in rows {
        row[0] = shortened(&row[0], room);
    }
}

/// What all columns but the first take.
fn others(rows: &[Vec<String>]) -> usize {
    let columns = rows.first().map_or(0, Vec::len);
    (1..columns).map(|column| widest(rows, column) + GAP).sum()
}

fn widest(rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column));
    cells.map(|cell| cell.width()).max().unwrap_or_default()
}

/// Names to the left, numbers to the right.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns).map(|column| widest(rows, column)).collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let fill = " ".repeat(width - cell.width());
            line += &match line.is_empty() {
                true => format!("{cell}{fill}"),
                false => format!("  {fill}{cell}"),
            };
        }
        line
    };
    rows.iter().map(line).collect()
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

const GAP: usize = 2;
const LEAST_NAME: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_where_the_terminal_ends() {
        let mut rows = vec![
            vec!["TENANT".to_owned(), "SOLVES".to_owned()],
            vec!["a".repeat(40), "1".to_owned()],
        ];
        cut_names(&mut rows, 30);
        let lines = aligned(&rows);
        let widest = lines.iter().map(|line| line.chars().count()).max();
        assert_eq!(widest, Some(30));
        cut_names(&mut rows, 3);
        assert_eq!(rows[1][0].chars().count(), LEAST_NAME);
    }

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
