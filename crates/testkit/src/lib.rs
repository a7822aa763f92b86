//! What tests need of the world: a broker, a network that fails, minions, daemons, free ports.
//!
//! Nothing here waits without a deadline, and nothing that it starts outlives the test, even one that is
//! killed. What goes wrong says so with the end of the log of the process that it went wrong in.

pub mod apache;
pub mod authority;
pub mod broker;
pub mod cluster;
pub mod daemon;
pub mod demo;
pub mod disk;
pub mod kubernetes;
pub mod minion;
pub mod nginx;
pub mod opentofu;
pub mod port;
pub mod process;
pub mod proxy;

pub use apache::Apache;
pub use authority::Authority;
pub use broker::Broker;
pub use cluster::Cluster;
pub use daemon::{Dispatcherd, Relayd};
pub use disk::SmallDisk;
pub use kubernetes::ApiServer;
pub use minion::TestMinion;
pub use nginx::Nginx;
pub use process::Process;
pub use proxy::Proxy;
