//! What happens in one schedule: a load of Operations, and faults while they run. Pure: a seed is a schedule.

use std::fmt;
use std::time::Duration;

use super::fault::{Fault, FaultKind};
use super::order::Order;
use crate::random::Random;

/// At least so many Operations and so many faults are in a schedule.
const OPERATIONS: (u64, u64) = (32, 40);
const FAULTS: (u64, u64) = (9, 12);

/// A load and the faults that it meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) seed: u64,
    pub(super) length: Duration,
    /// By the time at which they are submitted.
    pub(super) orders: Vec<Order>,
    /// By the time at which they begin. One ends before the next begins, so a slow machine delays them.
    pub(super) faults: Vec<Fault>,
}

impl Schedule {
    /// The schedule of a seed. Faults of the kinds in `kinds` are drawn, each once before one comes again.
    pub(super) fn generate(seed: u64, length: Duration, kinds: &[FaultKind]) -> Self {
        let mut random = Random::new(seed);
        let span = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        let count = random.between(OPERATIONS.0, OPERATIONS.1);
        let mut orders: Vec<Order> =
            (0..count).map(|number| Order::generate(number, span, &mut random)).collect();
        orders.sort_by_key(|order| order.at);
        let count = random.between(FAULTS.0, FAULTS.1);
        let mut deck: Vec<FaultKind> = Vec::new();
        let mut faults: Vec<Fault> = Vec::new();
        for number in 0..count {
            if deck.is_empty() {
                deck = kinds.to_vec();
                random.shuffle(&mut deck);
            }
            let Some(kind) = deck.pop() else { break };
            // Evenly over the first nine tenths, the first after there is something to strike.
            let at = 2_000 + (span * 9 / 10).saturating_sub(2_000) * number / count;
            faults.push(Fault::generate(kind, Duration::from_millis(at), &mut random));
        }
        Self { seed, length, orders, faults }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {:?}", self.seed, self.length)?;
        for order in &self.orders {
            writeln!(f, "  {order}")?;
        }
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::SubmitBy;
    use super::*;

    const LENGTH: Duration = Duration::from_secs(60);

    #[test]
    fn a_seed_is_a_schedule() {
        let schedule = Schedule::generate(7, LENGTH, FaultKind::ALL);
        assert_eq!(schedule, Schedule::generate(7, LENGTH, FaultKind::ALL));
        assert_ne!(schedule.orders, Schedule::generate(8, LENGTH, FaultKind::ALL).orders);
        assert!(schedule.orders.len() >= 30 && schedule.faults.len() >= 8, "{schedule}");
    }

    #[test]
    fn many_seeds_together_have_every_kind_of_everything() {
        use std::collections::BTreeSet;
        let schedules: Vec<Schedule> =
            (0..40).map(|seed| Schedule::generate(seed, LENGTH, FaultKind::ALL)).collect();
        let faults = schedules.iter().flat_map(|schedule| &schedule.faults);
        let kinds: BTreeSet<FaultKind> = faults.clone().map(|fault| fault.kind).collect();
        assert_eq!(kinds.len(), FaultKind::ALL.len());
        assert!(faults.clone().all(|fault| fault.kind.phases().contains(&fault.phase)));
        let orders: Vec<&Order> = schedules.iter().flat_map(|schedule| &schedule.orders).collect();
        let works: BTreeSet<&str> = orders.iter().map(|order| order.work.name()).collect();
        assert_eq!(works.len(), 6, "{works:?}");
        assert!(orders.iter().any(|order| order.cancel_after.is_some()));
        assert!(orders.iter().any(|order| order.retry));
        for way in [SubmitBy::Http, SubmitBy::Amqp] {
            assert!(orders.iter().any(|order| order.repeats > 0 && order.way == way));
        }
    }
}
