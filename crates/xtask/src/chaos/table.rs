//! Which kind of fault struck Operations in which phase, and how often.

use std::collections::BTreeMap;
use std::fmt;

use super::fault::{Kind, Phase};

#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    strikes: BTreeMap<(Kind, Phase), u64>,
}

impl Table {
    pub(super) fn count(&mut self, kind: Kind, phase: Phase) {
        *self.strikes.entry((kind, phase)).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (cell, times) in &other.strikes {
            *self.strikes.entry(*cell).or_default() += times;
        }
    }

    /// What could have been struck and was not, of these kinds.
    pub(super) fn empty(&self, kinds: &[Kind]) -> Vec<(Kind, Phase)> {
        let cells = kinds.iter().flat_map(|kind| kind.phases().iter().map(|phase| (*kind, *phase)));
        cells.filter(|cell| !self.strikes.contains_key(cell)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<34}", "fault")?;
        for phase in Phase::ALL {
            write!(f, "{:>10}", phase.as_str())?;
        }
        writeln!(f)?;
        for kind in Kind::ALL {
            write!(f, "{:<34}", kind.as_str())?;
            for phase in Phase::ALL {
                match self.strikes.get(&(*kind, phase)) {
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
