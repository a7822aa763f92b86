//! Masks secrets in what a Task prints, before the first byte reaches the disk.
//!
//! A secret is looked for by its parts (see `parts`: its lines, the values in a document), each in three ways:
//! - as it is;
//! - a short one within a line, as [`Normal`] leaves the line without escapes and quotes;
//! - one of twelve bytes and more across lines, without regard to how it is laid out. So are its base64, at each of
//!   the three alignments, and its hexadecimal digits.
//!
//! Parts of fewer than six bytes are left alone, because they would mask ordinary words. What is masked stays in
//! its line: line ends are never covered.

mod forms;
mod normal;
mod parts;
mod search;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use aho_corasick::BuildError;
use serde_json::Value;

use forms::Forms;
use normal::{Layout, Normal, Span};
use search::{PIECE, Search};

/// What stands in the place of a secret.
pub const MASK: &str = "********";

/// How many bytes at the end of an unfinished line may be the start of a secret, in any form.
pub const HELD_BACK: usize = 4096;

/// Masks the secrets that it was built with.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Option<Arc<Searches>>);

#[derive(Debug)]
struct Searches {
    secrets: BTreeSet<String>,
    every: Vec<Search>,
}

/// What may come behind the bytes that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Nothing.
    Nothing,
    /// Further lines.
    Lines,
    /// The rest of the last line.
    Anything,
}

/// What was found in some bytes.
#[derive(Debug, Default)]
pub struct Matches {
    /// What secrets cover, in order, joined where it touches; never a line end.
    covered: Vec<Span>,
    /// Up to where that is certain, whatever comes behind.
    pub settled: usize,
}

impl Redactor {
    /// A redactor for these secrets.
    ///
    /// # Errors
    /// When the secrets are too many or too long for an automaton, which takes gigabytes of them.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Result<Self, BuildError> {
        Self::of(secrets.into_iter().map(str::to_owned).collect())
    }

    /// Masks one more secret.
    ///
    /// # Errors
    /// As [`Redactor::new`].
    pub fn add(&mut self, secret: &str) -> Result<(), BuildError> {
        // Ansible's forks say the same ones again and again.
        if self.0.as_ref().is_some_and(|searches| searches.secrets.contains(secret)) {
            return Ok(());
        }
        let mut secrets = self.0.as_ref().map_or_else(BTreeSet::new, |searches| searches.secrets.clone());
        secrets.insert(secret.to_owned());
        *self = Self::of(secrets)?;
        Ok(())
    }

    fn of(secrets: BTreeSet<String>) -> Result<Self, BuildError> {
        let mut patterns = Forms::default();
        for secret in &secrets {
            patterns.add(secret);
        }
        let Forms { plain, lines, content } = patterns;
        let every: Vec<Search> = [
            Search::new(None, &plain)?,
            Search::new(Some(Layout::Lines), &lines)?,
            Search::new(Some(Layout::Ignored), &content)?,
        ]
        .into_iter()
        .flatten()
        .collect();
        Ok(Self((!every.is_empty()).then(|| Arc::new(Searches { secrets, every }))))
    }

    /// How much of an unfinished line must be seen at least before any of it can be given out.
    #[must_use]
    pub fn held_back(&self) -> usize {
        if self.0.is_some() { HELD_BACK } else { 0 }
    }

    /// Looks for secrets in what was printed, of which the beginning may have been given out already.
    #[must_use]
    pub fn look(&self, bytes: &[u8], behind: Behind) -> Matches {
        let Some(searches) = &self.0 else {
            return Matches { covered: Vec::new(), settled: bytes.len() };
        };
        let (mut found, mut settled) = (Vec::new(), bytes.len());
        for search in &searches.every {
            if let Some(begun) = search.find(bytes, behind != Behind::Nothing, &mut found) {
                settled = settled.min(begun);
            }
        }
        let waits = match behind {
            Behind::Nothing => 0,
            Behind::Lines => HELD_BACK,
            Behind::Anything => {
                settled = 0;
                HELD_BACK
            }
        };
        let settled = before_character(bytes, settled.max(bytes.len().saturating_sub(waits)));
        Matches { covered: joined(bytes, found), settled }
    }

    /// How many bytes before an index must be known to find what began there and goes on behind it.
    #[must_use]
    pub fn context(&self, before: &[u8]) -> usize {
        if self.0.is_none() {
            return 0;
        }
        // In most texts a fraction of this is enough, and each line that comes is searched with it.
        let mut length = 4 * PIECE;
        loop {
            let tail = &before[before.len().saturating_sub(length)..];
            if length >= HELD_BACK || tail.len() == before.len() {
                return tail.len();
            }
            if Normal::of(tail, Layout::Ignored).bytes.len() >= 2 * PIECE {
                return tail.len();
            }
            length *= 2;
        }
    }

    /// Masks a whole text.
    #[must_use]
    pub fn mask<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let found = self.look(bytes, Behind::Nothing);
        if found.covered.is_empty() {
            Cow::Borrowed(bytes)
        } else {
            Cow::Owned(found.masked(bytes, 0, false).0)
        }
    }

    /// Masks a text.
    #[must_use]
    pub fn mask_text(&self, text: &str) -> String {
        match self.mask(text.as_bytes()) {
            Cow::Borrowed(_) => text.to_owned(),
            Cow::Owned(masked) => String::from_utf8_lossy(&masked).into_owned(),
        }
    }

    /// Masks every string and number in a value, keys included.
    #[must_use]
    pub fn mask_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.mask_text(text)),
            Value::Array(items) => items.iter().map(|item| self.mask_value(item)).collect(),
            Value::Object(object) => Value::Object(
                object.iter().map(|(key, value)| (self.mask_text(key), self.mask_value(value))).collect(),
            ),
            // A secret of digits alone can come back as a number.
            Value::Number(number) => {
                let text = number.to_string();
                let masked = self.mask_text(&text);
                if masked == text { value.clone() } else { Value::String(masked) }
            }
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }
}

impl Matches {
    /// The bytes from an index to where all is settled, masked; and whether they end in a mask. `within` says that those
    /// before them did: what goes on there has its mask.
    #[must_use]
    pub fn masked(&self, bytes: &[u8], from: usize, within: bool) -> (Vec<u8>, bool) {
        let to = self.settled.max(from);
        let mut masked = Vec::with_capacity((to - from) + self.covered.len() * MASK.len());
        let (mut at, mut ends_masked) = (from, false);
        for span in self.covered.iter().filter(|span| span.end > from && span.start < to) {
            masked.extend_from_slice(&bytes[at..span.start.max(from)]);
            if span.start >= from || !within {
                masked.extend_from_slice(MASK.as_bytes());
            }
            at = span.end.min(to);
            ends_masked = span.end >= to;
        }
        masked.extend_from_slice(&bytes[at..to]);
        (masked, ends_masked)
    }
}

/// The places in order, within their lines, joined where they touch.
fn joined(bytes: &[u8], mut found: Vec<Span>) -> Vec<Span> {
    for span in &mut found {
        // A piece of a pattern may end inside of a character.
        span.start = before_character(bytes, span.start);
        span.end = behind_character(bytes, span.end);
    }
    found.sort_unstable_by_key(|span| (span.start, span.end));
    let mut joined: Vec<Span> = Vec::with_capacity(found.len());
    for span in found {
        match joined.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            Some(_) | None => joined.push(span),
        }
    }
    joined.into_iter().flat_map(|span| in_lines(bytes, span)).collect()
}

/// Where the character begins that an index is in.
fn before_character(bytes: &[u8], at: usize) -> usize {
    // What is not UTF-8 has no characters.
    (at.saturating_sub(3)..=at).rev().find(|&at| !is_inside(bytes, at)).unwrap_or(at)
}

/// Where the next one begins.
fn behind_character(bytes: &[u8], at: usize) -> usize {
    (at..=at + 3).find(|&at| !is_inside(bytes, at)).unwrap_or(at)
}

fn is_inside(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000)
}

/// The part of a place in each of its lines, without the spaces around it.
fn in_lines(bytes: &[u8], span: Span) -> impl Iterator<Item = Span> {
    let lines = bytes[span.start..span.end].split_inclusive(|&byte| byte == b'\n');
    lines
        .scan(span.start, |start, line| {
            let from = *start + (line.len() - line.trim_ascii_start().len());
            let to = *start + line.trim_ascii_end().len();
            *start += line.len();
            Some(Span { start: from, end: to })
        })
        .filter(|span| span.start < span.end)
}
