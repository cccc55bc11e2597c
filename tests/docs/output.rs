//! Whether a command printed what a document shows.

/// Each shown line must come, in this order; others may come between. `…` in a line stands for anything. Numbers, times, ids
/// and fingerprints differ from run to run, so each of them is as good as any other; numbers of accounts are not.
pub(crate) fn shows(shown: &[String], printed: &str) -> Result<(), String> {
    let mut printed = printed.lines().map(steady);
    for line in shown {
        let wanted = steady(line);
        if !wanted.is_empty() && !printed.any(|line| matches(&wanted, &line)) {
            return Err(line.clone());
        }
    }
    Ok(())
}

fn matches(wanted: &str, line: &str) -> bool {
    let mut rest = line;
    let mut pieces = wanted.split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else {
        return false;
    };
    rest = after;
    let mut open = false;
    for piece in pieces {
        open = true;
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.is_empty() || (open && wanted.ends_with('…'))
}

/// The line with one blank for many, and `#` for what varies.
fn steady(line: &str) -> String {
    let mut steady = String::new();
    for word in line.split_whitespace() {
        if !steady.is_empty() {
            steady.push(' ');
        }
        for part in parts(word) {
            let is_name = steady.ends_with("account-") && part.len() == 1;
            match varies(part) && !is_name {
                true => steady.push('#'),
                false => steady.push_str(part),
            }
        }
    }
    steady
}

/// Runs of letters and digits, and what is between them.
fn parts(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let of_word = first.is_alphanumeric();
        let end = rest
            .find(|c: char| c.is_alphanumeric() != of_word)
            .unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    parts
}

fn varies(part: &str) -> bool {
    let is_hex = part.len() >= 8 && part.chars().all(|c| c.is_ascii_hexdigit());
    is_hex || part.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::shows;

    fn shown(lines: &str, printed: &str) -> bool {
        let lines: Vec<_> = lines.lines().map(str::to_owned).collect();
        shows(&lines, printed).is_ok()
    }

    #[test]
    fn what_differs_from_run_to_run_may_differ() {
        assert!(shown(
            "account-1  healthy  3s  1/5",
            "account-1 healthy   12s 0/5"
        ));
        assert!(shown(
            "added account-3 (596823bd)",
            "added account-3 (0a1b2c3d)"
        ));
        assert!(shown("a …\nc", "a lot of it\nb\nc"));
    }

    #[test]
    fn what_says_something_else_is_told() {
        assert!(!shown("account-1  healthy  3s", "account-2  healthy  3s"));
        assert!(!shown("account-1  healthy  3s", "account-1  revoked  3s"));
        assert!(!shown("b\na", "a\nb"));
        assert!(!shown("OK|73548291", "OK|73548291 and more"));
    }
}
