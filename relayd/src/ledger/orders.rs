//! The machine against every order of events: messages that are late, repeated, lost and crossed.

use std::collections::BTreeMap;
use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::message::BootTime;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Outcome, State};
use proptest::prelude::*;

use super::{Effect, Event, Refusal, Standing, Terms, step};

const SAFE: Terms =
    Terms { lease: Some(Duration::from_secs(900)), retries: Some((3, Duration::from_secs(60))) };

fn node(name: &str) -> NodeName {
    name.parse().expect("a node's name")
}

fn asked_at() -> BootTime {
    BootTime { boot: uuid::Uuid::nil(), milliseconds: 0 }
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    proptest::sample::select(Outcome::ALL)
}

fn events() -> impl Strategy<Value = Event> {
    let attempts = (1..5_u32).prop_map(|number| Attempt::new(number).expect("not 0"));
    let nodes = prop_oneof![Just(node("a")), Just(node("b"))];
    (attempts, nodes, outcomes(), 0..4_u32, 0..15).prop_map(move |(attempt, node, outcome, grants, which)| {
        let reason = Code::Completed.because("x");
        match which {
            0 | 1 => Event::LocksTaken,
            2 => Event::Published { attempt },
            3 => Event::Unclaimed { attempt },
            4 => Event::Started { attempt, node },
            5 => Event::Finished { attempt, node, outcome, reason },
            6 => Event::Reported { attempt, node, outcome, reason },
            7 => Event::Seen { attempt, node },
            8 => Event::CancelRequested { by: None },
            9 => Event::LeaseOver { attempt, grants },
            10 => Event::BackoffOver { attempt },
            11 => Event::RetryRequested { by: None, from_start: false },
            12 => Event::DeclaredLost { by: None },
            13 => Event::PlanOvertaken { attempt, other: OperationId::generate() },
            _ => Event::Claimed { attempt, node, asked_at: asked_at(), paused: grants == 0 },
        }
    })
}

/// An Operation, and what was promised of it so far.
#[derive(Debug)]
struct Watched {
    standing: Standing,
    /// Whether its locks are held or waited for.
    lined_up: bool,
    granted: BTreeMap<Attempt, NodeName>,
    ended: BTreeMap<Attempt, State>,
    canceled: BTreeMap<Attempt, ()>,
}

impl Watched {
    fn new(terms: Terms) -> Self {
        Self {
            standing: Standing::new(terms),
            lined_up: true,
            granted: BTreeMap::new(),
            ended: BTreeMap::new(),
            canceled: BTreeMap::new(),
        }
    }

    /// Lets an event happen, and what the store lets follow from it.
    fn happen(&mut self, event: &Event) -> Result<(), TestCaseError> {
        // The store only says so of what has lined up.
        if matches!(event, Event::LocksTaken) && !self.lined_up {
            return Ok(());
        }
        let before = self.standing.clone();
        let step = match step(&before, event) {
            Ok(step) => step,
            Err(refusal) => return self.refused(event, &refusal),
        };
        if matches!(event, Event::CancelRequested { .. }) {
            self.canceled.insert(before.attempt, ());
        }
        self.standing = step.standing;
        let mut follows = None;
        for effect in &step.effects {
            self.check(effect)?;
            match effect {
                Effect::TryAgain { after } => follows = Some(Event::RetryDue { after: *after }),
                Effect::LineUp => {
                    prop_assert!(!self.lined_up, "lined up twice");
                    self.lined_up = true;
                }
                Effect::ReleaseLocks => self.lined_up = false,
                _ => {}
            }
        }
        self.compare(&before, event, &step.effects)?;
        match follows {
            Some(event) => self.happen(&event),
            None => Ok(()),
        }
    }

    fn refused(&self, event: &Event, refusal: &Refusal) -> Result<(), TestCaseError> {
        let wish = matches!(
            event,
            Event::CancelRequested { .. } | Event::RetryRequested { .. } | Event::DeclaredLost { .. }
        );
        prop_assert!(wish, "only a person's wish is refused: {:?}", event);
        let ended = self.ended.get(&self.standing.attempt).copied();
        match refusal {
            Refusal::AlreadyEnded(state) => prop_assert_eq!(Some(*state), ended),
            Refusal::AlreadyCanceled => prop_assert!(self.canceled.contains_key(&self.standing.attempt)),
            Refusal::NotEnded(_) => prop_assert_eq!(ended, None),
            Refusal::NothingToRetry => prop_assert_eq!(ended, Some(State::Succeeded)),
            Refusal::NotStarted(_) => prop_assert!(!self.granted.contains_key(&self.standing.attempt)),
        }
        Ok(())
    }

    fn check(&mut self, effect: &Effect) -> Result<(), TestCaseError> {
        let attempt = self.standing.attempt;
        match effect {
            Effect::Grant { node, .. } => {
                prop_assert!(!self.ended.contains_key(&attempt), "granted after the end");
                prop_assert!(!self.canceled.contains_key(&attempt), "granted after it was called off");
                let first = self.granted.entry(attempt).or_insert_with(|| node.clone());
                prop_assert_eq!(&*first, node, "two nodes granted");
            }
            Effect::Record(row) => {
                prop_assert!(!self.ended.contains_key(&attempt), "a row after the end");
                prop_assert_eq!(row.state, self.standing.state);
                if row.state.outcome().is_some() {
                    self.ended.insert(attempt, row.state);
                }
            }
            Effect::SendCancel { node, attempt: which, .. } => {
                let given_up = *which < attempt || self.standing.state == State::Lost;
                let called_off =
                    self.canceled.contains_key(which) && Some(node) == self.standing.node.as_ref();
                prop_assert!(given_up || called_off, "{:?} is to stop attempt {}", node, which);
            }
            Effect::Publish => prop_assert_eq!(self.standing.state, State::Queued),
            Effect::Refuse { .. }
            | Effect::ReleaseLocks
            | Effect::LineUp
            | Effect::ForgetDone
            | Effect::TryAgain { .. } => {}
        }
        Ok(())
    }

    fn compare(&self, before: &Standing, event: &Event, effects: &[Effect]) -> Result<(), TestCaseError> {
        let after = &self.standing;
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
            let rows = effects.iter().filter(|effect| matches!(effect, Effect::Record(_))).count();
            prop_assert_eq!(rows, 1, "each change of state has its row");
        }
        let releases = effects.contains(&Effect::ReleaseLocks);
        let ends = before.state.outcome().is_none() && after.state.outcome().is_some();
        prop_assert_eq!(releases, ends, "locks go with the end and not before");
        if matches!(event, Event::Claimed { .. }) {
            let is_answer = |effect: &&Effect| {
                matches!(effect, Effect::Grant { .. } | Effect::Refuse { .. } | Effect::SendCancel { .. })
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
        let mut watched = Watched::new(if safe { SAFE } else { Terms::default() });
        for event in &events {
            watched.happen(event)?;
        }
    }
}

/// Where an Operation stands after these events; refused wishes are passed over.
fn after(events: &[Event]) -> Standing {
    let mut watched = Watched::new(SAFE);
    for event in events {
        watched.happen(event).expect("no promise is broken");
    }
    watched.standing
}

fn claimed(name: &str) -> Event {
    Event::Claimed { attempt: Attempt::FIRST, node: node(name), asked_at: asked_at(), paused: false }
}

fn reported(outcome: Outcome) -> Event {
    let reason = Code::Completed.because("x");
    Event::Reported { attempt: Attempt::FIRST, node: node("a"), outcome, reason }
}

#[test]
fn a_claim_that_crosses_a_cancel_of_what_is_queued_is_refused() {
    let standing = after(&[Event::LocksTaken, Event::CancelRequested { by: None }]);
    assert_eq!(standing.state, State::Canceled);
    let effects = step(&standing, &claimed("a")).expect("an answer").effects;
    let [Effect::Refuse { reason, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(reason.code, Code::CanceledByRequest.as_str());
}

#[test]
fn a_repeated_claim_of_what_was_called_off_is_answered_by_the_cancel_alone() {
    let cancel = Event::CancelRequested { by: None };
    let standing = after(&[Event::LocksTaken, claimed("a"), cancel]);
    // A refusal would make the node let go without a report: the Operation would stay claimed for ever.
    let effects = step(&standing, &claimed("a")).expect("an answer").effects;
    assert_eq!(effects, [Effect::SendCancel { node: node("a"), attempt: Attempt::FIRST, by: None }]);
}

#[test]
fn a_cancel_of_what_runs_waits_for_the_node() {
    let cancel = Event::CancelRequested { by: Some("ann".to_owned()) };
    let started = Event::Started { attempt: Attempt::FIRST, node: node("a") };
    let standing = after(&[Event::LocksTaken, claimed("a"), started, cancel]);
    assert_eq!(standing.state, State::Running);
    let seen = Event::Seen { attempt: Attempt::FIRST, node: node("a") };
    let again = step(&standing, &seen).expect("no wish").effects;
    let by = Some("ann".to_owned());
    assert_eq!(again, [Effect::SendCancel { node: node("a"), attempt: Attempt::FIRST, by }]);
}

#[test]
fn the_first_claim_wins_and_may_be_repeated() {
    let standing = after(&[Event::LocksTaken, claimed("a")]);
    let grant = Effect::Grant { node: node("a"), asked_at: asked_at() };
    assert_eq!(step(&standing, &claimed("a")).expect("an answer").effects, [grant]);
    let other = step(&standing, &claimed("b")).expect("an answer").effects;
    assert!(matches!(&other[..], [Effect::Refuse { .. }]), "{other:?}");
}

#[test]
fn a_report_never_turns_green() {
    assert_eq!(after(&[Event::LocksTaken, claimed("a"), reported(Outcome::Succeeded)]).state, State::Claimed);
}

#[test]
fn a_lease_that_is_over_leads_to_the_next_attempt_and_the_late_end_of_the_old_one_to_nothing() {
    let over = Event::LeaseOver { attempt: Attempt::FIRST, grants: 1 };
    let events = [Event::LocksTaken, claimed("a"), over, reported(Outcome::Failed)];
    let standing = after(&events);
    assert_eq!((standing.attempt.get(), standing.state), (2, State::Waiting));
    // A grant that came in between is another lease.
    let renewed = [Event::LocksTaken, claimed("a"), claimed("a"), events[2].clone()];
    assert_eq!(after(&renewed).state, State::Claimed);
}

#[test]
fn what_somebody_calls_off_or_declares_lost_is_not_tried_again_by_itself() {
    let cancel = Event::CancelRequested { by: None };
    let standing = after(&[Event::LocksTaken, claimed("a"), cancel, reported(Outcome::Failed)]);
    assert_eq!((standing.attempt.get(), standing.state), (1, State::Failed));
    let lost = Event::DeclaredLost { by: None };
    let standing = after(&[Event::LocksTaken, claimed("a"), lost.clone()]);
    assert_eq!((standing.attempt.get(), standing.state), (1, State::Lost));
    let standing = after(&[
        Event::LocksTaken,
        claimed("a"),
        lost,
        Event::RetryRequested { by: None, from_start: false },
    ]);
    assert_eq!((standing.attempt.get(), standing.state), (2, State::Waiting));
}

#[test]
fn retries_come_to_an_end_and_wait_longer_each_time() {
    let mut watched = Watched::new(SAFE);
    let mut waits = Vec::new();
    for number in 1..=3 {
        let attempt = Attempt::new(number).expect("not 0");
        for event in [
            Event::BackoffOver { attempt },
            Event::LocksTaken,
            Event::Claimed { attempt, node: node("a"), asked_at: asked_at(), paused: false },
            Event::Finished {
                attempt,
                node: node("a"),
                outcome: Outcome::Failed,
                reason: Code::TaskFailed.because("x"),
            },
        ] {
            watched.happen(&event).expect("no promise is broken");
        }
        waits.push(watched.standing.backoff.map(|wait| wait.as_secs()));
    }
    assert_eq!(waits, [Some(60), Some(120), None]);
    assert_eq!((watched.standing.attempt.get(), watched.standing.state), (3, State::Failed));
}

#[test]
fn what_somebody_must_look_at_is_not_tried_again_by_itself() {
    let ended = |code: Code| {
        let outcome = Outcome::Failed;
        let finished =
            Event::Finished { attempt: Attempt::FIRST, node: node("a"), outcome, reason: code.because("x") };
        let standing = after(&[Event::LocksTaken, claimed("a"), finished]);
        (standing.attempt.get(), standing.state)
    };
    assert_eq!(ended(Code::TaskFailed), (2, State::Waiting));
    for code in [Code::AttentionNeeded, Code::PlanChanged] {
        assert_eq!(ended(code), (1, State::Failed), "{code:?}");
    }
}
