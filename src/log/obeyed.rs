//! Characters that a terminal obeys instead of showing them.

/// SECURITY: control characters move the cursor or change its colours; marks of direction show what follows them in another
/// order, and the separators break a line, so that a name or an id could look like another line, or like another name.
pub fn is_obeyed(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
