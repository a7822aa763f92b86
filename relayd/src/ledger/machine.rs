//! The life of an Operation as one pure function: [`step`].
//!
//! `waiting` → `queued` → `claimed` → `running` → an end. Messages about an attempt can be late, repeated,
//! lost or crossed, so each event is met in every state, and what comes too late changes nothing.

use aegir_protocol::code::Code;
use aegir_protocol::id::Attempt;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Outcome, Reason, State};

/// Who a ledger row names when relayd itself moved an Operation.
pub const RELAYD: &str = "relayd";
/// Who a ledger row names when a person or program asked for the move.
pub const FRONTEND: &str = "frontend";

/// Where an Operation stands: all that decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The current attempt.
    pub attempt: Attempt,
    /// Its state.
    pub state: State,
    /// Who holds the grant for the current attempt.
    pub node: Option<NodeName>,
    /// Whether the broker has confirmed the current attempt.
    pub published: bool,
    /// Set once somebody has called off what a node holds.
    pub cancel: Option<CancelRequested>,
}

/// That somebody called an Operation off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelRequested {
    /// Who, if they said so.
    pub by: Option<String>,
}

impl Standing {
    /// Where a new Operation stands, before its locks were looked at.
    #[must_use]
    pub fn new() -> Self {
        Self { attempt: Attempt::FIRST, state: State::Waiting, node: None, published: false, cancel: None }
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self::new()
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Every lock that it needs is held for it.
    LocksTaken,
    /// The broker has confirmed an attempt.
    Published {
        /// Which attempt.
        attempt: Attempt,
    },
    /// An attempt was published a while ago, and no node has claimed it or says that it has it.
    Unclaimed {
        /// Which attempt.
        attempt: Attempt,
    },
    /// A node asks whether it may start an attempt.
    Claimed {
        /// Which attempt.
        attempt: Attempt,
        /// Who asks.
        node: NodeName,
    },
    /// The transcript begins: the runner is alive.
    Started {
        /// Which attempt.
        attempt: Attempt,
        /// Whose runner.
        node: NodeName,
    },
    /// The transcript ends.
    Finished {
        /// Which attempt.
        attempt: Attempt,
        /// Whose runner.
        node: NodeName,
        /// How it ended.
        outcome: Outcome,
        /// Why.
        reason: Reason,
    },
    /// A node reports the end of an attempt whose transcript has none.
    Reported {
        /// Which attempt.
        attempt: Attempt,
        /// Who says so.
        node: NodeName,
        /// How it ended.
        outcome: Outcome,
        /// Why.
        reason: Reason,
    },
    /// A heartbeat lists an attempt, waiting or running.
    Seen {
        /// Which attempt.
        attempt: Attempt,
        /// On which node.
        node: NodeName,
    },
    /// Somebody calls the Operation off.
    CancelRequested {
        /// Who.
        by: Option<String>,
    },
}

/// What has to be done about it. Rows are written in the same transaction, messages go after the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Hand the current attempt to the broker.
    Publish,
    /// Tell a node that it may start the current attempt.
    Grant {
        /// Whom.
        node: NodeName,
    },
    /// Tell a node that it may not start an attempt.
    Refuse {
        /// Whom.
        node: NodeName,
        /// Which attempt.
        attempt: Attempt,
        /// Why not.
        reason: Reason,
    },
    /// Tell a node to stop the current attempt.
    SendCancel {
        /// Whom.
        node: NodeName,
        /// Who asked.
        by: Option<String>,
    },
    /// Let go of every lock, held or waited for.
    ReleaseLocks,
    /// Write a row of the ledger.
    Record(LedgerRow),
}

/// A row of the ledger; the store adds revision and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// The state from now on; the same as before where only the reason is new.
    pub state: State,
    /// Why.
    pub reason: Option<Reason>,
    /// Who said so.
    pub source: String,
}

/// Why a person's wish can't be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has ended.
    AlreadyEnded(State),
    /// Somebody has asked before.
    AlreadyCanceled,
}

/// What an event leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where the Operation stands now.
    pub standing: Standing,
    /// What has to be done.
    pub effects: Vec<Effect>,
}

/// Whether a state is before, at or after a node's work.
enum Phase {
    /// Nobody has it.
    Open,
    /// A node has it.
    Held,
    /// It is over.
    Ended,
}

fn phase(state: State) -> Phase {
    match state {
        State::Waiting | State::Queued => Phase::Open,
        State::Claimed | State::Running => Phase::Held,
        State::Succeeded | State::Failed | State::Canceled | State::Rejected | State::Lost => Phase::Ended,
    }
}

/// Where an Operation stands after an event, and what has to be done about it.
///
/// # Errors
/// When the event is a person's wish that can't be met. Events from nodes are never refused in this way: what
/// comes too late, twice or from the wrong node changes nothing, and a claim gets its answer as an effect.
pub fn step(standing: &Standing, event: &Event) -> Result<Step, Refusal> {
    let same = || Ok(Step { standing: standing.clone(), effects: Vec::new() });
    let current = |attempt: &Attempt| *attempt == standing.attempt;
    match event {
        Event::LocksTaken => match standing.state {
            State::Waiting => Ok(queue(standing)),
            State::Queued
            | State::Claimed
            | State::Running
            | State::Succeeded
            | State::Failed
            | State::Canceled
            | State::Rejected
            | State::Lost => same(),
        },
        Event::Published { attempt } if current(attempt) => {
            Ok(Step { standing: Standing { published: true, ..standing.clone() }, effects: Vec::new() })
        }
        Event::Unclaimed { attempt } if current(attempt) && standing.state == State::Queued => Ok(Step {
            standing: Standing { published: false, ..standing.clone() },
            effects: vec![Effect::Publish],
        }),
        Event::Claimed { attempt, node } => Ok(claim(standing, *attempt, node)),
        Event::Started { attempt, node } if current(attempt) && may_speak(standing, node) => {
            Ok(start(standing, node))
        }
        Event::Finished { attempt, node, outcome, reason }
            if current(attempt) && may_speak(standing, node) =>
        {
            Ok(end(standing, *outcome, reason, node.as_str()))
        }
        // Only a transcript can say that everything went well.
        Event::Reported { outcome: Outcome::Succeeded, .. } => same(),
        Event::Reported { attempt, node, outcome, reason }
            if current(attempt) && may_speak(standing, node) =>
        {
            Ok(end(standing, *outcome, reason, node.as_str()))
        }
        Event::Seen { attempt, node } if current(attempt) => Ok(Step {
            effects: still_canceled(standing, node).into_iter().collect(),
            standing: standing.clone(),
        }),
        Event::CancelRequested { by } => cancel(standing, by.as_deref()),
        // About an attempt that is not the current one, or from a node that does not have it.
        Event::Published { .. }
        | Event::Unclaimed { .. }
        | Event::Started { .. }
        | Event::Finished { .. }
        | Event::Reported { .. }
        | Event::Seen { .. } => same(),
    }
}

/// Whether what a node says about the current attempt counts. Of a queued one any node may say that it can't
/// make Tasks of it; and should relayd's store be an older copy that does not know of the claim, then a runner
/// that is alive is a fact, and granting the attempt to somebody else would run it twice.
fn may_speak(standing: &Standing, node: &NodeName) -> bool {
    match standing.state {
        State::Queued => true,
        State::Claimed | State::Running => standing.node.as_ref() == Some(node),
        State::Waiting
        | State::Succeeded
        | State::Failed
        | State::Canceled
        | State::Rejected
        | State::Lost => false,
    }
}

fn queue(standing: &Standing) -> Step {
    let row = LedgerRow { state: State::Queued, reason: None, source: RELAYD.to_owned() };
    Step {
        standing: Standing { state: State::Queued, published: false, ..standing.clone() },
        effects: vec![Effect::Record(row), Effect::Publish],
    }
}

fn claim(standing: &Standing, attempt: Attempt, node: &NodeName) -> Step {
    let refuse = |reason: Reason| Effect::Refuse { node: node.clone(), attempt, reason };
    let unchanged = |effects| Step { standing: standing.clone(), effects };
    if attempt != standing.attempt {
        let message = format!("attempt {attempt} is not the current one, which is {}", standing.attempt);
        return unchanged(vec![refuse(Code::ClaimRefused.because(message))]);
    }
    match standing.state {
        State::Waiting => {
            let message = "the Operation waits for its locks and was not handed out".to_owned();
            unchanged(vec![refuse(Code::ClaimRefused.because(message))])
        }
        State::Queued => {
            let row = LedgerRow { state: State::Claimed, reason: None, source: node.to_string() };
            Step {
                standing: Standing {
                    state: State::Claimed,
                    node: Some(node.clone()),
                    published: true,
                    ..standing.clone()
                },
                effects: vec![Effect::Record(row), Effect::Grant { node: node.clone() }],
            }
        }
        State::Claimed | State::Running => match (&standing.node, &standing.cancel) {
            (Some(holder), None) if holder == node => unchanged(vec![Effect::Grant { node: node.clone() }]),
            // The node may have started it after all, if this claim has crossed our grant. So it stays the
            // node's until the node says how it ended, and the answer is the cancel alone: a node that is
            // refused lets go of the attempt without a report, and the Operation would never end.
            (Some(holder), Some(cancel)) if holder == node => {
                unchanged(vec![Effect::SendCancel { node: node.clone(), by: cancel.by.clone() }])
            }
            (Some(_) | None, _) => {
                let holder = standing.node.as_ref().map_or("another node", NodeName::as_str);
                unchanged(vec![refuse(Code::ClaimRefused.because(format!("{holder} has this attempt")))])
            }
        },
        State::Canceled => unchanged(vec![refuse(canceled(None, ""))]),
        State::Succeeded | State::Failed | State::Rejected | State::Lost => {
            let message = format!("the Operation has ended: {}", standing.state);
            unchanged(vec![refuse(Code::AlreadyEnded.because(message))])
        }
    }
}

fn start(standing: &Standing, node: &NodeName) -> Step {
    if standing.state == State::Running {
        return Step { standing: standing.clone(), effects: Vec::new() };
    }
    let row = LedgerRow { state: State::Running, reason: None, source: node.to_string() };
    Step {
        standing: Standing {
            state: State::Running,
            node: Some(node.clone()),
            published: true,
            ..standing.clone()
        },
        effects: vec![Effect::Record(row)],
    }
}

fn end(standing: &Standing, outcome: Outcome, reason: &Reason, source: &str) -> Step {
    let state = State::from(outcome);
    let row = LedgerRow { state, reason: Some(reason.clone()), source: source.to_owned() };
    Step {
        standing: Standing { state, published: true, ..standing.clone() },
        effects: vec![Effect::Record(row), Effect::ReleaseLocks],
    }
}

fn cancel(standing: &Standing, by: Option<&str>) -> Result<Step, Refusal> {
    match phase(standing.state) {
        Phase::Ended => Err(Refusal::AlreadyEnded(standing.state)),
        // A node may have it in its journal by now. It is going to ask before it starts, and be refused.
        Phase::Open => {
            let reason = canceled(by, " before it was started");
            Ok(end(standing, Outcome::Canceled, &reason, FRONTEND))
        }
        Phase::Held if standing.cancel.is_some() => Err(Refusal::AlreadyCanceled),
        Phase::Held => {
            let by = by.map(str::to_owned);
            let row = LedgerRow {
                state: standing.state,
                reason: Some(canceled(by.as_deref(), "; the node is told to stop it")),
                source: FRONTEND.to_owned(),
            };
            let send = standing.node.clone().map(|node| Effect::SendCancel { node, by: by.clone() });
            let standing = Standing { cancel: Some(CancelRequested { by }), ..standing.clone() };
            Ok(Step { standing, effects: std::iter::once(Effect::Record(row)).chain(send).collect() })
        }
    }
}

/// The order to stop, again, for a node that still has what was called off: the first one may be lost.
fn still_canceled(standing: &Standing, node: &NodeName) -> Option<Effect> {
    match phase(standing.state) {
        Phase::Held if standing.node.as_ref() == Some(node) => standing
            .cancel
            .as_ref()
            .map(|cancel| Effect::SendCancel { node: node.clone(), by: cancel.by.clone() }),
        Phase::Open | Phase::Held | Phase::Ended => None,
    }
}

fn canceled(by: Option<&str>, when: &str) -> Reason {
    let message = match by {
        Some(by) => format!("{by} called it off{when}"),
        None => format!("it was called off{when}"),
    };
    Code::CanceledByRequest.because(message)
}
