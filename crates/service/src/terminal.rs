//! Making what programs print harmless for a terminal.
//!
//! A program's output can hold sequences that rename the window, move the cursor or make the terminal type
//! for itself. What stays is text, tabs and, where there may be colours, colours.

use std::str::Chars;

/// A sequence of colours is short; what is longer is not one.
const LONGEST_COLOUR: usize = 64;

/// A piece of output as lines for a terminal: no control characters but tabs and newlines; colours (SGR) only if
/// wanted. A carriage return, with which programs draw progress over itself, ends a line.
///
/// What is left out never takes text of a further line with it.
#[must_use]
pub fn clean(text: &str, colour: bool) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut painted = false;
    let mut rest = text;
    while let Some((before, from)) = rest.find(is_obeyed).and_then(|at| rest.split_at_checked(at)) {
        clean.push_str(before);
        let mut after = from.chars();
        match after.next() {
            Some('\r') if !after.as_str().starts_with('\n') => clean.push('\n'),
            Some('\u{1b}') => {
                if let Some(parameters) = escape(&mut after)
                    && colour
                {
                    clean.extend(["\u{1b}[", parameters, "m"]);
                    painted = true;
                }
            }
            Some('\u{9b}') => {
                control_sequence(&mut after);
            }
            Some('\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}') => string(&mut after),
            // Left out, it would hide that somebody wanted the text to be read in another order.
            Some(c) if turns_text_round(c) => clean.push_str(&visible(c)),
            Some(_) | None => {}
        }
        rest = after.as_str();
    }
    clean.push_str(rest);
    if painted {
        // Whatever the program left switched on must not run into the text that follows.
        let at = clean.trim_end_matches('\n').len();
        clean.insert_str(at, "\u{1b}[0m");
    }
    clean
}

/// What is said in one line: clean, without colours, each run of white space a blank.
#[must_use]
pub fn one_line(text: &str) -> String {
    clean(text, false).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A JSON document in which every character that a terminal would obey is written as `\\uXXXX`: the same document.
#[must_use]
pub fn clean_json(document: &str) -> String {
    let mut clean = String::with_capacity(document.len());
    for c in document.chars() {
        match u32::from(c) {
            code if is_obeyed(c) => clean.push_str(&format!("\\u{code:04x}")),
            _ => clean.push(c),
        }
    }
    clean
}

/// Whether a terminal does something else with a character than show it.
fn is_obeyed(c: char) -> bool {
    !matches!(c, '\n' | '\t') && (c.is_control() || turns_text_round(c))
}

/// Whether a character turns the order round in which the text after it is shown: embeddings, overrides and isolates
/// (UAX #9, section 2). Languages that are written from the right need none of them.
#[must_use]
pub fn turns_text_round(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A character by its number: `<U+202E>`.
#[must_use]
pub fn visible(c: char) -> String {
    format!("<U+{:04X}>", u32::from(c))
}

/// Passes over what belongs to an ESC (ECMA-48, ECMA-35). The parameters of a sequence that only sets colours.
fn escape<'a>(after: &mut Chars<'a>) -> Option<&'a str> {
    match after.clone().next() {
        Some('[') => {
            after.next();
            control_sequence(after)
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            after.next();
            string(after);
            None
        }
        Some(_) | None => {
            pass(after, |c| matches!(c, ' '..='/'));
            pass_one(after, |c| matches!(c, '0'..='~'));
            None
        }
    }
}

/// Passes over parameters and the final character of a control sequence.
fn control_sequence<'a>(after: &mut Chars<'a>) -> Option<&'a str> {
    let parameters = pass(after, |c| matches!(c, ' '..='?'));
    let sets_colours = after.as_str().starts_with('m');
    pass_one(after, |c| matches!(c, '@'..='~'));
    let is_plain = |c| matches!(c, '0'..='9' | ';' | ':');
    (sets_colours && parameters.len() <= LONGEST_COLOUR && parameters.chars().all(is_plain))
        .then_some(parameters)
}

/// Passes over a string for the terminal (a title, a link, the clipboard) with what ends it. One that does not end
/// before the next control character is none: it is shown, so that nothing can hide the text that follows.
fn string(after: &mut Chars<'_>) {
    let mut rest = after.clone();
    let ends = match rest.find(|&c| is_obeyed(c) || c == '\n') {
        Some('\u{7}' | '\u{9c}') => true,
        Some('\u{1b}') => rest.next() == Some('\\'),
        Some(_) | None => false,
    };
    if ends {
        *after = rest;
    }
}

fn pass<'a>(after: &mut Chars<'a>, belongs: impl Fn(char) -> bool) -> &'a str {
    let text = after.as_str();
    let rest = text.trim_start_matches(belongs);
    *after = rest.chars();
    text.strip_suffix(rest).unwrap_or_default()
}

fn pass_one(after: &mut Chars<'_>, belongs: impl Fn(char) -> bool) {
    if after.clone().next().is_some_and(belongs) {
        after.next();
    }
}

#[cfg(test)]
mod tests;
