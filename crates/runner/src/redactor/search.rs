//! One search for many patterns, in a text as it is or in what [`Normal`] leaves of it.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, BuildError, MatchKind};

use super::normal::{Layout, Normal, Span};

/// A longer pattern is looked for by pieces of this many bytes, so that no more than this must be held back of what is
/// printed, and a part of a long secret is masked too.
pub(super) const PIECE: usize = 32;
/// From how many bytes of patterns on the smaller automaton is used. The fastest takes memory for each byte times each
/// kind of byte.
const LONG: usize = 4096;
/// The beginning of a pattern at the end of a line that the next line may go on with, in bytes. A shorter one is given out:
/// it would hold back ordinary lines, and shows no more than a value does that is too short to be masked.
const BEGUN: usize = 6;

/// What is looked for, each with what is true of all that it was found in.
pub(super) type Patterns = BTreeMap<Vec<u8>, MatchRules>;

/// What is true of an occurrence of a pattern.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MatchRules {
    /// How long it is at least, with what stands before and behind it: no form of a secret is shorter than the secret without
    /// its escapes. So a short secret with quotes around it is not found where the word in them stands alone.
    pub(super) at_least: usize,
    /// Whether something of the secret stands before it, or behind it, that is left out of the pattern.
    pub(super) before: bool,
    pub(super) behind: bool,
    /// Whether it is the next piece of a longer one.
    pub(super) next: bool,
}

/// Puts a pattern, or its pieces, among others.
pub(super) fn add(patterns: &mut Patterns, pattern: &[u8], rules: MatchRules) {
    let last = pattern.len().saturating_sub(PIECE);
    let at_least = if last == 0 { rules.at_least } else { 0 };
    for start in (0..last).step_by(PIECE).chain([last]) {
        let known = patterns
            .entry(pattern[start..(start + PIECE).min(pattern.len())].to_vec())
            .or_insert(MatchRules { at_least, ..MatchRules::default() });
        known.at_least = known.at_least.min(at_least);
        known.next |= start != 0;
        known.before |= rules.before && start == 0;
        // What is left out between two pieces belongs to both.
        known.behind |= rules.behind || start != last;
    }
}

/// How many bytes what is left out of a pattern at its ends may take.
const LONGEST_END: usize = 64;

#[derive(Debug)]
pub(super) struct Search {
    layout: Option<Layout>,
    /// In order.
    patterns: Vec<(Vec<u8>, MatchRules)>,
    automaton: AhoCorasick,
}

impl Search {
    /// Searches a text as it is, or what this layout leaves of it; `None` without patterns.
    pub(super) fn new(layout: Option<Layout>, patterns: &Patterns) -> Result<Option<Self>, BuildError> {
        if patterns.is_empty() {
            return Ok(None);
        }
        let long = patterns.keys().map(Vec::len).sum::<usize>() > LONG;
        let kind = long.then_some(AhoCorasickKind::ContiguousNFA);
        let automaton =
            AhoCorasickBuilder::new().kind(kind).match_kind(MatchKind::Standard).build(patterns.keys())?;
        let patterns = patterns.iter().map(|(pattern, rules)| (pattern.clone(), *rules)).collect();
        Ok(Some(Self { layout, patterns, automaton }))
    }

    /// Finds every occurrence, those that overlap too, so that nothing of a secret shows beside another. Where more lines
    /// may come, gives where an occurrence may have begun that they go on with.
    pub(super) fn find(&self, text: &[u8], more: bool, found: &mut Vec<Span>) -> Option<usize> {
        let Some(layout) = self.layout else {
            if self.automaton.is_match(text) {
                let spans = self.automaton.find_overlapping_iter(text);
                found.extend(spans.map(|span| Span { start: span.start(), end: span.end() }));
            }
            return None;
        };
        let normal = |with_spans| {
            let normal = if with_spans { Normal::with_spans(text, layout) } else { Normal::of(text, layout) };
            if more { normal } else { normal.end() }
        };
        let bare = normal(false);
        let held = more && layout == Layout::Ignored;
        // Most texts hold no secret.
        if !self.automaton.is_match(&bare.bytes) {
            return self.begun(&bare, None).filter(|_| held).map(|at| normal(true).spans[at].start);
        }
        let normal = normal(true);
        let mut last = None;
        for one in self.automaton.find_overlapping_iter(&normal.bytes) {
            let rules = self.patterns[one.pattern().as_usize()].1;
            let span = Span { start: normal.spans[one.start()].start, end: normal.spans[one.end() - 1].end };
            last = Some(one.end());
            let span = with_ends(text, &normal.spans, span, (one.start(), one.end()), rules);
            if span.end - span.start >= rules.at_least {
                found.push(span);
            }
        }
        self.begun(&normal, last).filter(|_| held).map(|at| normal.spans[at].start)
    }

    /// Where a pattern begins of which all the rest is the beginning; `last` is where the last one ended.
    fn begun(&self, normal: &Normal, last: Option<usize>) -> Option<usize> {
        let (settled, end) = (normal.settled(), normal.bytes.len());
        let begins = |at: usize, to: usize| {
            let tail = &normal.bytes[at..to];
            let follows = last.is_some_and(|last| at <= last && (last < to || settled < end));
            if tail.len() < BEGUN && !follows {
                return false;
            }
            let next = self.patterns.partition_point(|(pattern, _)| &**pattern <= tail);
            let found = self.patterns[next..].iter().take_while(|(pattern, _)| pattern.starts_with(tail));
            // The next piece of a longer pattern waits, however little of it is there.
            found.into_iter().any(|(_, rules)| tail.len() >= BEGUN || (follows && rules.next))
        };
        // What looks like a part of an escape may be one, or not.
        let tails = (settled + 1).saturating_sub(PIECE)..end;
        tails.into_iter().find(|&at| (at <= settled && begins(at, settled)) || begins(at, end))
    }
}

/// A place with what of the secret stands before and behind it and is in no pattern, as quotes are.
fn with_ends(
    text: &[u8],
    spans: &[Span],
    span: Span,
    (first, next): (usize, usize),
    rules: MatchRules,
) -> Span {
    let Span { mut start, mut end } = span;
    if rules.before {
        let before = first.checked_sub(1).map_or(0, |before| spans[before].end);
        let before = before.max(start.saturating_sub(LONGEST_END)).min(start);
        let newline = text[before..start].iter().rposition(|&byte| byte == b'\n');
        start = newline.map_or(before, |at| before + at + 1);
    }
    if rules.behind {
        let behind = spans.get(next).map_or(text.len(), |behind| behind.start);
        let behind = behind.min(end + LONGEST_END).max(end);
        let newline = text[end..behind].iter().position(|&byte| byte == b'\n');
        end = newline.map_or(behind, |at| end + at);
    }
    Span { start, end }
}
