//! How many Operations a backend is handed: a few more than its nodes are about to start, so that priority holds until
//! the start. What waits in the broker's queue or on a node can't be overtaken by what relayd still has.

use std::collections::HashSet;

use aegir_protocol::id::AttemptId;
use aegir_protocol::limits::MAX_PRIORITY;

use crate::nodes::NodeCapacity;
use crate::store::Dispatched;

/// How many may wait on the broker and on a node for each of the node's slots: one that starts when the slot is free, and
/// one that is there when the next is asked for.
const FOR_EACH_SLOT: usize = 2;
/// How many slots a backend counts as having of which no node is heard: what a dispatcherd has when its config says
/// nothing. So a relayd that has just started need not wait for a heartbeat.
const ASSUMED_SLOTS: usize = 4;

/// How many slots the backend's nodes have for what is new.
#[must_use]
pub fn slots(capacities: &[NodeCapacity]) -> usize {
    match capacities.iter().filter(|taker| taker.accepting).map(|taker| taker.slots).sum() {
        0 => ASSUMED_SLOTS,
        slots => slots,
    }
}

/// The most that can be handed out at once, urgent ones included.
#[must_use]
pub fn most(slots: usize) -> usize {
    2 * FOR_EACH_SLOT * slots
}

/// How many of those that were handed out to a backend are to be looked at: all that can be, and of a small backend what was
/// handed out when it had more nodes.
#[must_use]
pub fn looked_at(capacities: &[NodeCapacity]) -> usize {
    const AT_LEAST: usize = 1024;
    most(slots(capacities)).max(AT_LEAST)
}

/// Whether a node has less of what was handed out than its own share, so that it takes all that is in its queue: what
/// nobody lists then is nowhere. What it has from other frontends says nothing of that: it has places for each one's share.
#[must_use]
pub fn takes_all(capacities: &[NodeCapacity], dispatched: &[Dispatched]) -> bool {
    let open: HashSet<_> = dispatched.iter().map(|handed| handed.attempt).collect();
    capacities.iter().filter(|taker| taker.accepting).any(|taker| left(taker, &open) > 0)
}

/// How many of those that wait in relayd, the most urgent first, are to be handed out now.
///
/// Beyond the bound goes what is so urgent that it would be among the next to start: fewer than there are slots are as
/// urgent and handed out. There can be as many of these again as within the bound.
#[must_use]
pub fn how_many(
    capacities: &[NodeCapacity],
    dispatched: &[Dispatched],
    waiting: impl IntoIterator<Item = u8>,
) -> usize {
    let slots = slots(capacities);
    let mut free = free(capacities, dispatched);
    let mut all = dispatched.len();
    let mut by_priority = [0_usize; MAX_PRIORITY as usize + 1];
    for handed in dispatched {
        by_priority[usize::from(handed.priority.min(MAX_PRIORITY))] += 1;
    }
    let mut count = 0;
    for priority in waiting {
        let priority = usize::from(priority.min(MAX_PRIORITY));
        let as_urgent: usize = by_priority[priority..].iter().sum();
        if free == 0 && (as_urgent >= slots || all >= most(slots)) {
            break;
        }
        free = free.saturating_sub(1);
        by_priority[priority] += 1;
        all += 1;
        count += 1;
    }
    count
}

/// What fits within the bound. What a node has beyond its own share takes nothing from the others'; what no node lists is
/// on its way to any of them.
fn free(capacities: &[NodeCapacity], dispatched: &[Dispatched]) -> usize {
    let open: HashSet<_> = dispatched.iter().map(|handed| handed.attempt).collect();
    let listed: HashSet<_> = capacities.iter().flat_map(|taker| &taker.waiting).copied().collect();
    let on_the_way = open.difference(&listed).count();
    let accepting = || capacities.iter().filter(|taker| taker.accepting && taker.slots > 0);
    let whole = if accepting().next().is_none() {
        FOR_EACH_SLOT * ASSUMED_SLOTS
    } else {
        accepting().map(|taker| left(taker, &open)).sum()
    };
    whole.saturating_sub(on_the_way)
}

/// What is left of a node's share. It may list what other frontends have handed out, too.
fn left(taker: &NodeCapacity, open: &HashSet<AttemptId>) -> usize {
    let has = taker.waiting.iter().filter(|attempt| open.contains(*attempt)).count();
    (FOR_EACH_SLOT * taker.slots).saturating_sub(has)
}

#[cfg(test)]
mod tests {
    use aegir_protocol::id::{Attempt, OperationId};

    use super::*;

    fn dispatched_with(priorities: &[u8]) -> Vec<Dispatched> {
        let one = |(number, &priority)| {
            let attempt = AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
            Dispatched { number, attempt, priority }
        };
        (0..).zip(priorities).map(one).collect()
    }

    fn taker(slots: usize, waiting: &[Dispatched]) -> NodeCapacity {
        NodeCapacity {
            slots,
            accepting: true,
            waiting: waiting.iter().map(|handed| handed.attempt).collect(),
        }
    }

    #[track_caller]
    fn check(slots: usize, dispatched: &[u8], waiting: &[u8], expect: usize) {
        let dispatched = dispatched_with(dispatched);
        // Whether a node has them yet, or not, makes no difference.
        for listed in [&dispatched[..], &[]] {
            let count = how_many(&[taker(slots, listed)], &dispatched, waiting.iter().copied());
            assert_eq!(count, expect, "{slots} slots, {dispatched:?}, {waiting:?}");
        }
    }

    #[test]
    fn two_are_dispatched_for_each_slot() {
        check(1, &[], &[3; 30], 2);
        check(1, &[3], &[3; 30], 1);
        check(1, &[3, 3], &[3; 30], 0);
        check(4, &[3; 7], &[3; 30], 1);
        check(4, &[], &[3], 1);
        check(4, &[3; 100], &[3; 30], 0);
    }

    #[test]
    fn an_urgent_one_goes_out_beyond_that_and_not_any_number_of_them() {
        check(1, &[3, 3], &[9, 3], 1);
        check(1, &[9, 3], &[9, 3], 0);
        check(1, &[3, 3, 9], &[9], 0);
        check(1, &[3, 3, 8], &[9, 8], 1);
        // As many as may start next.
        check(4, &[3; 8], &[9; 30], 4);
        check(4, &[3, 3, 3, 3, 3, 3, 3, 3, 9, 9], &[9; 30], 2);
        check(4, &[9; 8], &[9; 30], 0);
        check(2, &[3, 3, 3, 3, 4, 4, 5, 5], &[9], 0);
    }

    #[test]
    fn a_node_takes_all_while_it_has_less_than_its_share_whatever_other_frontends_have_there() {
        let (ours, theirs) = (dispatched_with(&[3; 16]), dispatched_with(&[3; 16]));
        let takes_all = |waiting: &[Dispatched]| takes_all(&[taker(4, waiting)], &ours);
        assert!(takes_all(&ours[..7]));
        assert!(!takes_all(&ours[..8]));
        assert!(takes_all(&theirs));
        assert!(takes_all(&[&theirs[..], &ours[..7]].concat()));
        assert!(!takes_all(&[&theirs[..], &ours[..8]].concat()));
        let closed = NodeCapacity { accepting: false, ..taker(4, &[]) };
        assert!(!super::takes_all(&[closed], &ours));
    }

    #[test]
    fn a_backend_with_many_slots_gets_its_share_and_no_more() {
        for slots in [600, 1000, 5000] {
            let mut capacities = [taker(slots, &[])];
            assert_eq!(how_many(&capacities, &[], vec![3; 9 * slots]), 2 * slots);
            // As the store gives what was handed out: so many at most.
            let mut dispatched = dispatched_with(&vec![3; 2 * slots]);
            dispatched.truncate(looked_at(&capacities));
            capacities[0] = taker(slots, &dispatched);
            assert_eq!(how_many(&capacities, &dispatched, [3; 30]), 0);
        }
    }

    #[test]
    fn less_urgent_ones_wait_behind_urgent_ones_that_do_not_fit() {
        check(2, &[3, 3, 3, 3], &[9, 9, 9, 8, 3], 2);
        check(2, &[3, 3], &[9, 9, 9, 3], 2);
    }

    #[test]
    fn of_a_backend_without_nodes_some_are_dispatched() {
        assert_eq!(how_many(&[], &[], [3; 30]), 8);
        assert_eq!(how_many(&[], &dispatched_with(&[3; 8]), [3; 30]), 0);
        let closed = NodeCapacity { accepting: false, ..taker(16, &[]) };
        assert_eq!(how_many(&[closed], &[], [3; 30]), 8);
    }

    #[test]
    fn what_a_busy_node_has_taken_takes_nothing_from_another() {
        let all = dispatched_with(&[3; 16]);
        let count = |busy: &[Dispatched]| how_many(&[taker(4, busy), taker(4, &[])], &all, [3; 30]);
        assert_eq!(count(&all[..8]), 0, "eight are on their way to the other one");
        assert_eq!(count(&all), 8);
        // What a closed node has is not on its way either.
        let closed = NodeCapacity { accepting: false, ..taker(4, &all) };
        assert_eq!(how_many(&[closed, taker(4, &[])], &all, [3; 30]), 8);
    }
}
