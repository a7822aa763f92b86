//! The stream, and what became of its lines.

use serde::Serialize;

use super::super::latency::Ticks;

pub(super) const STREAM: Ticks = Ticks { rate: 400, count: 8_000 };

/// What became of the lines of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    pub(super) sent: u64,
    /// Never arrived.
    pub(super) lost: u64,
    /// Arrived again.
    pub(super) repeated: u64,
    /// Arrived for the first time behind a later one.
    pub(super) out_of_order: u64,
}

impl Verdict {
    pub(super) fn of(sent: u64, arrived: impl IntoIterator<Item = u64>) -> Self {
        let (mut seen, mut latest) = (std::collections::HashSet::new(), None);
        let (mut repeated, mut out_of_order) = (0, 0);
        for number in arrived {
            if !seen.insert(number) {
                repeated += 1;
                continue;
            }
            if latest > Some(number) {
                out_of_order += 1;
            }
            latest = latest.max(Some(number));
        }
        Self { sent, lost: sent - seen.len() as u64, repeated, out_of_order }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_twice_or_comes_late_is_counted() {
        let verdict = |arrived: &[u64]| {
            let Verdict { lost, repeated, out_of_order, .. } = Verdict::of(4, arrived.iter().copied());
            (lost, repeated, out_of_order)
        };
        assert_eq!(verdict(&[0, 1, 2, 3]), (0, 0, 0));
        assert_eq!(verdict(&[0, 3]), (2, 0, 0));
        assert_eq!(verdict(&[0, 1, 1, 0, 2, 3]), (0, 2, 0));
        assert_eq!(verdict(&[3, 0, 1, 2]), (0, 0, 3));
        assert_eq!(verdict(&[]), (4, 0, 0));
    }
}
