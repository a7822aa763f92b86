//! What this backend can do: roles from the configured directories, kept by digest, told to the frontends.

mod catalog_reader;
mod publish;
pub mod snapshot;

pub use catalog_reader::CatalogReader;
pub use publish::CatalogPublisher;
pub(crate) use publish::log;
