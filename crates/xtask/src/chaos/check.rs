//! Whether what was seen is what was promised. Pure: evidence in, violations out.
//!
//! Nothing in here knows how a daemon works. Each check is one promise, and what it says names the Operation, the
//! promise and what was seen instead.

mod attempts;
mod copies;
mod ends;
mod overlaps;

use std::fmt;

use super::evidence::{Evidence, Mark, OrderEvidence, Stored};

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Violation {
    pub(super) seed: u64,
    /// The order, and the Operation where there is one.
    pub(super) of: String,
    pub(super) promised: &'static str,
    pub(super) seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, of, promised, seen } = self;
        write!(f, "seed {seed}, {of}\n  promised: {promised}\n  seen: {seen}")
    }
}

/// What is found, on the way.
struct Findings<'a> {
    evidence: &'a Evidence,
    violations: Vec<Violation>,
}

impl Findings<'_> {
    fn add(
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

/// Every promise that was not kept.
pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut findings = Findings { evidence, violations: Vec::new() };
    for unseen in &evidence.unseen {
        findings.violations.push(Violation {
            seed: evidence.seed,
            of: "the schedule".to_owned(),
            promised: "when all faults are over, everything can be seen",
            seen: unseen.clone(),
        });
    }
    for seen in &evidence.orders {
        one_operation(seen, &mut findings);
        for stored in &seen.stored {
            ends::check(seen, stored, &mut findings);
            attempts::check(seen, stored, &mut findings);
            for attempt in &stored.attempts {
                copies::check(seen, stored, attempt, &mut findings);
            }
        }
    }
    overlaps::check(&mut findings);
    findings.violations
}

/// However often an order was submitted, there is one Operation, and it is the one that was answered with.
fn one_operation(seen: &OrderEvidence, findings: &mut Findings<'_>) {
    const PROMISED: &str = "the same idempotency key gives one Operation";
    if seen.ids.len() != 1 || seen.stored.len() != 1 {
        let stored: Vec<String> =
            seen.stored.iter().map(|stored| stored.detail.summary.id.to_string()).collect();
        findings.add(seen, None, PROMISED, format!("answered with {:?}, stored are {stored:?}", seen.ids));
        return;
    }
    if let Some(stored) = seen.stored.first()
        && !seen.ids.contains(&stored.detail.summary.id.to_string())
    {
        findings.add(seen, Some(stored), PROMISED, format!("answered with {:?}", seen.ids));
    }
}

/// The marks of one attempt.
fn marks_of(seen: &OrderEvidence, attempt: u32) -> impl Iterator<Item = &Mark> {
    seen.marks.iter().filter(move |mark| mark.attempt == attempt)
}

#[cfg(test)]
mod tests;
