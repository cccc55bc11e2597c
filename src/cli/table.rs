//! Text for a terminal: columns as wide as what is in them, and nothing that a terminal would obey.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::log::obeyed::is_obeyed;

/// Left-aligned columns. Without a width nothing is cut: a pipe has none. The last one takes what is left of `width` and is cut there; before it gets too narrow, the first
/// one is cut.
pub(super) fn table(rows: &[Vec<String>], width: Option<usize>) -> Vec<Vec<String>> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let mut widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.width()).max();
            let most = width.map_or(usize::MAX, |_| MOST_IN_A_CELL);
            widest.unwrap_or_default().min(most)
        })
        .collect();
    let before = |widths: &[usize]| -> usize {
        let before = widths.iter().rev().skip(1);
        before.map(|width| width + GAP).sum()
    };
    if let (Some(width), Some(first)) = (width, widths.first().copied()) {
        let excess = (before(&widths) + LEAST).saturating_sub(width);
        widths[0] = first.min(LEAST.max(first.saturating_sub(excess)));
    }
    let before = before(&widths);
    rows.iter()
        .map(|row| {
            let last = row.len().saturating_sub(1);
            let cells = row.iter().enumerate().map(|(column, cell)| {
                if column == last {
                    let room = width.map(|width| width.saturating_sub(before));
                    return shortened(cell, room.unwrap_or(usize::MAX).max(LEAST));
                }
                let cell = shortened(cell, widths[column]);
                let fill = widths[column].saturating_sub(cell.width()) + GAP;
                cell + &" ".repeat(fill)
            });
            cells.collect()
        })
        .collect()
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
/// Of the first column and of the last.
const LEAST: usize = 12;

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
        let rows = table(&[row("鍵鍵"), row("keys")], None);
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
        let lines: Vec<String> = table(&rows, Some(30))
            .iter()
            .map(|row| row.concat())
            .collect();
        assert_eq!(lines, ["KEY        WHY", "account-1  a long sentence of…"]);
    }
}
