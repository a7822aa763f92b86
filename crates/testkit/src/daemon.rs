//! relayd and dispatcherd as programs: started with a config file of their own, waited for, killed, restarted.

mod binaries;
mod broker_section;
mod dispatcherd;
mod notifications;
mod relayd;
mod runners;

pub use binaries::{binary, use_binaries};
pub use dispatcherd::{Dispatcherd, DispatcherdBuilder};
pub use relayd::{Relayd, RelaydBuilder};
pub use runners::end_runners;
