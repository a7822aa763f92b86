//! Minions: reaching them over SSH, knowing their host keys, and ending what runs there.
//!
//! Nothing else here uses SSH. Nobody owns a connection: whoever needs a minion first starts a master with
//! ControlPersist at a path that follows from (host, port, user, key, known hosts), everyone else attaches
//! to it, and it ends by itself a minute after the last one has gone. Whoever finds no room there, or the connection dead,
//! makes one of their own.

mod connection;
mod error;
mod keyscan;
pub mod known_hosts;
mod login;
mod marker;
mod minion;
mod program;
mod remote_start;
mod shell;
mod stream;

pub use error::MinionError;
pub use keyscan::{OfferedKey, offered_keys};
pub use login::{KnownHosts, Login};
pub use marker::{MARKER, STEP, StopSignal};
pub use minion::Minion;
pub use program::{RemoteProgram, SecretFiles};
pub use remote_start::RemoteStart;
pub use stream::RemoteStream;
