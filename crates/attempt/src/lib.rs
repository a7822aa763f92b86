//! An attempt's directory: what dispatcherd and the runner tell each other, all of it by files.
//!
//! | module | holds |
//! |---|---|
//! | [`directory`] | where the parts of an attempt lie |
//! | [`plan`], [`lease`], [`vault`] | what the runner reads: the Tasks, until when it may act, passwords of Ansible Vault |
//! | [`lock`] | whether a runner lives |
//! | [`group`] | `child.json`: the process group of the child that runs, and ending it |
//! | [`private`] | the directory on a memory file system where secrets are while a Task runs |

pub mod directory;
pub mod group;
pub mod lease;
pub mod lock;
pub mod plan;
pub mod private;
pub mod vault;

pub use directory::AttemptDirectory;
pub use lease::LeaseFile;
