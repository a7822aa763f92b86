//! Waits until there is an Operation in the phase in which a fault is to strike, and says where all of them are.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use aegir_protocol::state::State;
use aegir_testkit::proxy::{Mode, Way};
use tokio::time::{Instant, sleep};

use super::super::fault::{Fault, Kind, Phase};
use super::super::frontend::Frontend;
use super::super::stage::Stage;

/// How long a fault waits for its phase. It strikes then, whatever there is.
const PATIENCE: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(12);
/// How much of a transcript's end is looked at for its `finished`, which is shorter.
const TAIL: u64 = 2_048;

/// Where an Operation is.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) id: String,
    pub(super) attempt: u32,
    pub(super) phase: Phase,
    /// Which node has taken it, once one has.
    pub(super) node: Option<usize>,
}

/// What a fault is aimed at.
#[derive(Debug)]
pub(super) struct Aimed {
    /// The node, or for a network 2 for relayd.
    pub(super) whom: usize,
    pub(super) targets: Vec<Target>,
    pub(super) wanted: Phase,
}

impl Aimed {
    /// The phases of those that this kind strikes: what strikes one node strikes what that node has, and what it
    /// could have taken.
    pub(super) fn struck_by(&self, kind: Kind) -> Vec<Phase> {
        let one_node = match kind {
            Kind::KillNode | Kind::FreezeNode | Kind::RestartNode | Kind::KillMachine | Kind::FillNode => {
                true
            }
            Kind::Reset
            | Kind::StallToBroker
            | Kind::StallFromBroker
            | Kind::HalfOpen
            | Kind::Throttle
            | Kind::Deaf
            | Kind::SetClock => self.whom < 2,
            Kind::KillBothNodes
            | Kind::KillRelayd
            | Kind::FreezeRelayd
            | Kind::RestartRelayd
            | Kind::KillBroker
            | Kind::FreezeBroker
            | Kind::RestartBroker
            | Kind::KillRunner
            | Kind::KillChild
            | Kind::DeleteQueue
            | Kind::FillRelayd => false,
        };
        let place = self.whom.min(1);
        let struck = |target: &&Target| !one_node || target.node.is_none_or(|node| node == place);
        self.targets.iter().filter(struck).map(|target| target.phase).collect()
    }
}

pub(super) async fn aim(fault: &Fault, stage: &Stage, frontend: &Frontend) -> Aimed {
    if fault.phase == Phase::Shipping {
        // Between a runner's end and the arrival of its last record are milliseconds; the network stretches them.
        for node in &stage.nodes {
            node.network.set(Mode::Stall(Way::ToBroker));
        }
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let targets = targets(stage, frontend).await;
        let wanted = targets.iter().find(|target| target.phase == fault.phase);
        if wanted.is_some() || Instant::now() > end {
            let node = wanted.and_then(|target| target.node);
            let whom = match (fault.whom, node) {
                (0 | 1, Some(node)) => node,
                (whom, Some(_) | None) => whom,
            };
            return Aimed { whom, wanted: fault.phase, targets };
        }
        sleep(INTERVAL).await;
    }
}

/// Where every Operation is that has not ended; none while relayd does not answer.
async fn targets(stage: &Stage, frontend: &Frontend) -> Vec<Target> {
    let under_way = frontend.under_way().await.unwrap_or_default();
    let targets = under_way.into_iter().filter_map(|summary| {
        let (id, attempt) = (summary.id.to_string(), summary.attempt.get());
        let (mut phase, claimed) = match summary.state {
            State::Waiting => (Phase::Waiting, false),
            State::Queued => (Phase::Queued, false),
            State::Claimed => (Phase::Claimed, true),
            State::Running => (Phase::Running, true),
            State::Succeeded | State::Failed | State::Canceled | State::Rejected | State::Lost => {
                return None;
            }
        };
        let mut at = None;
        for (number, node) in stage.nodes.iter().enumerate().filter(|_| claimed) {
            let directory = node.attempt(&id, attempt);
            if directory.join("plan.json").exists() {
                at = Some(number);
            }
            if has_finished(&directory.join("transcript")) {
                phase = Phase::Shipping;
            }
        }
        Some(Target { id, attempt, phase, node: at })
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
