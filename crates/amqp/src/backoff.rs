//! How long to wait before the next attempt.

use std::time::Duration;

/// The waits between attempts to reach the broker.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first wait, at most.
    pub least: Duration,
    /// The longest wait.
    pub most: Duration,
    /// The wait when something on the broker clashes with what we declare: only a person can mend that.
    pub mismatch: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            least: Duration::from_millis(200),
            most: Duration::from_secs(10),
            mismatch: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row: doubled each time up to the limit, then shortened at random
    /// by up to a half, so that those who lost the broker together do not all come back at once.
    ///
    /// `random` is any number, evenly distributed.
    pub(crate) fn delay(&self, failures: u32, random: u64) -> Duration {
        let doubled = self.least.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let whole = doubled.min(self.most);
        let half = whole / 2;
        let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_millis(random % span)
    }
}

/// A random number, from the source that also makes ids.
pub(crate) fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_their_limits() {
        let retry = Backoff::default();
        for failures in 0..100 {
            for random in [0, 1, 12_345, u64::MAX] {
                let delay = retry.delay(failures, random);
                assert!(delay >= retry.least / 2 && delay <= retry.most, "{failures}: {delay:?}");
            }
        }
        assert!(retry.delay(8, 0) > retry.delay(1, u64::MAX));
    }
}
