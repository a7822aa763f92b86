//! The machine against every order of events: messages that are late, repeated, lost and crossed.

use std::collections::BTreeMap;
use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::message::BootTime;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Outcome, State};
use proptest::prelude::*;

use super::{LedgerEffect, LedgerEvent, OperationStatus, Refusal, RetryPolicy, step};

const SAFE: RetryPolicy =
    RetryPolicy { lease: Some(Duration::from_secs(900)), retries: Some((3, Duration::from_secs(60))) };

fn node(name: &str) -> NodeName {
    name.parse().expect("a node's name")
}

fn asked_at() -> BootTime {
    BootTime { boot: uuid::Uuid::nil(), milliseconds: 0 }
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    proptest::sample::select(Outcome::ALL)
}

fn events() -> impl Strategy<Value = LedgerEvent> {
    let attempts = (1..5_u32).prop_map(|number| Attempt::new(number).expect("not 0"));
    let nodes = prop_oneof![Just(node("a")), Just(node("b"))];
    (attempts, nodes, outcomes(), 0..4_u32, 0..15).prop_map(move |(attempt, node, outcome, grants, which)| {
        let reason = Code::Completed.because("x");
        match which {
            0 | 1 => LedgerEvent::LocksTaken,
            2 => LedgerEvent::Published { attempt },
            3 => LedgerEvent::Unclaimed { attempt },
            4 => LedgerEvent::Started { attempt, node },
            5 => LedgerEvent::Finished { attempt, node, outcome, reason },
            6 => LedgerEvent::Reported { attempt, node, outcome, reason },
            7 => LedgerEvent::Seen { attempt, node },
            8 => LedgerEvent::CancelRequested { by: None },
            9 => LedgerEvent::LeaseOver { attempt, grants },
            10 => LedgerEvent::BackoffOver { attempt },
            11 => LedgerEvent::RetryRequested { by: None, from_start: false },
            12 => LedgerEvent::DeclaredLost { by: None },
            13 => LedgerEvent::PlanOvertaken { attempt, other: OperationId::generate() },
            _ => LedgerEvent::Claimed { attempt, node, asked_at: asked_at(), paused: grants == 0 },
        }
    })
}

/// An Operation, and what was promised of it so far.
#[derive(Debug)]
struct Watched {
    status: OperationStatus,
    /// Whether its locks are held or waited for.
    lined_up: bool,
    granted: BTreeMap<Attempt, NodeName>,
    ended: BTreeMap<Attempt, State>,
    canceled: BTreeMap<Attempt, ()>,
}

impl Watched {
    fn new(retry_policy: RetryPolicy) -> Self {
        Self {
            status: OperationStatus::new(retry_policy),
            lined_up: true,
            granted: BTreeMap::new(),
            ended: BTreeMap::new(),
            canceled: BTreeMap::new(),
        }
    }

    /// Lets an event happen, and what the store lets follow from it.
    fn apply_event(&mut self, event: &LedgerEvent) -> Result<(), TestCaseError> {
        // The store only says so of what has lined up.
        if matches!(event, LedgerEvent::LocksTaken) && !self.lined_up {
            return Ok(());
        }
        let before = self.status.clone();
        let step = match step(&before, event) {
            Ok(step) => step,
            Err(refusal) => return self.refused(event, &refusal),
        };
        if matches!(event, LedgerEvent::CancelRequested { .. }) {
            self.canceled.insert(before.attempt, ());
        }
        self.status = step.status;
        let mut follows = None;
        for effect in &step.effects {
            self.check(effect)?;
            match effect {
                LedgerEffect::ScheduleRetry { after } => {
                    follows = Some(LedgerEvent::RetryDue { after: *after });
                }
                LedgerEffect::RequestLocks => {
                    prop_assert!(!self.lined_up, "lined up twice");
                    self.lined_up = true;
                }
                LedgerEffect::ReleaseLocks => self.lined_up = false,
                _ => {}
            }
        }
        self.compare(&before, event, &step.effects)?;
        match follows {
            Some(event) => self.apply_event(&event),
            None => Ok(()),
        }
    }

    fn refused(&self, event: &LedgerEvent, refusal: &Refusal) -> Result<(), TestCaseError> {
        let wish = matches!(
            event,
            LedgerEvent::CancelRequested { .. }
                | LedgerEvent::RetryRequested { .. }
                | LedgerEvent::DeclaredLost { .. }
        );
        prop_assert!(wish, "only a person's wish is refused: {:?}", event);
        let ended = self.ended.get(&self.status.attempt).copied();
        match refusal {
            Refusal::AlreadyEnded(state) => prop_assert_eq!(Some(*state), ended),
            Refusal::AlreadyCanceled => prop_assert!(self.canceled.contains_key(&self.status.attempt)),
            Refusal::NotEnded(_) => prop_assert_eq!(ended, None),
            Refusal::NothingToRetry => prop_assert_eq!(ended, Some(State::Succeeded)),
            Refusal::NotStarted(_) => prop_assert!(!self.granted.contains_key(&self.status.attempt)),
        }
        Ok(())
    }

    fn check(&mut self, effect: &LedgerEffect) -> Result<(), TestCaseError> {
        let attempt = self.status.attempt;
        match effect {
            LedgerEffect::Grant { node, .. } => {
                prop_assert!(!self.ended.contains_key(&attempt), "granted after the end");
                prop_assert!(!self.canceled.contains_key(&attempt), "granted after it was called off");
                let first = self.granted.entry(attempt).or_insert_with(|| node.clone());
                prop_assert_eq!(&*first, node, "two nodes granted");
            }
            LedgerEffect::Record(row) => {
                prop_assert!(!self.ended.contains_key(&attempt), "a row after the end");
                prop_assert_eq!(row.state, self.status.state);
                if row.state.outcome().is_some() {
                    self.ended.insert(attempt, row.state);
                }
            }
            LedgerEffect::SendCancel { node, attempt: which, .. } => {
                let given_up = *which < attempt || self.status.state == State::Lost;
                let called_off = self.canceled.contains_key(which) && Some(node) == self.status.node.as_ref();
                prop_assert!(given_up || called_off, "{:?} is to stop attempt {}", node, which);
            }
            LedgerEffect::Publish => prop_assert_eq!(self.status.state, State::Queued),
            LedgerEffect::Refuse { .. }
            | LedgerEffect::ReleaseLocks
            | LedgerEffect::RequestLocks
            | LedgerEffect::ForgetDone
            | LedgerEffect::ScheduleRetry { .. } => {}
        }
        Ok(())
    }

    fn compare(
        &self,
        before: &OperationStatus,
        event: &LedgerEvent,
        effects: &[LedgerEffect],
    ) -> Result<(), TestCaseError> {
        let after = &self.status;
        if after.attempt != before.attempt {
            prop_assert_eq!(after.attempt, before.attempt.next());
            prop_assert!(before.state.outcome().is_some(), "the next attempt before the end of this one");
            prop_assert_ne!(before.state, State::Succeeded);
        } else if after.state != before.state {
            prop_assert!(before.state.outcome().is_none(), "an end changed");
            prop_assert!(after.state > before.state, "{:?} after {:?}", after.state, before.state);
            if before.node.is_some() {
                prop_assert_eq!(&before.node, &after.node, "the holder changed");
            }
        }
        if after.state != before.state || after.attempt != before.attempt {
            let rows = effects.iter().filter(|effect| matches!(effect, LedgerEffect::Record(_))).count();
            prop_assert_eq!(rows, 1, "each change of state has its row");
        }
        let releases = effects.contains(&LedgerEffect::ReleaseLocks);
        let ends = before.state.outcome().is_none() && after.state.outcome().is_some();
        prop_assert_eq!(releases, ends, "locks go with the end and not before");
        if matches!(event, LedgerEvent::Claimed { .. }) {
            let is_answer = |effect: &&LedgerEffect| {
                matches!(
                    effect,
                    LedgerEffect::Grant { .. }
                        | LedgerEffect::Refuse { .. }
                        | LedgerEffect::SendCancel { .. }
                )
            };
            prop_assert_eq!(effects.iter().filter(is_answer).count(), 1, "each claim gets one answer");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_order_of_events_breaks_the_promises(
        safe in any::<bool>(),
        events in proptest::collection::vec(events(), 0..60),
    ) {
        let mut watched = Watched::new(if safe { SAFE } else { RetryPolicy::default() });
        for event in &events {
            watched.apply_event(event)?;
        }
    }
}

/// Where an Operation stands after these events; refused wishes are passed over.
fn after(events: &[LedgerEvent]) -> OperationStatus {
    let mut watched = Watched::new(SAFE);
    for event in events {
        watched.apply_event(event).expect("no promise is broken");
    }
    watched.status
}

fn claimed(name: &str) -> LedgerEvent {
    LedgerEvent::Claimed { attempt: Attempt::FIRST, node: node(name), asked_at: asked_at(), paused: false }
}

fn reported(outcome: Outcome) -> LedgerEvent {
    let reason = Code::Completed.because("x");
    LedgerEvent::Reported { attempt: Attempt::FIRST, node: node("a"), outcome, reason }
}

#[test]
fn a_claim_that_crosses_a_cancel_of_what_is_queued_is_refused() {
    let status = after(&[LedgerEvent::LocksTaken, LedgerEvent::CancelRequested { by: None }]);
    assert_eq!(status.state, State::Canceled);
    let effects = step(&status, &claimed("a")).expect("an answer").effects;
    let [LedgerEffect::Refuse { reason, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(reason.code, Code::CanceledByRequest.as_str());
}

#[test]
fn a_repeated_claim_of_what_was_canceled_is_answered_by_the_cancel_alone() {
    let cancel = LedgerEvent::CancelRequested { by: None };
    let status = after(&[LedgerEvent::LocksTaken, claimed("a"), cancel]);
    // A refusal would make the node let go without a report: the Operation would stay claimed for ever.
    let effects = step(&status, &claimed("a")).expect("an answer").effects;
    assert_eq!(effects, [LedgerEffect::SendCancel { node: node("a"), attempt: Attempt::FIRST, by: None }]);
}

#[test]
fn a_cancel_of_what_runs_waits_for_the_node() {
    let cancel = LedgerEvent::CancelRequested { by: Some("ann".to_owned()) };
    let started = LedgerEvent::Started { attempt: Attempt::FIRST, node: node("a") };
    let status = after(&[LedgerEvent::LocksTaken, claimed("a"), started, cancel]);
    assert_eq!(status.state, State::Running);
    let seen = LedgerEvent::Seen { attempt: Attempt::FIRST, node: node("a") };
    let again = step(&status, &seen).expect("no wish").effects;
    let by = Some("ann".to_owned());
    assert_eq!(again, [LedgerEffect::SendCancel { node: node("a"), attempt: Attempt::FIRST, by }]);
}

#[test]
fn the_first_claim_wins_and_may_be_repeated() {
    let status = after(&[LedgerEvent::LocksTaken, claimed("a")]);
    let grant = LedgerEffect::Grant { node: node("a"), asked_at: asked_at() };
    assert_eq!(step(&status, &claimed("a")).expect("an answer").effects, [grant]);
    let other = step(&status, &claimed("b")).expect("an answer").effects;
    assert!(matches!(&other[..], [LedgerEffect::Refuse { .. }]), "{other:?}");
}

#[test]
fn a_report_never_turns_green() {
    assert_eq!(
        after(&[LedgerEvent::LocksTaken, claimed("a"), reported(Outcome::Succeeded)]).state,
        State::Claimed
    );
}

#[test]
fn a_lease_that_is_over_leads_to_the_next_attempt_and_the_late_end_of_the_old_one_to_nothing() {
    let over = LedgerEvent::LeaseOver { attempt: Attempt::FIRST, grants: 1 };
    let events = [LedgerEvent::LocksTaken, claimed("a"), over, reported(Outcome::Failed)];
    let status = after(&events);
    assert_eq!((status.attempt.get(), status.state), (2, State::Waiting));
    // A grant that came in between is another lease.
    let renewed = [LedgerEvent::LocksTaken, claimed("a"), claimed("a"), events[2].clone()];
    assert_eq!(after(&renewed).state, State::Claimed);
}

#[test]
fn what_somebody_calls_off_or_declares_lost_is_not_tried_again_by_itself() {
    let cancel = LedgerEvent::CancelRequested { by: None };
    let status = after(&[LedgerEvent::LocksTaken, claimed("a"), cancel, reported(Outcome::Failed)]);
    assert_eq!((status.attempt.get(), status.state), (1, State::Failed));
    let lost = LedgerEvent::DeclaredLost { by: None };
    let status = after(&[LedgerEvent::LocksTaken, claimed("a"), lost.clone()]);
    assert_eq!((status.attempt.get(), status.state), (1, State::Lost));
    let status = after(&[
        LedgerEvent::LocksTaken,
        claimed("a"),
        lost,
        LedgerEvent::RetryRequested { by: None, from_start: false },
    ]);
    assert_eq!((status.attempt.get(), status.state), (2, State::Waiting));
}

#[test]
fn retries_come_to_an_end_and_wait_longer_each_time() {
    let mut watched = Watched::new(SAFE);
    let mut waits = Vec::new();
    for number in 1..=3 {
        let attempt = Attempt::new(number).expect("not 0");
        for event in [
            LedgerEvent::BackoffOver { attempt },
            LedgerEvent::LocksTaken,
            LedgerEvent::Claimed { attempt, node: node("a"), asked_at: asked_at(), paused: false },
            LedgerEvent::Finished {
                attempt,
                node: node("a"),
                outcome: Outcome::Failed,
                reason: Code::TaskFailed.because("x"),
            },
        ] {
            watched.apply_event(&event).expect("no promise is broken");
        }
        waits.push(watched.status.backoff.map(|wait| wait.as_secs()));
    }
    assert_eq!(waits, [Some(60), Some(120), None]);
    assert_eq!((watched.status.attempt.get(), watched.status.state), (3, State::Failed));
}

#[test]
fn what_somebody_must_look_at_is_not_tried_again_by_itself() {
    let ended = |code: Code| {
        let outcome = Outcome::Failed;
        let finished = LedgerEvent::Finished {
            attempt: Attempt::FIRST,
            node: node("a"),
            outcome,
            reason: code.because("x"),
        };
        let status = after(&[LedgerEvent::LocksTaken, claimed("a"), finished]);
        (status.attempt.get(), status.state)
    };
    assert_eq!(ended(Code::TaskFailed), (2, State::Waiting));
    for code in [Code::AttentionNeeded, Code::PlanChanged] {
        assert_eq!(ended(code), (1, State::Failed), "{code:?}");
    }
}
