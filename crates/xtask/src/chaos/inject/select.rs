//! Waits until there is an Operation in the phase in which a fault is to strike, and says where all of them are.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use aegir_api::OperationList;
use aegir_client::Client;
use aegir_protocol::state::State;
use aegir_testkit::proxy::{Direction, Mode};
use tokio::time::{Instant, sleep};

use super::super::fault::{Fault, FaultKind, OperationPhase};
use super::super::system::ChaosSystem;

/// How long a fault waits for its phase. It strikes then, whatever there is.
const PATIENCE: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(12);
/// How much of a transcript's end is looked at for its `finished`, which is shorter.
const TAIL: u64 = 2_048;

/// Where an Operation is.
#[derive(Clone, Debug)]
pub(super) struct LiveOperation {
    pub(super) id: String,
    pub(super) attempt: u32,
    pub(super) phase: OperationPhase,
    /// Which node has taken it, once one has.
    pub(super) node: Option<usize>,
}

/// What a fault is aimed at.
#[derive(Debug)]
pub(super) struct Selection {
    /// The node, or for a network 2 for relayd.
    pub(super) whom: usize,
    pub(super) targets: Vec<LiveOperation>,
    pub(super) wanted: OperationPhase,
}

impl Selection {
    /// The phases of those that this kind strikes: what strikes one node strikes what that node has, and what it
    /// could have taken.
    pub(super) fn affected_by(&self, kind: FaultKind) -> Vec<OperationPhase> {
        let one_node = match kind {
            FaultKind::KillNode
            | FaultKind::FreezeNode
            | FaultKind::RestartNode
            | FaultKind::KillMachine
            | FaultKind::FillNode => true,
            FaultKind::Reset
            | FaultKind::StallToBroker
            | FaultKind::StallFromBroker
            | FaultKind::HalfOpen
            | FaultKind::Throttle
            | FaultKind::Deaf
            | FaultKind::SetClock => self.whom < 2,
            FaultKind::KillBothNodes
            | FaultKind::KillRelayd
            | FaultKind::FreezeRelayd
            | FaultKind::RestartRelayd
            | FaultKind::KillBroker
            | FaultKind::FreezeBroker
            | FaultKind::RestartBroker
            | FaultKind::KillRunner
            | FaultKind::KillChild
            | FaultKind::DeleteQueue
            | FaultKind::FillRelayd => false,
        };
        let place = self.whom.min(1);
        let affected = |target: &&LiveOperation| !one_node || target.node.is_none_or(|node| node == place);
        self.targets.iter().filter(affected).map(|target| target.phase).collect()
    }
}

pub(super) async fn select(fault: &Fault, system: &ChaosSystem, frontend: &Client) -> Selection {
    if fault.phase == OperationPhase::Shipping {
        // Between a runner's end and the arrival of its last record are milliseconds; the network stretches them.
        for node in &system.nodes {
            node.network.set(Mode::Stall(Direction::ToBroker));
        }
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let targets = targets(system, frontend).await;
        let wanted = targets.iter().find(|target| target.phase == fault.phase);
        if wanted.is_some() || Instant::now() > end {
            let node = wanted.and_then(|target| target.node);
            let whom = match (fault.whom, node) {
                (0 | 1, Some(node)) => node,
                (whom, Some(_) | None) => whom,
            };
            return Selection { whom, wanted: fault.phase, targets };
        }
        sleep(INTERVAL).await;
    }
}

/// Where every Operation is that has not ended; none while relayd does not answer.
async fn targets(system: &ChaosSystem, frontend: &Client) -> Vec<LiveOperation> {
    let path = "/api/v1/operations?state=waiting,queued,claimed,running&limit=500";
    let asked_once = frontend.clone().patience(Duration::ZERO);
    let under_way = asked_once.get::<OperationList>(path).await.map(|list| list.operations);
    let targets = under_way.unwrap_or_default().into_iter().filter_map(|summary| {
        let (id, attempt) = (summary.id.to_string(), summary.attempt.get());
        let (mut phase, claimed) = match summary.state {
            State::Waiting => (OperationPhase::Waiting, false),
            State::Queued => (OperationPhase::Queued, false),
            State::Claimed => (OperationPhase::Claimed, true),
            State::Running => (OperationPhase::Running, true),
            State::Succeeded | State::Failed | State::Canceled | State::Rejected | State::Lost => {
                return None;
            }
        };
        let mut at = None;
        for (number, node) in system.nodes.iter().enumerate().filter(|_| claimed) {
            let directory = node.attempt(&id, attempt);
            if directory.join("plan.json").exists() {
                at = Some(number);
            }
            if has_finished(&directory.join("transcript")) {
                phase = OperationPhase::Shipping;
            }
        }
        Some(LiveOperation { id, attempt, phase, node: at })
    });
    targets.collect()
}

fn has_finished(transcript: &Path) -> bool {
    let read = || {
        let mut file = File::open(transcript)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok::<_, std::io::Error>(end)
    };
    read().is_ok_and(|end| String::from_utf8_lossy(&end).contains(r#""kind":"finished""#))
}
