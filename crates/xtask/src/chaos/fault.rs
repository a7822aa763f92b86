//! What can go wrong, to whom, for how long, and in which phase of an Operation it is to strike.

use std::fmt;
use std::time::Duration;

use crate::random::Random;

/// A kind of fault, with whom it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum FaultKind {
    KillNode,
    FreezeNode,
    RestartNode,
    KillBothNodes,
    KillRelayd,
    FreezeRelayd,
    RestartRelayd,
    KillBroker,
    FreezeBroker,
    RestartBroker,
    KillRunner,
    KillChild,
    KillMachine,
    Reset,
    StallToBroker,
    StallFromBroker,
    HalfOpen,
    Throttle,
    Deaf,
    DeleteQueue,
    SetClock,
    FillNode,
    FillRelayd,
}

/// Where an Operation is when a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum OperationPhase {
    Waiting,
    Queued,
    Claimed,
    Running,
    /// Its runner has ended, and relayd does not have all of its transcript.
    Shipping,
}

impl OperationPhase {
    pub(super) const ALL: [Self; 5] =
        [Self::Waiting, Self::Queued, Self::Claimed, Self::Running, Self::Shipping];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Claimed => "claimed",
            Self::Running => "running",
            Self::Shipping => "shipping",
        }
    }
}

impl FaultKind {
    pub(super) const ALL: &[Self] = &[
        Self::KillNode,
        Self::FreezeNode,
        Self::RestartNode,
        Self::KillBothNodes,
        Self::KillRelayd,
        Self::FreezeRelayd,
        Self::RestartRelayd,
        Self::KillBroker,
        Self::FreezeBroker,
        Self::RestartBroker,
        Self::KillRunner,
        Self::KillChild,
        Self::KillMachine,
        Self::Reset,
        Self::StallToBroker,
        Self::StallFromBroker,
        Self::HalfOpen,
        Self::Throttle,
        Self::Deaf,
        Self::DeleteQueue,
        Self::SetClock,
        Self::FillNode,
        Self::FillRelayd,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::KillNode => "kill a dispatcherd",
            Self::FreezeNode => "freeze a dispatcherd",
            Self::RestartNode => "restart a dispatcherd",
            Self::KillBothNodes => "kill both dispatcherds",
            Self::KillRelayd => "kill relayd",
            Self::FreezeRelayd => "freeze relayd",
            Self::RestartRelayd => "restart relayd",
            Self::KillBroker => "kill the broker",
            Self::FreezeBroker => "freeze the broker",
            Self::RestartBroker => "restart the broker",
            Self::KillRunner => "kill a runner",
            Self::KillChild => "kill a runner's child",
            Self::KillMachine => "kill a dispatcherd and its runners",
            Self::Reset => "reset connections",
            Self::StallToBroker => "stall to the broker",
            Self::StallFromBroker => "stall from the broker",
            Self::HalfOpen => "half-open connections",
            Self::Throttle => "throttle",
            Self::Deaf => "heartbeats only",
            Self::DeleteQueue => "delete a queue",
            Self::SetClock => "set a daemon's clock",
            Self::FillNode => "fill a dispatcherd's disk",
            Self::FillRelayd => "fill relayd's disk",
        }
    }

    /// Whether it needs a file system of its own for the daemon's state.
    pub(super) fn fills(self) -> bool {
        matches!(self, Self::FillNode | Self::FillRelayd)
    }

    /// In which phases an Operation can be struck by it: a runner can't be killed before there is one.
    pub(super) fn phases(self) -> &'static [OperationPhase] {
        match self {
            Self::KillRunner => &[OperationPhase::Claimed, OperationPhase::Running],
            Self::KillChild => &[OperationPhase::Running],
            Self::KillNode
            | Self::FreezeNode
            | Self::RestartNode
            | Self::KillBothNodes
            | Self::KillRelayd
            | Self::FreezeRelayd
            | Self::RestartRelayd
            | Self::KillBroker
            | Self::FreezeBroker
            | Self::RestartBroker
            | Self::KillMachine
            | Self::Reset
            | Self::StallToBroker
            | Self::StallFromBroker
            | Self::HalfOpen
            | Self::Throttle
            | Self::Deaf
            | Self::DeleteQueue
            | Self::SetClock
            | Self::FillNode
            | Self::FillRelayd => &OperationPhase::ALL,
        }
    }
}

/// One fault of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// When it begins, at the earliest.
    pub(super) at: Duration,
    pub(super) kind: FaultKind,
    /// How long it lasts, where it has a length.
    pub(super) lasts: Duration,
    /// It waits a while for an Operation in this phase.
    pub(super) phase: OperationPhase,
    /// Which of two nodes; for network and clock, 2 is relayd.
    pub(super) whom: usize,
    /// What else there is to choose.
    pub(super) choice: u64,
}

impl Fault {
    /// One of the queues that an operator could delete by hand, with all that is in it. Not the one with requests: who
    /// deletes that deletes what nobody else has.
    pub(super) fn queue(&self) -> &'static str {
        const QUEUES: [&str; 4] =
            ["aegir.operations.main", "aegir.transcripts.main", "aegir.control.node1", "aegir.control.node2"];
        QUEUES[usize::try_from(self.choice).unwrap_or_default() % QUEUES.len()]
    }

    pub(super) fn generate(kind: FaultKind, at: Duration, random: &mut Random) -> Self {
        // Now and then longer than lease and margin together.
        let (least, most) = if random.once_in(5) { (8_000, 14_000) } else { (200, 4_000) };
        let lasts = Duration::from_millis(random.between(least, most));
        let phase = *random.pick(kind.phases());
        let (whom, choice) = (*random.pick(&[0, 1, 2]), random.between(0, 999));
        Self { at, kind, lasts, phase, whom, choice }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, kind, lasts, phase, whom, choice } = self;
        write!(
            f,
            "at {at:?}: {} ({whom}, {choice}) for {lasts:?} while one is {}",
            kind.as_str(),
            phase.as_str()
        )
    }
}
