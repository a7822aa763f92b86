//! Whether what was seen is what was promised. Pure: evidence in, violations out.
//!
//! Nothing in here knows how a daemon works. Each check is one promise, and what it says names the Operation, the
//! promise and what was seen instead.

mod attempts;
mod copies;
mod ends;
mod findings;
mod overlaps;

use super::evidence::{Evidence, OrderEvidence};
use findings::Findings;
pub(super) use findings::Violation;

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

#[cfg(test)]
mod tests;
