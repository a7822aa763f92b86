//! [`Operations`]: what its methods use.

use std::sync::Arc;

use aegir_protocol::code::Code;
use aegir_protocol::id::OperationId;
use aegir_protocol::name::{BackendName, FrontendName};
use aegir_protocol::problem::Problem;

use super::idempotency::MacKey;
use crate::catalogs::Catalogs;
use crate::changes::ChangeNotifier;
use crate::nodes::Nodes;
use crate::store::Store;

/// The Operations of a frontend.
pub struct Operations {
    /// The frontend that this relayd works for.
    pub frontend: FrontendName,
    /// Who carries out what names no backend.
    pub default_backend: BackendName,
    /// What requests are compared with.
    pub mac_key: MacKey,
    /// Where they are.
    pub store: Store,
    /// What requests are checked against.
    pub catalogs: Arc<Catalogs>,
    /// Who watches.
    pub changes: Arc<ChangeNotifier>,
    /// Who is alive.
    pub nodes: Arc<Nodes>,
}

/// The problem of an id that no Operation has.
#[must_use]
pub fn no_such_operation(id: OperationId) -> Problem {
    Problem::new(Code::NoSuchOperation, format!("there is no Operation {id}"))
}
