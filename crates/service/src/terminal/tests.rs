use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn only_text_and_colours_are_left() {
    let cases = [
        ("plain\ttext\n", "plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x1b[0m\n", "red\n", "\x1b[31mred\x1b[0m\x1b[0m\n"),
        ("\x1b[1;31mred\n", "red\n", "\x1b[1;31mred\x1b[0m\n"),
        ("\x1b[38:5:9mred", "red", "\x1b[38:5:9mred\x1b[0m"),
        ("\x1b[?31mx\x1b[>4;1mx\x1b[1 mx", "xxx", "xxx"),
        ("\x1b]0;title\x07x", "x", "x"),
        ("\x1b]52;c;aGk=\x1b\\x", "x", "x"),
        ("\x1bP1$r\u{9c}x", "x", "x"),
        ("\x1b]0;no end", "0;no end", "0;no end"),
        ("\x1b]0;no end\nx", "0;no end\nx", "0;no end\nx"),
        ("\u{9d}0;title\u{9c}\u{90}x\x1b\\y", "y", "y"),
        ("\x1b[2J\x1b[10;10Hx\x1b[?25l", "x", "x"),
        ("\x1bcx", "x", "x"),
        ("\x1b(Bx", "x", "x"),
        ("\x1b$(Bx", "x", "x"),
        ("10%\r20%\r\n", "10%\n20%\n", "10%\n20%\n"),
        ("a\0b\x08c\u{9b}31md\x7f", "abcd", "abcd"),
        ("\x1b", "", ""),
        ("\x1bé", "é", "é"),
        ("\x1b é\x1b/€\x1b(𝄞", "é€𝄞", "é€𝄞"),
        ("\x1b[1é\x1b]é", "éé", "éé"),
        ("\u{9b}é", "é", "é"),
        ("if \u{202e}x\u{2066}y", "if <U+202E>x<U+2066>y", "if <U+202E>x<U+2066>y"),
        (
            "שלום \u{200f}(1) مرحبا 👩\u{200d}🚀",
            "שלום \u{200f}(1) مرحبا 👩\u{200d}🚀",
            "שלום \u{200f}(1) مرحبا 👩\u{200d}🚀",
        ),
    ];
    for (text, without, with) in cases {
        assert_eq!(clean(text, false), without, "{text:?}");
        assert_eq!(clean(text, true), with, "{text:?}");
    }
    let long = format!("\x1b[{}mx", "1;".repeat(LONGEST_COLOUR));
    assert_eq!(clean(&long, true), "x");
}

#[test]
fn a_line_full_of_strings_without_an_end_takes_no_longer_than_it_is_long() {
    let text = "\u{9d}".repeat(1 << 20);
    assert_eq!(clean(&text, true), "");
}

/// Pieces of sequences, whole ones, and text of one to four bytes a character.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\x1b[ -/\\[\\]PX^_cM78]{0,3}",
        "[\\x00-\\x1f\\x7f-\u{9f}]{1,3}",
        "\\x1b\\[[0-9;:?]{0,5}[ -/]?[@-~]?",
        "[\u{9b}\u{9d}\u{90}][0-9;]{0,4}[\u{9c}\\x07m]?",
        "[\u{202a}-\u{202e}\u{2066}-\u{2069}\u{200f}]",
        "[é€𝄞a \\n\\t]{1,4}",
        any::<char>().prop_map(String::from),
        proptest::collection::vec(any::<u8>(), 0..8)
            .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ]
}

/// Output of a program that means harm.
fn hostile() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_terminal_gets_nothing_to_obey(text in hostile()) {
        let plain = clean(&text, false);
        prop_assert!(!plain.contains(is_obeyed), "{plain:?}");
        prop_assert_eq!(clean(&plain, false), &*plain);
        let coloured = clean(&text, true);
        let mut between = coloured.split("\u{1b}[");
        let mut shown = between.next().unwrap_or_default().to_owned();
        for part in between {
            let (parameters, text) = part.split_once('m').unwrap();
            prop_assert!(parameters.chars().all(|c| c.is_ascii_digit() || c == ';' || c == ':'));
            shown.push_str(text);
        }
        prop_assert_eq!(shown, plain);
    }

    #[test]
    fn ordinary_text_is_left_as_it_is(text in "(\\PC|\\n|\\t)*") {
        prop_assert_eq!(clean(&text, false), &*text);
        prop_assert_eq!(clean(&text, true), text);
    }

    #[test]
    fn nothing_takes_the_next_line_with_it(before in hostile(), after in "\\PC*") {
        for colour in [false, true] {
            let cleaned = clean(&format!("{before}\n{after}"), colour);
            let last = cleaned.rsplit('\n').next().unwrap_or_default();
            prop_assert_eq!(last.strip_suffix("\u{1b}[0m").unwrap_or(last), after.as_str());
        }
    }

    #[test]
    fn one_line_is_one_line(text in hostile()) {
        prop_assert!(!one_line(&text).contains(|c: char| c == '\n' || c == '\t' || is_obeyed(c)));
    }

    #[test]
    fn a_document_stays_the_same(text in hostile()) {
        for document in [json!([text]).to_string(), format!("{:#}", json!({"a": {(text): 1}}))] {
            let cleaned = clean_json(&document);
            prop_assert!(!cleaned.contains(is_obeyed), "{cleaned:?}");
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            prop_assert_eq!(read(&cleaned), read(&document));
        }
    }
}
