//! What this backend can do: roles from the configured directories, kept by digest, told to the frontends.

mod library;
mod publish;
pub mod snapshot;

pub use library::Library;
pub use publish::Announcer;
pub(crate) use publish::log;
