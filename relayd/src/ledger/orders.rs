//! The machine against every order of events: messages that are late, repeated, lost and crossed.

use aegir_protocol::code::Code;
use aegir_protocol::id::Attempt;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Outcome, State};
use proptest::prelude::*;

use super::machine::{Effect, Event, Refusal, Standing, step};

fn node(name: &str) -> NodeName {
    name.parse().expect("a node's name")
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    proptest::sample::select(Outcome::ALL)
}

fn events() -> impl Strategy<Value = Event> {
    let attempts = prop_oneof![4 => Just(Attempt::FIRST), 1 => Just(Attempt::FIRST.next())];
    let nodes = prop_oneof![Just(node("a")), Just(node("b"))];
    let reason = Code::Completed.because("x");
    (attempts, nodes, outcomes(), 0..9).prop_map(move |(attempt, node, outcome, which)| {
        let reason = reason.clone();
        match which {
            0 => Event::LocksTaken,
            1 => Event::Published { attempt },
            2 => Event::Unclaimed { attempt },
            3 => Event::Started { attempt, node },
            4 => Event::Finished { attempt, node, outcome, reason },
            5 => Event::Reported { attempt, node, outcome, reason },
            6 => Event::Seen { attempt, node },
            7 => Event::CancelRequested { by: None },
            _ => Event::Claimed { attempt, node },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_order_of_events_breaks_the_promises(events in proptest::collection::vec(events(), 0..40)) {
        let mut standing = Standing::new();
        let mut granted: Option<NodeName> = None;
        let mut ended: Option<State> = None;
        let mut ends = 0;
        let mut releases = 0;
        let mut cancel_accepted = false;
        for event in &events {
            let before = standing.clone();
            let (after, effects) = match step(&before, event) {
                Ok(next) => (next.standing, next.effects),
                Err(refusal) => {
                    let is_cancel = matches!(event, Event::CancelRequested { .. });
                    prop_assert!(is_cancel, "only a person's wish is refused: {:?}", event);
                    match refusal {
                        Refusal::AlreadyEnded(state) => prop_assert_eq!(Some(state), ended),
                        Refusal::AlreadyCanceled => prop_assert!(cancel_accepted),
                    }
                    continue;
                }
            };
            if matches!(event, Event::CancelRequested { .. }) {
                cancel_accepted = true;
            }
            for effect in &effects {
                match effect {
                    Effect::Grant { node } => {
                        prop_assert!(ended.is_none(), "granted after the end");
                        prop_assert!(!cancel_accepted, "granted after it was called off");
                        prop_assert!(granted.as_ref().is_none_or(|first| first == node), "two nodes granted");
                        granted = Some(node.clone());
                    }
                    Effect::Record(row) => {
                        prop_assert!(ended.is_none(), "a row after the end");
                        if row.state.outcome().is_some() {
                            ends += 1;
                        }
                        prop_assert_eq!(row.state, after.state);
                    }
                    Effect::ReleaseLocks => releases += 1,
                    Effect::Publish => prop_assert_eq!(after.state, State::Queued),
                    Effect::SendCancel { node, .. } => {
                        prop_assert!(cancel_accepted);
                        prop_assert_eq!(Some(node), after.node.as_ref());
                    }
                    Effect::Refuse { .. } => {}
                }
            }
            if after.state != before.state {
                prop_assert!(ended.is_none(), "an end changed: {:?} to {:?}", before.state, after.state);
                prop_assert!(after.state > before.state, "{:?} after {:?}", after.state, before.state);
                let rows = effects.iter().filter(|effect| matches!(effect, Effect::Record(_))).count();
                prop_assert_eq!(rows, 1, "each change of state has its row");
            }
            if before.node.is_some() {
                prop_assert_eq!(&before.node, &after.node, "the holder changed");
            }
            if matches!(event, Event::Claimed { .. }) {
                let answers = effects
                    .iter()
                    .filter(|effect| {
                        matches!(
                            effect,
                            Effect::Grant { .. } | Effect::Refuse { .. } | Effect::SendCancel { .. }
                        )
                    })
                    .count();
                prop_assert_eq!(answers, 1, "each claim gets one answer");
            }
            ended = after.state.outcome().map(|_| after.state);
            standing = after;
        }
        prop_assert!(ends <= 1);
        prop_assert_eq!(ends, releases, "locks go with the end and not before");
        prop_assert_eq!(ends == 1, ended.is_some());
    }
}

/// Where an Operation stands after these events; refused wishes are passed over.
fn after(events: &[Event]) -> Standing {
    events.iter().fold(Standing::new(), |standing, event| {
        step(&standing, event).map_or(standing, |next| next.standing)
    })
}

fn claimed(name: &str) -> Event {
    Event::Claimed { attempt: Attempt::FIRST, node: node(name) }
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
    assert_eq!(effects, [Effect::SendCancel { node: node("a"), by: None }]);
}

#[test]
fn a_cancel_of_what_runs_waits_for_the_node() {
    let cancel = Event::CancelRequested { by: Some("ann".to_owned()) };
    let started = Event::Started { attempt: Attempt::FIRST, node: node("a") };
    let standing = after(&[Event::LocksTaken, claimed("a"), started, cancel]);
    assert_eq!(standing.state, State::Running);
    let seen = Event::Seen { attempt: Attempt::FIRST, node: node("a") };
    let again = step(&standing, &seen).expect("no wish").effects;
    assert_eq!(again, [Effect::SendCancel { node: node("a"), by: Some("ann".to_owned()) }]);
}

#[test]
fn the_first_claim_wins_and_may_be_repeated() {
    let standing = after(&[Event::LocksTaken, claimed("a")]);
    assert_eq!(
        step(&standing, &claimed("a")).expect("an answer").effects,
        [Effect::Grant { node: node("a") }]
    );
    let other = step(&standing, &claimed("b")).expect("an answer").effects;
    assert!(matches!(&other[..], [Effect::Refuse { .. }]), "{other:?}");
}

#[test]
fn a_report_never_turns_green() {
    let report = Event::Reported {
        attempt: Attempt::FIRST,
        node: node("a"),
        outcome: Outcome::Succeeded,
        reason: Code::Completed.because("x"),
    };
    assert_eq!(after(&[Event::LocksTaken, claimed("a"), report]).state, State::Claimed);
}
