//! The headers of a letter.

/// The stable code of why a message is here.
pub const CODE: &str = "x-aegir-code";
/// Why a message is here, for people.
pub const REASON: &str = "x-aegir-reason";
/// The queue that it came from.
pub const QUEUE: &str = "x-aegir-queue";
/// The exchange that it was published to, and to which it can be published again.
pub const EXCHANGE: &str = "x-aegir-exchange";
/// The routing key that it was published with.
pub const ROUTING_KEY: &str = "x-aegir-routing-key";
/// When it came here: RFC 3339, UTC.
pub const AT: &str = "x-aegir-at";
/// The headers that it had, as a table.
pub const HEADERS: &str = "x-aegir-headers";
/// Set when the original headers were too large to be kept.
pub const HEADERS_DROPPED: &str = "x-aegir-headers-dropped";
/// What was taken from the body, if anything: `redacted` (its secrets) or `removed` (all of it).
pub const BODY: &str = "x-aegir-body";
/// How many bytes the body had, if anything was taken from it.
pub const LENGTH: &str = "x-aegir-length";
/// How often the message was taken from the dead-letter queue and published again. Also a header of that message.
pub const REPLAYS: &str = "x-aegir-replays";
