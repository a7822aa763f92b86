//! How much room there is for dead letters.

use aegir_api::DeadLettersKept;
use aegir_protocol::limits::{MAX_DEAD_LETTER_BYTES, MAX_DEAD_LETTERS};

/// Whether letters are taken. It closes at the limit and opens again at nine tenths of it, so that whoever drops
/// letters one by one does not make the broker start and stop a consumer each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetterLimit {
    /// Whether no more are taken.
    pub closed: bool,
}

impl LetterLimit {
    /// What it is when so much is kept.
    #[must_use]
    pub fn after(self, kept: &DeadLettersKept) -> Self {
        let reached = |tenths: u64| {
            kept.count >= MAX_DEAD_LETTERS / 10 * tenths || kept.bytes >= MAX_DEAD_LETTER_BYTES / 10 * tenths
        };
        Self { closed: if self.closed { reached(9) } else { kept.full } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::is_full;

    #[test]
    fn it_closes_at_either_limit_and_opens_below_nine_tenths_of_both() {
        let (most, bytes) = (MAX_DEAD_LETTERS, MAX_DEAD_LETTER_BYTES);
        let after = |closed, count, bytes| {
            LetterLimit { closed }
                .after(&DeadLettersKept { count, bytes, full: is_full(count, bytes) })
                .closed
        };
        assert!(!after(false, most - 1, bytes - 1));
        assert!(after(false, most, 0));
        assert!(after(false, 0, bytes));
        assert!(after(true, most - 1, 0));
        assert!(after(true, most / 10 * 9, 0));
        assert!(after(true, 0, bytes - 1));
        assert!(!after(true, most / 10 * 9 - 1, bytes / 10 * 8));
    }
}
