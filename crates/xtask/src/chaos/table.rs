//! Which kind of fault struck Operations in which phase, and how often.

use std::collections::BTreeMap;
use std::fmt;

use super::fault::{FaultKind, OperationPhase};

#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    counts: BTreeMap<(FaultKind, OperationPhase), u64>,
}

impl Table {
    pub(super) fn count(&mut self, kind: FaultKind, phase: OperationPhase) {
        *self.counts.entry((kind, phase)).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (cell, times) in &other.counts {
            *self.counts.entry(*cell).or_default() += times;
        }
    }

    /// What could have been struck and was not, of these kinds.
    pub(super) fn empty(&self, kinds: &[FaultKind]) -> Vec<(FaultKind, OperationPhase)> {
        let cells = kinds.iter().flat_map(|kind| kind.phases().iter().map(|phase| (*kind, *phase)));
        cells.filter(|cell| !self.counts.contains_key(cell)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<34}", "fault")?;
        for phase in OperationPhase::ALL {
            write!(f, "{:>10}", phase.as_str())?;
        }
        writeln!(f)?;
        for kind in FaultKind::ALL {
            write!(f, "{:<34}", kind.as_str())?;
            for phase in OperationPhase::ALL {
                match self.counts.get(&(*kind, phase)) {
                    Some(times) => write!(f, "{times:>10}")?,
                    None if kind.phases().contains(&phase) => write!(f, "{:>10}", 0)?,
                    None => write!(f, "{:>10}", "-")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
