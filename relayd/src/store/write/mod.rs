//! What can be written: each a [`Command`](super::Command).

mod approve;
mod catalog;
mod dead;
mod documents;
mod happen;
mod ingest;
mod outputs;
mod pauses;
mod settings;
mod sign_in;
mod submit;

pub use dead::{DropLetter, KeepLetters, NewLetter};
pub use happen::{Ask, Asked, Happened, Remind};
pub use ingest::{Ingest, Settled};
pub use pauses::{Pause, Resume};
pub use settings::Keep;
pub use sign_in::{AddCode, EndSession, RedeemCode};
pub(super) use submit::{EARLIER, repeated};
pub use submit::{Submit, Submitted};
