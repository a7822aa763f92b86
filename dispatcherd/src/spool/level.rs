//! How full the spool is: a pure function of its bytes.

/// What may go on. Each level ends a little below where it begins, so that it does not come and go with every
/// receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    #[default]
    Open,
    /// What runs. From 80 % on no new Operation is taken.
    Closed,
    /// Nothing that prints. From 100 % on children block on their pipe.
    Full,
}

impl Level {
    /// The level at so many bytes, given the one before.
    #[must_use]
    pub fn next(self, bytes: u64, limit: u64) -> Self {
        let percent = u128::from(bytes) * 100 / u128::from(limit.max(1));
        let (full, closed) = match self {
            Self::Open => (100, 80),
            Self::Closed => (100, 70),
            Self::Full => (95, 70),
        };
        match percent {
            percent if percent >= full => Self::Full,
            percent if percent >= closed => Self::Closed,
            _ => Self::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_begin_and_end_where_they_should() {
        let mut level = Level::Open;
        for (percent, expected) in [
            (79, Level::Open),
            (80, Level::Closed),
            (71, Level::Closed),
            (99, Level::Closed),
            (100, Level::Full),
            (96, Level::Full),
            (94, Level::Closed),
            (70, Level::Closed),
            (69, Level::Open),
            (500, Level::Full),
            (0, Level::Open),
        ] {
            level = level.next(percent * 10, 1000);
            assert_eq!(level, expected, "at {percent} %");
        }
        assert_eq!(Level::Open.next(u64::MAX, u64::MAX), Level::Full);
    }
}
