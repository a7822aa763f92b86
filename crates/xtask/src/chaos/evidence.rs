//! What was seen of one schedule: relayd's answers, the nodes' copies, and the marks that children left.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aegir_api::OperationDetail;
use aegir_protocol::record::Stream;

use super::clock::Time;
use super::order::Order;

/// Everything that the checker looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub(super) seed: u64,
    pub(super) time: Time,
    pub(super) orders: Vec<OrderEvidence>,
    /// Whose runner was killed: Operation and attempt.
    pub(super) runners_killed: BTreeSet<(String, u32)>,
    /// Whose child was killed.
    pub(super) children_killed: BTreeSet<(String, u32)>,
    /// What could not be looked at, such as an answer that never came.
    pub(super) unseen: Vec<String>,
}

/// One order, and what became of it.
#[derive(Clone, Debug)]
pub(super) struct OrderEvidence {
    pub(super) order: Order,
    /// The ids that relayd answered with, each time that it was submitted.
    pub(super) ids: BTreeSet<String>,
    /// Whether somebody asked to call it off.
    pub(super) canceled: bool,
    /// The Operations that relayd has for it.
    pub(super) stored: Vec<Stored>,
    pub(super) marks: Vec<Mark>,
}

/// One Operation.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) detail: OperationDetail,
    pub(super) attempts: Vec<Try>,
}

/// One attempt at it.
#[derive(Clone, Debug, Default)]
pub(super) struct Try {
    pub(super) attempt: u32,
    /// relayd's copy of its transcript.
    pub(super) raw: Vec<u8>,
    /// The copies at nodes, by the nodes' names.
    pub(super) copies: BTreeMap<String, Vec<u8>>,
    /// What relayd's API rebuilds of each Task's streams.
    pub(super) outputs: HashMap<(u32, Stream), Vec<u8>>,
}

/// One line of a file of marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) what: What,
    pub(super) attempt: u32,
    pub(super) task: String,
    pub(super) item: u32,
    /// How many bytes the child has put on its standard output.
    pub(super) printed: usize,
    /// In nanoseconds, by the clock that nobody sets.
    pub(super) monotonic: u64,
    /// In nanoseconds since 1970.
    pub(super) wall: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Start,
    Tick,
    End,
}

impl Mark {
    /// Reads a whole line; a child that was killed leaves no half of one, for it writes each at once.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let what = match words.next()? {
            "start" => What::Start,
            "tick" => What::Tick,
            "end" => What::End,
            _ => return None,
        };
        Some(Self {
            what,
            attempt: words.next()?.parse().ok()?,
            task: words.next()?.to_owned(),
            item: words.next()?.parse().ok()?,
            printed: words.next()?.parse().ok()?,
            monotonic: words.next()?.parse().ok()?,
            wall: words.next()?.parse().ok()?,
        })
    }
}
