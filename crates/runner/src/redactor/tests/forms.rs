//! Each form of generated secrets, at every split of the stream.

use std::fmt::Write as _;

use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;
use crate::redactor::forms::LONG_ENOUGH;

fn json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn each(text: &str, form: impl Fn(char) -> Option<String>) -> String {
    text.chars().map(|c| form(c).unwrap_or_else(|| c.to_string())).collect()
}

/// As Python writes it: everything outside ASCII as `\uXXXX`.
fn json_ascii(text: &str) -> String {
    each(&json(text), |c| {
        (!c.is_ascii())
            .then(|| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect())
    })
}

fn percent(text: &str, kept: &str, upper: bool) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = match byte {
            b if b.is_ascii_alphanumeric() || kept.as_bytes().contains(&b) => {
                write!(encoded, "{}", char::from(b))
            }
            b if upper => write!(encoded, "%{b:02X}"),
            b => write!(encoded, "%{b:02x}"),
        };
        encoded
    })
}

fn html(text: &str, numeric: bool) -> String {
    each(text, |c| match c {
        _ if numeric && !c.is_ascii_alphanumeric() => Some(format!("&#{};", u32::from(c))),
        '&' => Some("&amp;".to_owned()),
        '<' => Some("&lt;".to_owned()),
        '>' => Some("&gt;".to_owned()),
        '"' => Some("&quot;".to_owned()),
        '\'' => Some("&#x27;".to_owned()),
        'ö' => Some("&ouml;".to_owned()),
        _ => None,
    })
}

/// Bytes outside ASCII as C and Python write them, and backslashes and one quote.
fn bytes(text: &str, octal: bool) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        let _ = match byte {
            b'\\' | b'\'' => write!(escaped, "\\{}", char::from(byte)),
            b' '..=b'~' => write!(escaped, "{}", char::from(byte)),
            _ if octal => write!(escaped, "\\{byte:03o}"),
            _ => write!(escaped, "\\x{byte:02x}"),
        };
        escaped
    })
}

fn backslashed(text: &str, which: impl Fn(char) -> bool) -> String {
    each(text, |c| which(c).then(|| format!("\\{c}")))
}

/// Broken inside of escapes too, but not behind a backslash, which would say that the line goes on.
fn wrapped_escapes(text: &str) -> String {
    let mut lines = vec![String::new()];
    for c in text.chars() {
        let last = lines.last_mut().unwrap();
        if last.len() >= 20 && !last.ends_with('\\') {
            lines.push(c.to_string());
        } else {
            last.push(c);
        }
    }
    lines.join("\n  ")
}

fn wrapped(text: &str, width: usize, between: &str) -> String {
    text.as_bytes()
        .chunks(width)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect::<Vec<_>>()
        .join(between)
}

/// The forms in which every character of a secret can be read again.
fn of_characters(secret: &str) -> Vec<(&'static str, String)> {
    vec![
        ("plain", secret.to_owned()),
        ("JSON", json(secret)),
        ("JSON, ASCII", json_ascii(secret)),
        ("JSON of PHP", json_ascii(secret).replace('/', "\\/")),
        ("JSON in JSON", json(&json_ascii(secret))),
        ("JSON in JSON in JSON", json_ascii(&json(&json(secret)))),
        ("percent", percent(secret, "-._~", true)),
        ("percent, lower case, with /", percent(secret, "-._~/", false)),
        ("form", percent(secret, "-._* ", true).replace(' ', "+")),
        ("percent, twice", percent(&percent(secret, "", true), "", true)),
        ("JSON in a URL", percent(&json_ascii(secret), "", true)),
        ("HTML", html(secret, false)),
        ("HTML, numeric", html(secret, true)),
        ("JSON in HTML", html(&json(secret), false)),
        ("C", bytes(secret, true)),
        ("Python's bytes", bytes(secret, false)),
        ("SQL", secret.replace('\'', "''")),
        ("SQL of MySQL", backslashed(secret, |c| "\\'\"".contains(c))),
        ("shlex.quote", secret.replace('\'', "'\"'\"'")),
        ("shell", secret.replace('\'', "'\\''")),
        ("printf %q", backslashed(secret, |c| c.is_ascii() && !c.is_ascii_alphanumeric())),
        ("double quotes", backslashed(secret, |c| "$`\"\\!".contains(c))),
        ("YAML, folded", json(secret).replace(' ', "\n    ")),
        ("hexadecimal", hex::encode(secret)),
        ("HEXADECIMAL", secret.bytes().map(|byte| format!("{byte:02X}")).collect()),
        ("JSON, wrapped", wrapped_escapes(&json_ascii(secret))),
        ("hexadecimal, wrapped", wrapped(&hex::encode(secret), 16, "\n")),
    ]
}

/// The forms in which up to two characters at either end stand for a neighbour too.
fn of_base64(secret: &str) -> Vec<(&'static str, String)> {
    let mut forms = vec![
        ("base64", STANDARD.encode(secret)),
        ("base64url", URL_SAFE.encode(secret)),
        ("base64url without padding", URL_SAFE_NO_PAD.encode(secret)),
        ("base64 in JSON", STANDARD.encode(secret).replace('/', "\\/")),
        ("base64 in a URL", percent(&STANDARD.encode(secret), "", true)),
    ];
    for shift in 0..3 {
        let long = STANDARD.encode(format!("{}{secret}", "-".repeat(shift)));
        forms.push(("base64, wrapped at 76", wrapped(&long, 76, "\n")));
        forms.push(("base64, wrapped at 64", wrapped(&long, 64, "\n    ")));
        forms.push(("base64, wrapped at 20", wrapped(&long, 20, "\r\n")));
    }
    forms
}

/// What can be read of a masked form: letters and digits.
fn readable(masked: &str) -> usize {
    masked.chars().filter(|c| c.is_alphanumeric()).count()
}

/// The same where lines come one after the other: one that ends with fewer than six bytes of a secret, and perhaps with a
/// part of an escape, does not wait for the next.
fn begun(masked: &str) -> usize {
    let normal = Normal::with_spans(masked.as_bytes(), Layout::Ignored).end().bytes;
    let left = normal.iter().filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii()).count();
    left.saturating_sub(5 + 8)
}

fn secret() -> impl Strategy<Value = String> {
    // What programs escape, four times as often as letters.
    "([a-zA-Z0-9]|[ -/:-@\\[-`{-~]|[öß€😀]){14,90}".prop_filter("enough is left", |secret| {
        Normal::with_spans(secret.as_bytes(), Layout::Ignored).end().bytes.len() >= LONG_ENOUGH
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_form_of_a_secret_is_masked_at_every_split(secret in secret(), step in 1usize..200) {
        let redactor = redactor(&[&secret]);
        for (least, forms) in [(0, of_characters(&secret)), (4, of_base64(&secret))] {
            for (name, form) in forms {
                let text = format!("(\n(\"{form}\")\n)");
                let whole = redactor.mask_text(&text);
                // An escaped space, such as `\v`, may stand alone behind a line end.
                let spaces = if form.contains('\n') { 2 } else { 0 };
                prop_assert!(readable(&whole) <= least + spaces, "{name} of {secret:?}: {text} stayed {whole}");
                for masked in [streamed(&redactor, &text, step), streamed(&redactor, &text, 1)] {
                    let left = if form.contains('\n') { begun(&masked) } else { readable(&masked) };
                    prop_assert!(left <= least, "{name} of {secret:?}: {text} stayed {masked}");
                    prop_assert_eq!(masked.matches('\n').count(), text.matches('\n').count());
                }
            }
        }
    }

    #[test]
    fn a_short_secret_is_masked_in_every_form_of_one_line(secret in "['\"]?([a-z0-9]{3}[ -/:-@a-z]{2,4}[a-z0-9]{2}|[a-c'\"]{4}[a-c][\"']{2})['\"]?") {
        let redactor = redactor(&[&secret]);
        for (name, form) in of_characters(&secret).into_iter().filter(|(_, form)| !form.contains('\n')) {
            let text = format!("\"{form}\"");
            let masked = redactor.mask_text(&text);
            prop_assert!(readable(&masked) == 0, "{name} of {secret:?}: {text} stayed {masked}");
        }
    }

    #[test]
    fn what_is_no_secret_stays(text in "[ -~\n]{0,400}", secret in "[A-Z]{6}[a-z]{12}", step in 1usize..60) {
        prop_assert_eq!(streamed(&redactor(&[&secret]), &text, step), text);
    }
}
