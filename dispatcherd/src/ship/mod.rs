//! Bringing transcripts to relayd.
//!
//! ```text
//! transcript --follow--> piece --fdatasync--> chunk --confirmed publish--> broker --> relayd
//!      ^                                                                                |
//!      '---------------- receipts, replays <---- control queue <-----------------------'
//! ```
//! Each attempt has a [`Window`]; all attempts of a frontend share another one, in which they take turns.

mod notes;
mod shipper;
mod tail;
mod turns;
mod voyage;
mod window;

pub use notes::{Notes, Shipment, Ships};
pub use shipper::{ShipError, Shipped, Shipper};
pub use tail::finished;
pub use turns::Turns;
pub use window::Window;
