//! What can be written: each a [`WriteCommand`](super::WriteCommand).

mod apply_events;
mod approve;
mod catalog;
mod chunk_position;
mod dead;
mod documents;
mod ingest;
mod outputs;
mod pauses;
mod settings;
mod sign_in;
mod submit;

pub use super::accepted::Submitted;
pub use apply_events::{ActionOutcome, ApplyAction, ApplyEvents, RestartDeadlines};
pub use dead::{DeleteDeadLetter, InsertDeadLetters, NewDeadLetter};
pub use ingest::{Ingest, Settlement};
pub use pauses::{PauseBackend, ResumeBackend};
pub use settings::PutSetting;
pub use sign_in::{AddCode, EndSession, RedeemCode};
pub use submit::Submit;
