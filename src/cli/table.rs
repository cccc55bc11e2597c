//! Text for a terminal: columns as wide as what is in them, and nothing that a terminal would obey.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::config::report::wrapped;
use crate::log::obeyed::is_obeyed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// All to the left.
    Text,
    /// All but the first to the right. The first is cut only where there is no room for it.
    Numbers,
}

/// Columns as wide as their cells, and the names of those left out. Without a width nothing is cut: a pipe has none. To fit,
/// the columns of `spare` go, first things first; a cell that is left out is empty. Then the first column is cut, and the
/// last one there is.
pub(super) fn table(
    rows: &[Vec<String>],
    width: Option<usize>,
    spare: &[usize],
    align: Align,
) -> (Vec<Vec<String>>, Vec<String>) {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let mut widths: Vec<usize> = (0..count)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.width()).max();
            let is_cut = width.is_some() && column + 1 < count && align == Align::Text;
            let most = if is_cut { MOST_IN_A_CELL } else { usize::MAX };
            widest.unwrap_or_default().min(most)
        })
        .collect();
    let mut kept: Vec<usize> = (0..count).collect();
    if let Some(width) = width {
        for column in spare {
            if least(&kept, &widths) <= width {
                break;
            }
            kept.retain(|kept| kept != column);
        }
        if let ([first, .., last], Some(excess)) =
            (&*kept, whole(&kept, &widths).checked_sub(width))
        {
            let cut = excess.min(widths[*last].saturating_sub(LEAST_OF_LAST));
            widths[*last] -= cut;
            let cut = (excess - cut).min(widths[*first].saturating_sub(LEAST_OF_FIRST));
            widths[*first] -= cut;
        }
    }
    let cell = |row: &Vec<String>, column: usize| {
        let text = row.get(column).filter(|_| kept.contains(&column));
        let Some(text) = text else {
            return String::new();
        };
        let is_last = Some(&column) == kept.last();
        let room = match is_last && width.is_none() {
            true => usize::MAX,
            false => widths[column],
        };
        let text = shortened(text, room);
        let fill = " ".repeat(widths[column].saturating_sub(text.width()));
        let gap = " ".repeat(GAP);
        match align {
            Align::Numbers if column > 0 && is_last => fill + &text,
            Align::Numbers if column > 0 => fill + &text + &gap,
            _ if is_last => text,
            _ => text + &fill + &gap,
        }
    };
    let lines = rows.iter().map(|row| {
        let cells = (0..row.len()).map(|column| cell(row, column));
        cells.collect()
    });
    let head = rows.first().into_iter().flatten().enumerate();
    let left_out = head.filter(|(column, _)| !kept.contains(column));
    (
        lines.collect(),
        left_out.map(|(_, name)| name.clone()).collect(),
    )
}

/// The line below a table that was too wide.
pub(super) fn not_shown(left_out: &[String], width: Option<usize>) -> String {
    match width {
        Some(width) if !left_out.is_empty() => {
            let names = left_out.join(", ");
            wrapped(
                &format!("not shown in {width} columns: {names}"),
                Some(width),
                2,
            )
        }
        _ => String::new(),
    }
}

/// How wide the columns are.
fn whole(kept: &[usize], widths: &[usize]) -> usize {
    let gaps = kept.len().saturating_sub(1) * GAP;
    gaps + kept.iter().map(|column| widths[*column]).sum::<usize>()
}

/// How wide they are when all is cut that may be.
fn least(kept: &[usize], widths: &[usize]) -> usize {
    let mut widths = widths.to_vec();
    if let [first, .., last] = kept {
        widths[*first] = widths[*first].min(LEAST_OF_FIRST);
        widths[*last] = widths[*last].min(LEAST_OF_LAST);
    }
    whole(kept, &widths)
}

/// At most so many columns, and nothing that a terminal obeys: names and codes come from elsewhere.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let text: String = text
        .chars()
        .map(|char| if is_obeyed(char) { '?' } else { char })
        .collect();
    if text.width() <= most {
        return text;
    }
    let mut room = most.saturating_sub(1);
    let fits = |char: &char| {
        let left = room.checked_sub(char.width().unwrap_or(0));
        room = left.unwrap_or(0);
        left.is_some()
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// The two largest units that matter: `8s`, `4m`, `3h10m`, `2d4h`.
pub(super) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let two = |large: u64, unit: char, small: u64, of: char| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{of}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => two(seconds / 3600, 'h', seconds / 60 % 60, 'm'),
        _ => two(seconds / 86_400, 'd', seconds / 3600 % 24, 'h'),
    }
}

const GAP: usize = 2;
const MOST_IN_A_CELL: usize = 32;
/// Names are told apart.
const LEAST_OF_FIRST: usize = 12;
/// The beginning of a code says something.
const LEAST_OF_LAST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (seconds, text) in [
            (0.4, "0s"),
            (59.4, "59s"),
            (240.0, "4m"),
            (11_400.0, "3h10m"),
            (7200.0, "2h"),
            (187_200.0, "2d4h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        assert_eq!(shortened("a\u{1b}[2Jb\r\n", 80), "a?[2Jb??");
        assert_eq!(shortened("a\u{202e}b", 80), "a?b");
        assert_eq!(shortened("a long name", 6), "a lon…");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(shortened("鍵鍵鍵", 6), "鍵鍵鍵");
        assert_eq!(shortened("鍵鍵鍵鍵", 6), "鍵鍵…");
        let row = |name: &str| vec![name.to_owned(), "|".to_owned()];
        let rows = table(&[row("鍵鍵"), row("keys")], None, &[], Align::Text).0;
        assert_eq!(rows[0].concat(), "鍵鍵  |");
        assert_eq!(rows[1].concat(), "keys  |");
    }

    #[test]
    fn the_last_column_gets_what_is_left() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let rows = [
            row(["KEY", "WHY"]),
            row(["account-1", "a long sentence of the vendor"]),
        ];
        let lines: Vec<String> = table(&rows, Some(30), &[], Align::Text)
            .0
            .iter()
            .map(|row| row.concat())
            .collect();
        assert_eq!(lines, ["KEY        WHY", "account-1  a long sentence of…"]);
    }

    #[test]
    fn numbers_are_whole_and_a_name_is_cut_only_for_want_of_room() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let name = "a".repeat(40);
        let rows = [
            row(["TENANT", "SOLVES", "COST"]),
            row([&name, "1", "$0.00299"]),
        ];
        let second = |width, spare: &[usize]| {
            let (lines, _) = table(&rows, width, spare, Align::Numbers);
            lines[1].concat()
        };
        let whole = format!("{name}       1  $0.00299");
        assert_eq!(second(None, &[]), whole);
        assert_eq!(second(Some(80), &[1]), whole);
        assert_eq!(second(Some(30), &[1]), "aaaaaaaaaaa…       1  $0.00299");
        assert_eq!(second(Some(29), &[1]), "aaaaaaaaaaaaaaaaaa…  $0.00299");
        assert_eq!(second(Some(29), &[2]), "aaaaaaaaaaaaaaaaaaaa…       1");
        assert_eq!(second(Some(3), &[]), "aaaaaaaaaaa…       1  $0.00299");
    }

    #[test]
    fn what_matters_least_is_left_out_first() {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let rows = [
            row(["KEY", "POOL", "STATE", "WHY"]),
            row(["account-1", "default", "healthy", "-"]),
        ];
        let lines = |width| {
            let (lines, left_out) = table(&rows, Some(width), &[1, 3], Align::Text);
            let lines = lines.iter().map(|row| row.concat()).collect::<Vec<_>>();
            (lines, left_out.join(" "))
        };
        assert_eq!(lines(32).0[1], "account-1  default  healthy  -");
        let (narrow, left_out) = lines(24);
        assert_eq!(narrow, ["KEY        STATE    WHY", "account-1  healthy  -"]);
        assert_eq!(left_out, "POOL");
        assert_eq!(lines(20).0[1], "account-1  healthy");
        assert_eq!(
            not_shown(&["POOL".to_owned()], Some(20)),
            "not shown in 20\n  columns: POOL\n"
        );
    }
}
