//! Making what programs print harmless for a terminal.
//!
//! A program's output can hold sequences that rename the window, move the cursor or make the terminal type
//! for itself. What stays is text, tabs and, where there may be colours, colours.

/// A piece of output as lines for a terminal: no control characters but tabs and newlines; colours (SGR) only if
/// wanted. A carriage return, with which programs draw progress over itself, ends a line.
#[must_use]
pub fn clean(text: &str, colour: bool) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut painted = false;
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\n' && c != '\t') {
        clean.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix('\u{1b}').or_else(|| rest.strip_prefix('\u{9b}')) {
            let is_8_bit = rest.starts_with('\u{9b}');
            let (sequence, is_colour) = escape(after, is_8_bit);
            if is_colour && colour {
                clean.push('\u{1b}');
                clean.push_str(&after[..sequence]);
                painted = true;
            }
            rest = &after[sequence..];
        } else if let Some(after) = rest.strip_prefix('\r') {
            if !after.starts_with('\n') {
                clean.push('\n');
            }
            rest = after;
        } else {
            rest = rest.get(rest.chars().next().map_or(0, char::len_utf8)..).unwrap_or("");
        }
    }
    clean.push_str(rest);
    if painted {
        // Whatever the program left switched on must not run into the text that follows.
        let at = clean.trim_end_matches('\n').len();
        clean.insert_str(at, "\u{1b}[0m");
    }
    clean
}

/// How many bytes behind the ESC belong to its sequence (ECMA-48), and whether it only sets colours.
fn escape(after: &str, is_8_bit: bool) -> (usize, bool) {
    let bytes = after.as_bytes();
    let parameters_from = match (is_8_bit, bytes.first()) {
        (true, _) => 0,
        (false, Some(b'[')) => 1,
        // Strings for the terminal (titles, links, clipboard) go to BEL or ST.
        (false, Some(b']' | b'P' | b'X' | b'^' | b'_')) => {
            let end = after.find(['\u{7}', '\u{1b}', '\u{9c}', '\n']);
            return match end {
                Some(at) if after[at..].starts_with("\u{1b}\\") => (at + 2, false),
                Some(at) if after[at..].starts_with(['\u{1b}', '\n']) => (at, false),
                Some(at) => (at + after[at..].chars().next().map_or(0, char::len_utf8), false),
                None => (after.len(), false),
            };
        }
        (false, Some(first)) if (0x20..0x30).contains(first) => return (after.len().min(2), false),
        (false, Some(first)) if first.is_ascii() && !first.is_ascii_control() => return (1, false),
        (false, _) => return (0, false),
    };
    let parameters = bytes[parameters_from..].iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
    let end = parameters_from + parameters;
    match bytes.get(end) {
        Some(b'm') => (
            end + 1,
            !is_8_bit && bytes[parameters_from..end].iter().all(|b| matches!(b, b'0'..=b'9' | b';' | b':')),
        ),
        Some(byte) if (0x40..0x7f).contains(byte) => (end + 1, false),
        Some(_) | None => (end, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_and_colours_are_left() {
        let cases = [
            ("plain\ttext\n", "plain\ttext\n", "plain\ttext\n"),
            ("\x1b[31mred\x1b[0m\n", "red\n", "\x1b[31mred\x1b[0m\x1b[0m\n"),
            ("\x1b[1;31mred\n", "red\n", "\x1b[1;31mred\x1b[0m\n"),
            ("\x1b]0;title\x07x", "x", "x"),
            ("\x1b]52;c;aGk=\x1b\\x", "x", "x"),
            ("\x1b]0;no end", "", ""),
            ("\x1b[2J\x1b[10;10Hx\x1b[?25l", "x", "x"),
            ("\x1bcx", "x", "x"),
            ("\x1b(Bx", "x", "x"),
            ("10%\r20%\r\n", "10%\n20%\n", "10%\n20%\n"),
            ("a\0b\x08c\u{9b}31md\x7f", "abcd", "abcd"),
            ("\x1b", "", ""),
            ("\x1bé", "é", "é"),
            ("\u{9b}é", "é", "é"),
        ];
        for (text, without, with) in cases {
            assert_eq!(clean(text, false), without, "{text:?}");
            assert_eq!(clean(text, true), with, "{text:?}");
        }
    }
}
