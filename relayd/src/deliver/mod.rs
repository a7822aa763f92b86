//! What goes out: Operations from the outbox, and what nodes are told.

mod control;
mod deadlines;
mod outbox;
mod overdue;
pub mod room;

use std::sync::Arc;

use aegir_protocol::message::ToNode;
use aegir_protocol::name::NodeName;
use tokio::sync::Notify;

pub use control::{Control, ControlQueue};
pub use deadlines::Deadlines;
pub use outbox::Outbox;
pub use overdue::Overdue;
pub(crate) use overdue::hand_out_again;

use crate::catalogs::Catalogs;
use crate::store::{AfterCommit, Effects};
use crate::watchers::Watchers;

/// Hands on what commits lead to.
pub struct Dispatch {
    /// Wakes the outbox.
    pub outbox: Arc<Notify>,
    /// Tells nodes.
    pub control: Control,
    /// Wakes who watches.
    pub watchers: Arc<Watchers>,
    /// Keeps the catalogs.
    pub catalogs: Arc<Catalogs>,
    /// Waits for what is due.
    pub deadlines: Arc<Deadlines>,
}

impl AfterCommit for Dispatch {
    fn committed(&self, effects: Effects) {
        if effects.publish {
            self.outbox.notify_one();
        }
        for (node, message) in effects.messages {
            self.control.tell(node, message);
        }
        for (node, receipt) in effects.receipts.into_values() {
            self.control.tell(node, ToNode::Receipt(receipt));
        }
        for catalog in effects.catalogs {
            self.catalogs.put(catalog);
        }
        if !effects.deadlines.is_empty() {
            self.deadlines.set(effects.deadlines);
        }
        self.watchers.wake(&effects.changed);
    }
}

/// A message for a node, on its way there.
type Addressed = (NodeName, ToNode);
