//! Every size and count that is bounded.
//!
//! Sizes are in bytes unless the name says otherwise.

use std::time::Duration;

/// The largest JSON message on any queue: an Operation with its variables, a catalog, a claim.
pub const MAX_MESSAGE: usize = 1024 * 1024;
/// The largest payload of one transcript chunk.
pub const MAX_CHUNK: usize = 1024 * 1024;
/// The largest record of a transcript, its newline included.
pub const MAX_RECORD: usize = 256 * 1024;
/// The most bytes of a child's stream that one `output` record holds.
pub const MAX_OUTPUT: usize = 64 * 1024;
/// The most unreceipted transcript bytes on the broker for one attempt. Others wait behind them in the frontend's
/// queue: with twice as much a single log is a quarter faster, and a quiet Operation waits three times as long.
pub const ATTEMPT_WINDOW: u64 = 512 * 1024;
/// The most unreceipted transcript bytes on the broker for one frontend: full windows of 32 attempts. What the next
/// attempt prints waits behind all of it.
pub const FRONTEND_WINDOW: u64 = 32 * ATTEMPT_WINDOW;
/// How many bytes of chunks the broker holds for one frontend before it refuses more (`reject-publish`):
/// several times the window, so that only a sender that ignores receipts meets it. An argument of a queue, so it
/// stays when the window is changed.
pub const TRANSCRIPT_QUEUE_BYTES: u64 = 64 * 1024 * 1024;
/// The shortest value that may be a secret, in bytes. Shorter ones would mask ordinary words.
pub const MIN_SECRET: usize = 6;
/// The most hosts of one Operation.
pub const MAX_HOSTS: usize = 256;
/// The longest idempotency key, in characters, and the longest `message_id` that stands for one.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;
/// How many dead letters a relayd keeps before it leaves the rest in the queue.
pub const MAX_DEAD_LETTERS: u64 = 10_000;
/// How many bytes of dead letters a relayd keeps before it leaves the rest in the queue.
pub const MAX_DEAD_LETTER_BYTES: u64 = 64 * 1024 * 1024;
/// How often a dispatcherd says that it is alive.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Without a heartbeat for this long a node, and what runs on it, counts as silent.
pub const SILENT_AFTER: Duration = Duration::from_secs(20);
/// The highest priority of an Operation; 0 is the lowest.
pub const MAX_PRIORITY: u8 = 9;
