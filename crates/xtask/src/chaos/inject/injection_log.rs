//! What was done to a system.

use std::collections::BTreeSet;

use super::super::table::Table;

/// What was done, beside daemons and network, that may change how an attempt ends.
#[derive(Debug, Default)]
pub(in super::super) struct InjectionLog {
    pub(in super::super) runners_killed: BTreeSet<(String, u32)>,
    pub(in super::super) children_killed: BTreeSet<(String, u32)>,
    pub(in super::super) table: Table,
    /// What happened when, for whoever reads a failed schedule.
    pub(in super::super) timeline: Vec<String>,
    /// A daemon that did not stop, or did not come back.
    pub(in super::super) errors: Vec<String>,
}
