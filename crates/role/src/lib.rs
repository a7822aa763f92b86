//! Roles on the disk: finding them, saying what is wrong with one, and beginning a new one.
//!
//! dispatcherd makes its catalog of them, and `aegir role` helps those who write them: both look at a role with the
//! same eyes.

pub mod files;
mod inspect;
mod load;
mod new;
pub mod project;
mod role_paths;
mod undeclared;

pub use inspect::RoleFindings;
pub use load::{LoadedRoles, LocatedRole, check, load, report};
pub use new::{NewError, new};
pub use role_paths::{MANIFEST, RolePaths, roles_in};
