//! Masks secrets in what a Task prints, before the first byte reaches the disk.
//!
//! A secret is looked for line by line (a multi-line one by each of its lines), as it is and in the forms
//! that programs give it in passing: escaped for JSON, in base64 at each of the three alignments, and
//! URL-encoded. Shorter parts than [`MIN_SECRET`] bytes are left alone, because they would mask ordinary
//! words.

use std::borrow::Cow;
use std::collections::BTreeSet;

use aegir_protocol::limits::MIN_SECRET;
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, BuildError, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// What stands in the place of a secret.
pub const MASK: &str = "********";

/// The width at which the program `base64` breaks its lines.
const BASE64_LINE: usize = 76;

/// From how many bytes of secrets, in all their forms, on the smaller automaton is used.
const LONG: usize = 4096;

/// Masks the secrets that it was built with.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Option<Automata>);

#[derive(Clone, Debug)]
struct Automata {
    patterns: BTreeSet<Vec<u8>>,
    /// Says fast that there is nothing to mask, which is the rule.
    finder: AhoCorasick,
    /// Finds every occurrence, those that overlap too, so that nothing of a secret shows beside another.
    every: AhoCorasick,
    /// The length of the longest pattern, in bytes.
    longest: usize,
}

impl Redactor {
    /// A redactor for these secrets.
    ///
    /// # Errors
    /// When the secrets are too many or too long for an automaton, which takes gigabytes of them.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Result<Self, BuildError> {
        Self::of(secrets.into_iter().flat_map(forms).collect())
    }

    /// Masks one more secret.
    ///
    /// # Errors
    /// As [`Redactor::new`].
    pub fn add(&mut self, secret: &str) -> Result<(), BuildError> {
        let mut patterns = self.0.as_ref().map_or_else(BTreeSet::new, |automata| automata.patterns.clone());
        let known = patterns.len();
        patterns.extend(forms(secret));
        if patterns.len() > known {
            *self = Self::of(patterns)?;
        }
        Ok(())
    }

    fn of(patterns: BTreeSet<Vec<u8>>) -> Result<Self, BuildError> {
        let Some(longest) = patterns.iter().map(Vec::len).max() else { return Ok(Self(None)) };
        // The fastest automaton takes memory for each byte times each kind of byte, and to build it takes the square
        // of the length where a secret repeats itself.
        let long = patterns.iter().map(Vec::len).sum::<usize>() > LONG;
        let kind = long.then_some(AhoCorasickKind::ContiguousNFA);
        let build = |matches| AhoCorasickBuilder::new().kind(kind).match_kind(matches).build(patterns.iter());
        let (finder, every) = (build(MatchKind::LeftmostFirst)?, build(MatchKind::Standard)?);
        Ok(Self(Some(Automata { patterns, finder, every, longest })))
    }

    /// How many bytes at the end of an unfinished line may be the start of a secret.
    #[must_use]
    pub fn held_back(&self) -> usize {
        self.0.as_ref().map_or(0, |automata| automata.longest - 1)
    }

    /// Masks bytes behind which no secret can go on: complete lines, or the end of a stream.
    #[must_use]
    pub fn mask<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match self.covered(bytes) {
            Some(covered) => Cow::Owned(replace(bytes, &covered)),
            None => Cow::Borrowed(bytes),
        }
    }

    /// Masks the beginning of an unfinished line, and says how many of its bytes that took. The rest must be
    /// given again, with what follows it.
    #[must_use]
    pub fn mask_open<'a>(&self, bytes: &'a [u8]) -> (Cow<'a, [u8]>, usize) {
        let settled = bytes.len().saturating_sub(self.held_back());
        let Some(covered) = self.covered(bytes) else {
            return (Cow::Borrowed(&bytes[..settled]), settled);
        };
        let before: Vec<_> = covered.into_iter().filter(|range| range.0 < settled).collect();
        let taken = match before.last() {
            // The last one may go on behind what is here, so all of it waits; unless it began at the very
            // start, which is a run of overlapping secrets: waiting for its end could take for ever.
            Some(&(start, end)) if end > settled && start > 0 => start,
            Some(&(_, end)) if end > settled => end,
            Some(_) | None => settled,
        };
        let within: Vec<_> = before.into_iter().filter(|range| range.0 < taken).collect();
        (Cow::Owned(replace(&bytes[..taken], &within)), taken)
    }

    /// Masks a text.
    #[must_use]
    pub fn mask_text(&self, text: &str) -> String {
        match self.mask(text.as_bytes()) {
            Cow::Borrowed(_) => text.to_owned(),
            Cow::Owned(masked) => String::from_utf8_lossy(&masked).into_owned(),
        }
    }

    /// Masks every string in a value, keys included.
    #[must_use]
    pub fn mask_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.mask_text(text)),
            Value::Array(items) => items.iter().map(|item| self.mask_value(item)).collect(),
            Value::Object(object) => Value::Object(
                object.iter().map(|(key, value)| (self.mask_text(key), self.mask_value(value))).collect(),
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// The ranges that secrets cover, in order, joined where they touch; `None` when there are none.
    fn covered(&self, bytes: &[u8]) -> Option<Vec<(usize, usize)>> {
        let automata = self.0.as_ref()?;
        let first = automata.finder.find(bytes)?;
        // An overlapping match can't start before the leftmost one.
        let offset = first.start();
        let mut found: Vec<_> = automata
            .every
            .find_overlapping_iter(&bytes[offset..])
            .map(|found| (found.start() + offset, found.end() + offset))
            .collect();
        found.sort_unstable();
        let mut joined: Vec<(usize, usize)> = Vec::with_capacity(found.len());
        for (start, end) in found {
            match joined.last_mut() {
                Some(last) if start < last.1 => last.1 = last.1.max(end),
                Some(_) | None => joined.push((start, end)),
            }
        }
        Some(joined)
    }
}

fn replace(bytes: &[u8], covered: &[(usize, usize)]) -> Vec<u8> {
    let mut masked = Vec::with_capacity(bytes.len() + covered.len() * MASK.len());
    let mut at = 0;
    for &(start, end) in covered {
        masked.extend_from_slice(&bytes[at..start]);
        masked.extend_from_slice(MASK.as_bytes());
        at = end.min(bytes.len());
    }
    masked.extend_from_slice(&bytes[at..]);
    masked
}

/// Every form of a secret that is looked for. None holds a newline.
fn forms(secret: &str) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    let mut add = |form: &[u8]| {
        if form.len() >= MIN_SECRET && !form.contains(&b'\n') {
            forms.insert(form.to_vec());
        }
    };
    let whole = secret.trim_end_matches(['\r', '\n']);
    let mut parts: Vec<&str> = secret.split('\n').map(|line| line.trim_end_matches('\r')).collect();
    parts.push(whole);
    for part in parts.into_iter().filter(|part| part.len() >= MIN_SECRET) {
        add(part.as_bytes());
        add(json_escaped(part).as_bytes());
        add(json_ascii(part).as_bytes());
        add(url_encoded(part, false).as_bytes());
        add(url_encoded(part, true).as_bytes());
        for form in base64_forms(part.as_bytes()) {
            add(form.as_bytes());
            // What `base64` breaks into lines is found by its lines, the short last one excepted.
            for line in form.as_bytes().chunks(BASE64_LINE).filter(|line| line.len() >= 2 * MIN_SECRET) {
                add(line);
            }
        }
    }
    forms
}

fn json_escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// JSON as Python writes it: everything outside ASCII as `\uXXXX`.
fn json_ascii(text: &str) -> String {
    let mut escaped = String::new();
    for c in json_escaped(text).chars() {
        if c.is_ascii() {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

fn url_encoded(text: &str, form: bool) -> String {
    let mut encoded = String::new();
    for &byte in text.as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            b' ' if form => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The characters that stand for the secret alone wherever it begins in what is encoded, as `user:secret` is
/// for HTTP; and the ordinary encoding to its last character.
fn base64_forms(secret: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        forms.push(engine.encode(secret));
        for shift in 0..3_usize {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(secret);
            let encoded = engine.encode(&shifted);
            // Characters that hold bits of a neighbour are left out.
            let first = (shift * 8).div_ceil(6);
            let last = shifted.len() * 8 / 6;
            forms.push(encoded[first..last].to_owned());
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn redactor(secrets: &[&str]) -> Redactor {
        Redactor::new(secrets.iter().copied()).unwrap()
    }

    #[track_caller]
    fn check(secrets: &[&str], text: &str, expected: &str) {
        assert_eq!(redactor(secrets).mask_text(text), expected);
    }

    #[test]
    fn a_long_secret_that_repeats_itself_is_masked() {
        let secret = "a".repeat(20_000);
        let redactor = Redactor::new([&*secret]).unwrap();
        assert_eq!(redactor.mask_text(&format!("x{secret}y")), format!("x{MASK}y"));
    }

    #[test]
    fn a_secret_is_masked_in_every_form_that_programs_give_it() {
        let secret = "pa ss\"wörd/1";
        check(&[secret], "it is pa ss\"wörd/1.", "it is ********.");
        check(&[secret], &json!({ "p": secret }).to_string(), r#"{"p":"********"}"#);
        check(&[secret], r#"{"p": "pa ss\"w\u00f6rd/1"}"#, r#"{"p": "********"}"#);
        check(&[secret], "?p=pa%20ss%22w%C3%B6rd%2F1&x", "?p=********&x");
        check(&[secret], "p=pa+ss%22w%C3%B6rd%2F1", "p=********");
        for prefix in ["", "u", "us", "user:"] {
            let encoded = STANDARD_NO_PAD.encode(format!("{prefix}{secret}"));
            let masked = redactor(&[secret]).mask_text(&encoded);
            assert!(masked.contains(MASK), "{prefix}: {encoded} stayed {masked}");
        }
    }

    #[test]
    fn a_secret_of_many_lines_is_masked_by_each_of_them() {
        check(&["first line\nx\nthird line\n"], "a\nthird line\nb first line", "a\n********\nb ********");
    }

    #[test]
    fn nothing_shows_where_secrets_overlap() {
        check(&["abcdef", "defghi"], "-abcdefghi-", "-********-");
        check(&["secret", "secretive"], "secretive secret", "******** ********");
    }

    #[test]
    fn short_parts_and_no_secrets_mask_nothing() {
        check(&["a\nbb\nccc"], "a bb ccc", "a bb ccc");
        check(&[], "anything", "anything");
    }

    #[test]
    fn a_value_is_masked_to_its_keys() {
        let masked = redactor(&["hunter22"]).mask_value(&json!({ "hunter22": ["x hunter22", 1, null] }));
        assert_eq!(masked, json!({ MASK: [format!("x {MASK}"), 1, null] }));
    }

    proptest! {
        #[test]
        fn an_open_line_is_masked_as_a_whole_one_is(text in "[a-c]{0,200}", secret in "[a-c]{6,9}", step in 1usize..40) {
            let redactor = redactor(&[&secret]);
            let (mut held, mut masked) = (Vec::new(), Vec::new());
            for piece in text.as_bytes().chunks(step) {
                held.extend_from_slice(piece);
                let (open, taken) = redactor.mask_open(&held);
                masked.extend_from_slice(&open);
                let open_taken = taken;
                held.drain(..open_taken);
            }
            masked.extend_from_slice(&redactor.mask(&held));
            let masked = String::from_utf8(masked).unwrap();
            prop_assert!(!masked.contains(&secret), "{} in {}", secret, masked);
        }
    }
}
