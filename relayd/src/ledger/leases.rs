//! The lease protocol as a model: relayd's real machine, and two nodes, their runners, their clocks and the
//! network between them played. `docs/explanation/leases.md` describes what is played here.
//!
//! The network may delay, repeat, lose and reorder everything. A node may stop to speak for any time while its
//! runner goes on, and comes back. Time passes everywhere at the same rate: that, within the margin, is the
//! protocol's assumption. What must hold is that no two attempts act at the same moment.

use std::collections::BTreeMap;
use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::id::Attempt;
use aegir_protocol::message::BootTime;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Outcome, State};
use proptest::prelude::*;

use super::{LedgerEffect, LedgerEvent, OperationStatus, RetryPolicy, step};

const LEASE: u64 = 10;
const MARGIN: u64 = 2;
/// How long a runner may take from the end of its lease until nothing of it acts any more.
const STOPPING: u64 = 1;

#[derive(Clone, Debug)]
enum Message {
    Operation { attempt: Attempt },
    Claim { attempt: Attempt, node: usize, asked_at: u64 },
    Grant { attempt: Attempt, node: usize, asked_at: u64 },
    Finished { attempt: Attempt, node: usize },
    Gone { attempt: Attempt, node: usize },
}

/// What a node has of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Journaled,
    /// A runner acts, until this moment at the latest.
    Runs {
        lease_ends: u64,
    },
    Over,
}

/// A way to break the protocol, to see that the model notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// Runners do not look at their lease.
    RunnersIgnoreTheirLease,
    /// A node counts its lease from the grant's arrival, not from its own question.
    LeaseFromArrival,
    /// relayd counts from the first grant and forgets the later ones.
    RenewalsForgotten,
}

#[derive(Debug)]
struct World {
    broken: Broken,
    now: u64,
    relayd: OperationStatus,
    deadlines: BTreeMap<Attempt, (u64, LedgerEvent)>,
    network: Vec<Message>,
    nodes: [BTreeMap<Attempt, Held>; 2],
    starts: BTreeMap<Attempt, u32>,
}

fn name(node: usize) -> NodeName {
    ["a", "b"][node].parse().expect("a node's name")
}

fn moment(seconds: u64) -> BootTime {
    BootTime { boot: uuid::Uuid::nil(), milliseconds: seconds }
}

impl World {
    fn new(broken: Broken) -> Self {
        let retry_policy = RetryPolicy { lease: Some(Duration::from_secs(LEASE)), retries: None };
        let mut world = Self {
            broken,
            now: 0,
            relayd: OperationStatus::new(retry_policy),
            deadlines: BTreeMap::new(),
            network: Vec::new(),
            nodes: [BTreeMap::new(), BTreeMap::new()],
            starts: BTreeMap::new(),
        };
        world.apply_event(&LedgerEvent::LocksTaken);
        world
    }

    /// Lets an event happen in relayd, and sends what follows from it.
    fn apply_event(&mut self, event: &LedgerEvent) {
        let Ok(step) = step(&self.relayd, event) else { return };
        let changed = step.status != self.relayd;
        self.relayd = step.status;
        if changed && let Some((after, event)) = self.relayd.deadline() {
            let at = self.now + after.as_secs() + MARGIN;
            let first = self.deadlines.contains_key(&self.relayd.attempt);
            match (self.broken, event) {
                (Broken::RenewalsForgotten, LedgerEvent::LeaseOver { attempt, .. }) if first => {
                    let grants = self.relayd.grants;
                    if let Some((_, event)) = self.deadlines.get_mut(&attempt) {
                        *event = LedgerEvent::LeaseOver { attempt, grants };
                    }
                }
                (_, event) => drop(self.deadlines.insert(self.relayd.attempt, (at, event))),
            }
        }
        let mut next = Vec::new();
        for effect in step.effects {
            match effect {
                LedgerEffect::Publish => {
                    self.network.push(Message::Operation { attempt: self.relayd.attempt });
                }
                LedgerEffect::Grant { node, asked_at } => {
                    let node = usize::from(node == name(1));
                    let (attempt, asked_at) = (self.relayd.attempt, asked_at.milliseconds);
                    self.network.push(Message::Grant { attempt, node, asked_at });
                }
                LedgerEffect::ScheduleRetry { after } => next.push(LedgerEvent::RetryDue { after }),
                LedgerEffect::RequestLocks => next.push(LedgerEvent::LocksTaken),
                // A refusal or a cancel could only make a node stop earlier.
                LedgerEffect::Refuse { .. }
                | LedgerEffect::SendCancel { .. }
                | LedgerEffect::ReleaseLocks
                | LedgerEffect::ForgetDone
                | LedgerEffect::Record(_) => {}
            }
        }
        for event in next {
            self.apply_event(&event);
        }
    }

    fn deliver(&mut self, message: Message) {
        match message {
            // Whichever node takes it; here the attempt's number decides, so that both have their turn.
            Message::Operation { attempt } => {
                let node = (attempt.get() as usize + self.network.len()) % 2;
                self.nodes[node].entry(attempt).or_insert(Held::Journaled);
            }
            Message::Claim { attempt, node, asked_at } => {
                let asked_at = moment(asked_at);
                self.apply_event(&LedgerEvent::Claimed {
                    attempt,
                    node: name(node),
                    asked_at,
                    paused: false,
                });
            }
            Message::Grant { attempt, node, asked_at } => self.granted(attempt, node, asked_at),
            Message::Finished { attempt, node } => {
                let (outcome, reason) = (Outcome::Succeeded, Code::Completed.because("done"));
                self.apply_event(&LedgerEvent::Started { attempt, node: name(node) });
                self.apply_event(&LedgerEvent::Finished { attempt, node: name(node), outcome, reason });
            }
            Message::Gone { attempt, node } => {
                let (outcome, reason) = (Outcome::Lost, Code::RunnerGone.because("gone"));
                self.apply_event(&LedgerEvent::Reported { attempt, node: name(node), outcome, reason });
            }
        }
    }

    fn granted(&mut self, attempt: Attempt, node: usize, asked_at: u64) {
        let from = if self.broken == Broken::LeaseFromArrival { self.now } else { asked_at };
        let ends = from + LEASE;
        let Some(held) = self.nodes[node].get_mut(&attempt) else { return };
        match held {
            // A lease that is over starts nothing: the node asks again.
            Held::Journaled if ends > self.now => {
                *held = Held::Runs { lease_ends: ends };
                *self.starts.entry(attempt).or_default() += 1;
            }
            Held::Runs { lease_ends } if *lease_ends > self.now => *lease_ends = ends.max(*lease_ends),
            Held::Journaled | Held::Runs { .. } | Held::Over => {}
        }
    }

    /// Whose runners act now.
    fn acting(&self) -> Vec<(usize, Attempt)> {
        let ignores = self.broken == Broken::RunnersIgnoreTheirLease;
        let acts = |held: &Held| match held {
            Held::Runs { lease_ends } => ignores || self.now < lease_ends + STOPPING,
            Held::Journaled | Held::Over => false,
        };
        let of = |node: usize| self.nodes[node].iter().filter(move |(_, held)| acts(held));
        (0..2).flat_map(|node| of(node).map(move |(attempt, _)| (node, *attempt))).collect()
    }

    fn apply(&mut self, act: &Act) {
        match act {
            Act::Pass(seconds) => {
                for _ in 0..*seconds {
                    self.now += 1;
                    let due: Vec<_> =
                        self.deadlines.values().filter(|(at, _)| *at <= self.now).cloned().collect();
                    self.deadlines.retain(|_, (at, _)| *at > self.now);
                    for (_, event) in due {
                        self.apply_event(&event);
                    }
                }
            }
            Act::Deliver { which, keep } => {
                if !self.network.is_empty() {
                    let at = which % self.network.len();
                    let message = if *keep { self.network[at].clone() } else { self.network.swap_remove(at) };
                    self.deliver(message);
                }
            }
            Act::Lose(which) => {
                if !self.network.is_empty() {
                    let at = which % self.network.len();
                    // What is lost of these is sent again by the real thing.
                    if let Message::Operation { .. } = self.network[at] {
                        return;
                    }
                    self.network.swap_remove(at);
                }
            }
            Act::Claim(node) => {
                for (&attempt, held) in &self.nodes[*node] {
                    if *held != Held::Over {
                        self.network.push(Message::Claim { attempt, node: *node, asked_at: self.now });
                    }
                }
            }
            Act::End { node, well } => {
                for (&attempt, held) in &mut self.nodes[*node] {
                    if matches!(held, Held::Runs { .. }) {
                        *held = Held::Over;
                        self.network.push(if *well {
                            Message::Finished { attempt, node: *node }
                        } else {
                            Message::Gone { attempt, node: *node }
                        });
                    }
                }
            }
        }
    }
}

/// What may happen next. A node that is silent is one of which nothing is chosen for a while.
#[derive(Clone, Debug)]
enum Act {
    Pass(u64),
    Deliver { which: usize, keep: bool },
    Lose(usize),
    Claim(usize),
    End { node: usize, well: bool },
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..6_u64).prop_map(Act::Pass),
        1 => (10..20_u64).prop_map(Act::Pass),
        8 => (any::<usize>(), proptest::bool::weighted(0.2))
            .prop_map(|(which, keep)| Act::Deliver { which, keep }),
        1 => any::<usize>().prop_map(Act::Lose),
        5 => (0..2_usize).prop_map(Act::Claim),
        1 => (0..2_usize, any::<bool>()).prop_map(|(node, well)| Act::End { node, well }),
    ]
}

/// Plays, and gives the first moment at which a promise was broken.
fn play(broken: Broken, acts: &[Act]) -> Result<World, String> {
    let mut world = World::new(broken);
    for act in acts {
        world.apply(act);
        let acting = world.acting();
        if acting.len() > 1 {
            return Err(format!("at {} {acting:?} act at once, in {world:#?}", world.now));
        }
        if let Some((attempt, starts)) = world.starts.iter().find(|(_, starts)| **starts > 1) {
            return Err(format!("attempt {attempt} was started {starts} times"));
        }
    }
    Ok(world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_two_attempts_act_at_once(acts in proptest::collection::vec(acts(), 0..120)) {
        if let Err(broken) = play(Broken::Nothing, &acts) {
            prop_assert!(false, "{}", broken);
        }
    }
}

/// A model that can't fail proves nothing: it finds each way of breaking the protocol.
#[test]
fn each_broken_protocol_is_found() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{Config, TestRunner};
    for broken in [Broken::RunnersIgnoreTheirLease, Broken::LeaseFromArrival, Broken::RenewalsForgotten] {
        let mut runner = TestRunner::new_with_rng(
            Config::default(),
            proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
        );
        let strategy = proptest::collection::vec(acts(), 120);
        let found = (0..4000).any(|_| {
            let acts = strategy.new_tree(&mut runner).expect("acts").current();
            play(broken, &acts).is_err()
        });
        assert!(found, "the model does not notice {broken:?}");
    }
}

/// A model in which nothing happens proves nothing either.
#[test]
fn attempts_are_given_up_and_tried_again_in_the_model() {
    let deliver = || Act::Deliver { which: 0, keep: false };
    let acts = [deliver(), Act::Claim(0), Act::Claim(1), deliver(), deliver(), Act::Pass(LEASE + MARGIN)];
    let world = play(Broken::Nothing, &acts).expect("no promise is broken");
    assert_eq!(world.starts.len(), 1);
    assert_eq!((world.relayd.attempt.get(), world.relayd.state), (2, State::Queued));
}
