//! What goes out: Operations from the outbox, and what nodes are told.

mod control;
mod deadlines;
mod outbox;
pub mod quota;
mod republish;

use std::sync::Arc;

use aegir_protocol::message::ToNode;
use tokio::sync::Notify;

pub use control::{Control, ControlQueue};
pub use deadlines::Deadlines;
pub use outbox::Outbox;
pub use republish::Republisher;
pub(crate) use republish::republish;

use crate::catalogs::Catalogs;
use crate::changes::ChangeNotifier;
use crate::store::{AfterCommit, CommitEffects};

/// Hands on what commits lead to.
pub struct Dispatch {
    /// Wakes the outbox.
    pub outbox: Arc<Notify>,
    /// Tells nodes.
    pub control: Control,
    /// Wakes who watches.
    pub changes: Arc<ChangeNotifier>,
    /// Keeps the catalogs.
    pub catalogs: Arc<Catalogs>,
    /// Waits for what is due.
    pub deadlines: Arc<Deadlines>,
}

impl AfterCommit for Dispatch {
    fn committed(&self, effects: CommitEffects) {
        if effects.publish {
            self.outbox.notify_one();
        }
        for (node, message) in effects.messages {
            self.control.send(node, message);
        }
        for (node, receipt) in effects.receipts.into_values() {
            self.control.send(node, ToNode::Receipt(receipt));
        }
        for catalog in effects.catalogs {
            self.catalogs.put(catalog);
        }
        if !effects.deadlines.is_empty() {
            self.deadlines.set(effects.deadlines);
        }
        self.changes.notify(&effects.changed);
    }
}
