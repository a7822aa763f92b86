//! Bringing transcripts to relayd.
//!
//! ```text
//! transcript --follow--> piece --fdatasync--> chunk --confirmed publish--> broker --> relayd
//!      ^                                                                                |
//!      '---------------- receipts, replays <---- control queue <-----------------------'
//! ```
//! Each attempt has a [`AttemptWindow`]; all attempts of a frontend share another one, in which they take turns.

mod frontend_window;
mod run;
mod shipper;
mod uploader;
mod uploads;
mod window;

pub use frontend_window::FrontendWindow;
pub use shipper::{ShipError, Shipped, Shipper};
pub use uploads::{Upload, UploadFeedback, Uploads};
pub use window::AttemptWindow;
