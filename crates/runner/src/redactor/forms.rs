//! The patterns that the forms of a secret are found by.

use aegir_protocol::limits::MIN_SECRET;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::normal::{Layout, Normal};
use super::parts::SecretParts;
use super::search::{self, MatchRules, Patterns};

/// From how many bytes on a form is looked for across lines.
pub(super) const LONG_ENOUGH: usize = 12;
/// A longer part is not looked for in base64 or hexadecimal digits.
const LONGEST_ENCODED: usize = 64 * 1024;

/// What is looked for.
#[derive(Debug, Default)]
pub(super) struct Forms {
    pub(super) plain: Patterns,
    pub(super) lines: Patterns,
    pub(super) content: Patterns,
}

impl Forms {
    /// Adds all forms of a secret.
    pub(super) fn add(&mut self, secret: &str) {
        let parts = SecretParts::of(secret);
        for part in parts.encoded.iter().chain(&parts.text) {
            self.text(part);
        }
        for layout in &parts.layouts {
            self.content(layout.as_bytes());
        }
        for part in parts.encoded.iter().filter(|part| part.len() <= LONGEST_ENCODED) {
            self.base64(part.as_bytes());
            self.content(hex::encode(part).as_bytes());
            self.content(hex::encode_upper(part).as_bytes());
        }
    }

    fn text(&mut self, part: &str) {
        if !part.contains('\n') {
            search::add(&mut self.plain, part.as_bytes(), MatchRules::default());
        }
        self.escaped(part.as_bytes());
        if let Some(latin) = latin(part) {
            self.escaped(&latin);
        }
    }

    fn escaped(&mut self, part: &[u8]) {
        if self.content(part) || part.contains(&b'\n') {
            return;
        }
        let normal = Normal::with_spans(part, Layout::Lines).end();
        // Nothing is left of quotes alone.
        if !normal.bytes.is_empty() {
            search::add(&mut self.lines, &normal.bytes, rules(&normal, part));
        }
    }

    /// Whether that is long enough to be found in any layout.
    fn content(&mut self, form: &[u8]) -> bool {
        let normal = Normal::with_spans(form, Layout::Ignored).end();
        let long = normal.bytes.len() >= LONG_ENOUGH;
        if long {
            let rules = MatchRules { at_least: 0, ..rules(&normal, form) };
            search::add(&mut self.content, &normal.bytes, rules);
        }
        long
    }

    /// The characters that stand for the secret alone wherever it begins in what is encoded, as `user:secret` is for
    /// HTTP; and the ordinary encoding to its last character.
    fn base64(&mut self, secret: &[u8]) {
        self.encoded(&STANDARD_NO_PAD.encode(secret));
        for shift in 0..3_usize {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(secret);
            let encoded = STANDARD_NO_PAD.encode(&shifted);
            // Characters that hold bits of a neighbour are left out.
            let first = (shift * 8).div_ceil(6);
            let last = shifted.len() * 8 / 6;
            self.encoded(&encoded[first..last]);
        }
    }

    fn encoded(&mut self, form: &str) {
        if self.content(form.as_bytes()) || form.len() < MIN_SECRET {
            return;
        }
        for form in [form.to_owned(), form.replace('+', "-").replace('/', "_")] {
            let normal = Normal::with_spans(form.as_bytes(), Layout::Lines).end();
            search::add(&mut self.lines, &normal.bytes, rules(&normal, form.as_bytes()));
        }
    }
}

fn rules(normal: &Normal, form: &[u8]) -> MatchRules {
    let (start, end) = match &*normal.spans {
        [] => (0, form.len()),
        [one] => (one.start, one.end),
        [first, .., last] => (first.start, last.end),
    };
    // One that is itself escaped, as a password in a URL is, may be printed without its escapes.
    let at_least = form.len().min((normal.bytes.len() + normal.left_out).max(MIN_SECRET));
    MatchRules { at_least, before: start > 0, behind: end < form.len(), next: false }
}

/// A text with a byte for each character up to U+00FF, as programs write it that escape characters and not bytes.
fn latin(text: &str) -> Option<Vec<u8>> {
    if !text.chars().any(|c| ('\u{80}'..='\u{ff}').contains(&c)) {
        return None;
    }
    let byte = |c: char| match u8::try_from(c) {
        Ok(byte) => vec![byte],
        Err(_) => c.to_string().into_bytes(),
    };
    Some(text.chars().flat_map(byte).collect())
}
