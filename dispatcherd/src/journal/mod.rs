//! The backend's journal is the file system: one directory for each attempt.

mod directory;

pub use directory::AttemptDirectory;
