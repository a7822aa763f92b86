//! What relayd and its clients say to each other: the bodies of the HTTP API. `docs/reference/http-api.md` has the paths.
//!
//! Like `aegir-protocol` it does no I/O and knows no runtime. What can be said over AMQP too is there: a request, the answer
//! to it, and the problem with it.

mod backends;
mod dead_letters;
mod diagnosis;
mod documents;
mod operations;
pub mod schema;
mod sessions;

pub use backends::{BackendDetail, BackendList, CatalogList, NodeDetail, NodeList, Pause, PauseRequest};
pub use dead_letters::{DeadLetter, DeadLetterDetail, DeadLetterList, DeadLettersKept, KeptBody};
pub use diagnosis::{CheckReport, CheckRequest, Hop};
pub use documents::{DocumentDetail, DocumentList};
pub use operations::{
    ActionRequest, ApproveRequest, AttemptDetail, BlockedDetail, LedgerEntry, OperationDetail, OperationList,
    OperationSummary, RetryRequest,
};
pub use sessions::SignInLink;
