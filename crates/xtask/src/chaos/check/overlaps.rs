//! A target is locked exclusively: no two attempts at anything act on it at the same time.

use std::collections::BTreeMap;

use super::super::evidence::OrderEvidence;
use super::findings::Findings;

/// From its first mark to its last one.
struct Acting<'a> {
    from: u64,
    to: u64,
    attempt: u32,
    seen: &'a OrderEvidence,
}

pub(super) fn check(findings: &mut Findings<'_>) {
    let mut targets: BTreeMap<u64, Vec<Acting<'_>>> = BTreeMap::new();
    let evidence = findings.evidence;
    for seen in &evidence.orders {
        let mut attempts: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for mark in &seen.marks {
            let span = attempts.entry(mark.attempt).or_insert((mark.monotonic, mark.monotonic));
            *span = (span.0.min(mark.monotonic), span.1.max(mark.monotonic));
        }
        let acting = attempts.into_iter().map(|(attempt, (from, to))| Acting { from, to, attempt, seen });
        targets.entry(seen.order.target).or_default().extend(acting);
    }
    for (target, mut acting) in targets {
        acting.sort_by_key(|acting| acting.from);
        // Each with all that began before it had ended, however long that goes on.
        for (at, first) in acting.iter().enumerate() {
            for second in acting[at + 1..].iter().take_while(|second| second.from <= first.to) {
                let milliseconds = (first.to.min(second.to) - second.from) / 1_000_000;
                let what = format!(
                    "attempt {} at it and attempt {} at {} acted on site{target} together for {milliseconds} ms",
                    first.attempt,
                    second.attempt,
                    second.seen.order.key()
                );
                let promised = "no two attempts act on a target at once";
                findings.add(first.seen, first.seen.stored.first(), promised, what);
            }
        }
    }
}
