//! The state machine of the slots.

use std::time::{Duration, Instant};

use aegir_protocol::id::{Attempt, AttemptId, OperationId};
use aegir_protocol::message::{BootTime, Cancel, Grant, Lease};
use aegir_protocol::name::FrontendName;
use aegir_protocol::state::Outcome;

use super::lease_state::LeaseState;
use super::state::*;

struct Bench {
    slots: Slots,
    now: Instant,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        Self { slots: Slots::new(capacity), now: Instant::now() }
    }

    fn on(&mut self, event: SlotEvent) -> Vec<SlotEffect> {
        self.slots.on(event, self.now)
    }

    fn journaled(&mut self) -> (AttemptId, Vec<SlotEffect>) {
        self.urgent(0, "main")
    }

    fn urgent(&mut self, priority: u8, frontend: &str) -> (AttemptId, Vec<SlotEffect>) {
        let attempt = AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
        (attempt, self.on(SlotEvent::Journaled(attempt, frontend.parse().unwrap(), priority)))
    }

    /// Lets what runs end, again and again: what is claimed after it.
    fn order(&mut self, mut runs: AttemptId) -> Vec<AttemptId> {
        let mut order = Vec::new();
        loop {
            self.on(answer(runs, true));
            let effects = self.on(SlotEvent::RunnerGone(runs));
            let [SlotEffect::Claim(next, _)] = &effects[..] else { return order };
            runs = *next;
            order.push(runs);
        }
    }
}

fn frontend() -> FrontendName {
    "main".parse().unwrap()
}

fn claim(attempt: AttemptId) -> SlotEffect {
    SlotEffect::Claim(attempt, frontend())
}

fn answer(attempt: AttemptId, granted: bool) -> SlotEvent {
    let AttemptId { operation, attempt } = attempt;
    SlotEvent::Answered(Grant { operation, attempt, granted, reason: None, lease: None }, None)
}

fn start(attempt: AttemptId) -> SlotEffect {
    SlotEffect::Start(attempt, frontend(), None)
}

/// A grant with a lease that is renewed each minute.
fn leased(attempt: AttemptId, over: bool) -> (SlotEvent, Lease) {
    let asked_at = BootTime { boot: uuid::Uuid::nil(), milliseconds: 0 };
    let lease = Lease { asked_at, seconds: 900 };
    let AttemptId { operation, attempt } = attempt;
    let grant = Grant { operation, attempt, granted: true, reason: None, lease: Some(lease) };
    let lease_state = LeaseState { lease, over, renew_after: Duration::from_secs(60) };
    (SlotEvent::Answered(grant, Some(lease_state)), lease)
}

fn cancel(attempt: AttemptId) -> Cancel {
    Cancel { operation: attempt.operation, attempt: attempt.attempt, requested_by: None }
}

#[test]
fn what_could_not_be_started_is_asked_for_again_and_can_be_canceled() {
    let mut bench = Bench::new(1);
    let (attempt, _) = bench.journaled();
    bench.now += Duration::from_secs(60);
    let (grant, lease) = leased(attempt, false);
    for _ in 0..2 {
        assert_eq!(bench.on(grant.clone()), [SlotEffect::Start(attempt, frontend(), Some(lease))]);
        assert_eq!(bench.on(SlotEvent::NotStarted(attempt)), [claim(attempt)]);
    }
    let effects = bench.on(SlotEvent::Canceled(cancel(attempt)));
    assert!(matches!(effects[..], [SlotEffect::Report(_, _, Outcome::Canceled, _)]), "{effects:?}");
    assert_eq!(bench.on(SlotEvent::NotStarted(attempt)), []);
}

#[test]
fn as_many_are_claimed_as_there_are_slots_the_oldest_first() {
    let mut bench = Bench::new(2);
    let (one, effects) = bench.journaled();
    assert_eq!(effects, [claim(one)]);
    let (two, effects) = bench.journaled();
    assert_eq!(effects, [claim(two)]);
    let (three, effects) = bench.journaled();
    assert_eq!(effects, []);
    let (four, effects) = bench.journaled();
    assert_eq!(effects, []);
    assert_eq!(bench.on(answer(two, true)), [start(two)]);
    assert_eq!(bench.on(SlotEvent::RunnerGone(two)), [claim(three)]);
    assert_eq!(bench.on(answer(one, false)), [SlotEffect::CloseRefused(one, None), claim(four)]);
    assert_eq!(bench.on(SlotEvent::Over(two)), []);
    assert_eq!(bench.slots.occupancy(), Occupancy { claiming: vec![three, four], ..Occupancy::default() });
}

#[test]
fn the_most_urgent_is_claimed_first_however_many_wait() {
    let mut bench = Bench::new(1);
    let (runs, _) = bench.journaled();
    let low: Vec<_> = (0..30).map(|_| bench.urgent(3, "main").0).collect();
    let (urgent, high) = (bench.urgent(9, "main").0, bench.urgent(8, "main").0);
    let (other, lowest) = (bench.urgent(9, "main").0, bench.urgent(0, "main").0);
    assert_eq!(bench.order(runs), [&[urgent, other, high], &low[..], &[lowest]].concat());
}

#[test]
fn frontends_take_turns_among_what_is_equally_urgent() {
    let mut bench = Bench::new(1);
    let (runs, _) = bench.urgent(3, "a");
    let a: Vec<_> = (0..4).map(|_| bench.urgent(3, "a").0).collect();
    let b: Vec<_> = (0..2).map(|_| bench.urgent(3, "b").0).collect();
    let (c, urgent) = (bench.urgent(3, "c").0, bench.urgent(4, "a").0);
    assert_eq!(bench.order(runs), [urgent, b[0], c, a[0], b[1], a[1], a[2], a[3]]);
}

#[test]
fn a_draining_node_claims_nothing_new_and_starts_what_it_is_granted() {
    let mut bench = Bench::new(1);
    let (one, _) = bench.journaled();
    assert_eq!(bench.on(SlotEvent::Draining(true)), []);
    let (two, effects) = bench.journaled();
    assert_eq!(effects, []);
    bench.now += CLAIM_AGAIN;
    assert_eq!(bench.on(SlotEvent::Tick), [claim(one)], "what was asked for is asked for again");
    assert_eq!(bench.on(answer(one, true)), [start(one)]);
    assert_eq!(bench.on(SlotEvent::RunnerGone(one)), []);
    let occupancy = Occupancy { waiting: vec![two], draining: true, ..Occupancy::default() };
    assert_eq!(bench.slots.occupancy(), occupancy);
    assert_eq!(bench.on(SlotEvent::Draining(false)), [claim(two)]);
}

#[test]
fn a_claim_is_repeated_until_it_is_answered() {
    let mut bench = Bench::new(1);
    let (one, _) = bench.journaled();
    assert_eq!(bench.slots.next_tick(), Some(bench.now + CLAIM_AGAIN));
    assert_eq!(bench.on(SlotEvent::Tick), []);
    bench.now += CLAIM_AGAIN;
    assert_eq!(bench.on(SlotEvent::Tick), [claim(one)]);
    assert_eq!(bench.on(SlotEvent::ClaimLost(one)), []);
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.on(SlotEvent::Tick), [claim(one)]);
    assert_eq!(bench.on(answer(one, true)), [start(one)]);
    assert_eq!(bench.on(answer(one, true)), []);
    assert_eq!(bench.slots.next_tick(), None);
}

#[test]
fn a_cancel_reaches_an_attempt_wherever_it_is() {
    let mut bench = Bench::new(1);
    let (one, _) = bench.journaled();
    let (two, _) = bench.journaled();
    let (three, _) = bench.journaled();
    let reported =
        |effects: &[SlotEffect]| matches!(effects[0], SlotEffect::Report(_, _, Outcome::Canceled, _));
    // Waiting.
    let effects = bench.on(SlotEvent::Canceled(cancel(two)));
    assert!(reported(&effects) && effects.len() == 1, "{effects:?}");
    // Claiming: its slot goes to the next, and an answer that comes later starts nothing.
    let effects = bench.on(SlotEvent::Canceled(cancel(one)));
    assert!(reported(&effects), "{effects:?}");
    assert_eq!(effects[1], claim(three));
    assert_eq!(bench.on(answer(one, true)), []);
    // Started.
    bench.on(answer(three, true));
    assert_eq!(bench.on(SlotEvent::Canceled(cancel(three))), [SlotEffect::Cancel(cancel(three))]);
    // Over, or never heard of.
    bench.on(SlotEvent::RunnerGone(three));
    assert_eq!(bench.on(SlotEvent::Canceled(cancel(three))), []);
    bench.on(SlotEvent::Over(three));
    assert_eq!(bench.on(SlotEvent::Canceled(cancel(three))), []);
}

#[test]
fn a_lease_is_renewed_as_long_as_the_runner_lives() {
    let mut bench = Bench::new(1);
    let (one, _) = bench.journaled();
    // One that was over when it came starts nothing; the next claim is answered anew.
    assert_eq!(bench.on(leased(one, true).0), []);
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.on(SlotEvent::Tick), [claim(one)]);
    let (granted, lease) = leased(one, false);
    assert_eq!(bench.on(granted.clone()), [SlotEffect::Start(one, frontend(), Some(lease))]);
    assert_eq!(bench.slots.next_tick(), Some(bench.now + Duration::from_secs(60)));
    bench.now += Duration::from_secs(60);
    assert_eq!(bench.on(SlotEvent::Tick), [claim(one)]);
    assert_eq!(bench.on(granted), [SlotEffect::Renew(one, lease)]);
    assert_eq!(bench.on(answer(one, false)), [], "a refusal lets it run out");
    bench.on(SlotEvent::RunnerGone(one));
    assert_eq!(bench.slots.next_tick(), None);
}

#[test]
fn a_later_attempt_waits_until_nothing_of_an_earlier_one_runs_here() {
    let mut bench = Bench::new(2);
    let (one, _) = bench.journaled();
    bench.on(answer(one, true));
    let two = AttemptId { attempt: one.attempt.next(), ..one };
    let effects = bench.on(SlotEvent::Journaled(two, frontend(), 0));
    assert!(
        matches!(&effects[..], [SlotEffect::Cancel(cancel)] if cancel.attempt == one.attempt),
        "{effects:?}"
    );
    let (three, effects) = bench.journaled();
    assert_eq!(effects, [claim(three)], "others go past it");
    assert_eq!(bench.on(SlotEvent::RunnerGone(one)), [claim(two)]);
}

#[test]
fn what_was_found_running_holds_its_slot() {
    let mut bench = Bench::new(1);
    let adopted = AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
    bench.on(SlotEvent::Adopted(adopted, frontend(), None));
    let (one, effects) = bench.journaled();
    assert_eq!(effects, []);
    assert_eq!(bench.on(SlotEvent::Journaled(adopted, frontend(), 0)), []);
    assert_eq!(bench.on(SlotEvent::RunnerGone(adopted)), [claim(one)]);
}
