//! What is found.

use std::fmt;

use super::super::evidence::{Evidence, Mark, OrderEvidence, Stored};

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Violation {
    pub(in super::super) seed: u64,
    /// The order, and the Operation where there is one.
    pub(in super::super) of: String,
    pub(in super::super) promised: &'static str,
    pub(in super::super) seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, of, promised, seen } = self;
        write!(f, "seed {seed}, {of}\n  promised: {promised}\n  seen: {seen}")
    }
}

/// What is found, on the way.
pub(super) struct Findings<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) violations: Vec<Violation>,
}

impl Findings<'_> {
    pub(super) fn add(
        &mut self,
        seen: &OrderEvidence,
        stored: Option<&Stored>,
        promised: &'static str,
        what: impl Into<String>,
    ) {
        let id = stored.map(|stored| format!(" ({})", stored.detail.summary.id)).unwrap_or_default();
        let of = format!("{}{id}", seen.order.key());
        self.violations.push(Violation { seed: self.evidence.seed, of, promised, seen: what.into() });
    }
}

/// The marks of one attempt.
pub(super) fn marks_of(seen: &OrderEvidence, attempt: u32) -> impl Iterator<Item = &Mark> {
    seen.marks.iter().filter(move |mark| mark.attempt == attempt)
}
