//! What this backend can do: roles from the configured directories, kept by digest, told to the frontends.

pub mod files;
mod library;
mod load;
mod publish;
pub mod snapshot;

pub use library::Library;
pub use load::{Found, MANIFEST, load};
pub use publish::Announcer;
pub(crate) use publish::log;
