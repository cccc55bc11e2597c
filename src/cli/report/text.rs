//! A bill as a table and as comma-separated values. Pure.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use crate::bills::{Bill, shown};
use crate::cli::table::shortened;
use crate::money::decimal;
use crate::store::{By, Line};

/// Without a `width` no name is cut.
pub(super) fn table(
    bill: &Bill,
    limit: impl Fn(&str) -> Option<u32>,
    width: Option<usize>,
) -> String {
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
        row(shortened(of, usize::MAX), values, columns.map(|(_, is)| is))
    };
    let mut rows = vec![row(
        bill.by.name().to_uppercase(),
        columns.map(|(name, _)| name.to_owned()),
        columns.map(|(_, is)| is),
    )];
    for line in &bill.lines {
        rows.push(cells(shown(&line.of), line, limit(&line.of)));
    }
    rows.push(cells("TOTAL", &bill.total, None));
    if let Some(width) = width {
        cut_names(&mut rows, width);
    }
    aligned(&rows)
}

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

/// Names to the left, numbers to the right.
/// So that the lines fit, but to no less than can be told apart.
fn cut_names(rows: &mut [Vec<String>], width: usize) {
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max()
    };
    let others: usize = (1..columns).filter_map(widest).map(|it| it + 2).sum();
    let room = width.saturating_sub(others).max(LEAST_NAME);
    for row in rows {
        row[0] = shortened(&row[0], room);
    }
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let fill = " ".repeat(widths[column] - cell.width());
            match column {
                0 => text += &format!("{cell}{fill}"),
                _ => text += &format!("  {fill}{cell}"),
            }
        }
        text.push('\n');
    }
    text
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

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
        assert_eq!(
            lines.lines().map(|line| line.chars().count()).max(),
            Some(30)
        );
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
