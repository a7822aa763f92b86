//! How far an attempt's transcript is sent and receipted: a pure state machine.
//!
//! relayd's receipts may come late, twice, or for bytes that an earlier process sent; a replay may be asked
//! for once for each chunk behind a gap. Whatever comes in whatever order, what is sent next begins where
//! relayd's copy ends or before, and never more than the window is out.

/// One attempt's window.
#[derive(Clone, Debug)]
pub struct AttemptWindow {
    limit: u64,
    /// relayd has committed every byte before this.
    receipted: u64,
    /// Every byte before this was sent since the last rewind, or is receipted.
    sent: u64,
    /// Where the last replay began that has shown no effect yet.
    replayed: Option<u64>,
}

impl AttemptWindow {
    /// Nothing sent; at most `limit` bytes may be out.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, receipted: 0, sent: 0, replayed: None }
    }

    /// Where the next chunk begins.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.sent
    }

    /// How many bytes relayd has said that it has.
    #[must_use]
    pub fn receipted(&self) -> u64 {
        self.receipted
    }

    /// How many bytes are sent and not receipted.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.sent - self.receipted
    }

    /// How many bytes may be sent now.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.limit.saturating_sub(self.in_flight())
    }

    /// A chunk that began at [`AttemptWindow::next`] was sent, up to `end`.
    pub fn sent(&mut self, end: u64) {
        self.sent = self.sent.max(end);
    }

    /// relayd has every byte before `offset`. Says whether that is news.
    pub fn receipt(&mut self, offset: u64) -> bool {
        let news = offset > self.receipted;
        if news {
            self.receipted = offset;
            // More than was sent since the last rewind: it had arrived after all.
            self.sent = self.sent.max(offset);
            if self.replayed.is_some_and(|replayed| replayed < offset) {
                self.replayed = None;
            }
        }
        news
    }

    /// relayd misses what begins at `offset`. Says whether it is sent again: each chunk behind a gap asks
    /// for the same, and one answer is enough.
    pub fn replay(&mut self, offset: u64) -> bool {
        if offset > self.sent || self.replayed == Some(offset) {
            return false;
        }
        // Before what was receipted, when relayd's store was put back to an earlier state.
        self.receipted = self.receipted.min(offset);
        self.sent = offset;
        self.replayed = Some(offset);
        true
    }

    /// What is out may be lost: everything that is not receipted is sent again.
    pub fn rewind(&mut self) {
        self.sent = self.receipted;
        self.replayed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: u64 = 100;

    #[test]
    fn a_gap_is_filled_once_however_many_ask() {
        let mut window = AttemptWindow::new(LIMIT);
        window.sent(80);
        window.receipt(20);
        assert!(window.replay(20));
        assert_eq!(window.next(), 20);
        window.sent(80);
        assert!(!window.replay(20));
        assert_eq!(window.next(), 80);
        window.receipt(60);
        assert!(window.replay(60));
    }

    #[test]
    fn what_an_earlier_process_sent_is_skipped() {
        let mut window = AttemptWindow::new(LIMIT);
        window.sent(10);
        assert!(window.receipt(5000));
        assert_eq!((window.next(), window.in_flight()), (5000, 0));
        assert!(!window.receipt(10));
    }

    /// relayd, and what is between.
    #[derive(Default)]
    struct Peer {
        has: u64,
        chunks: Vec<(u64, u64)>,
        receipts: Vec<u64>,
        replays: Vec<u64>,
    }

    impl Peer {
        fn take(&mut self, at: usize, lose: bool) {
            if self.chunks.is_empty() {
                return;
            }
            let (start, end) = self.chunks.remove(at % self.chunks.len());
            if lose {
                return;
            }
            if start > self.has {
                self.replays.push(self.has);
            } else {
                self.has = self.has.max(end);
                self.receipts.push(self.has);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Send(u64),
        Deliver(usize),
        Lose(usize),
        Receipt(usize, bool),
        Replay(usize, bool),
        Rewind,
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..60u64).prop_map(Step::Send),
            4 => (0..4usize).prop_map(Step::Deliver),
            1 => (0..4usize).prop_map(Step::Lose),
            3 => (any::<usize>(), any::<bool>()).prop_map(|(at, keep)| Step::Receipt(at, keep)),
            2 => (any::<usize>(), any::<bool>()).prop_map(|(at, keep)| Step::Replay(at, keep)),
            1 => Just(Step::Rewind),
            1 => Just(Step::Restart),
        ]
    }

    fn pick(from: &mut Vec<u64>, at: usize, keep: bool) -> Option<u64> {
        let index = at.checked_rem(from.len())?;
        Some(if keep { from[index] } else { from.remove(index) })
    }

    proptest! {
        #[test]
        fn every_byte_arrives_and_no_more_than_the_window_is_out(
            steps in proptest::collection::vec(step(), 0..200)
        ) {
            const LENGTH: u64 = 1000;
            let mut window = AttemptWindow::new(LIMIT);
            let mut peer = Peer::default();
            let send = |window: &mut AttemptWindow, peer: &mut Peer, size: u64| {
                let end = (window.next() + size.min(window.available())).min(LENGTH);
                if end > window.next() {
                    peer.chunks.push((window.next(), end));
                    window.sent(end);
                }
            };
            for step in steps {
                match step {
                    Step::Send(size) => send(&mut window, &mut peer, size),
                    Step::Deliver(at) => peer.take(at, false),
                    Step::Lose(at) => peer.take(at, true),
                    Step::Receipt(at, keep) => {
                        if let Some(offset) = pick(&mut peer.receipts, at, keep) { window.receipt(offset); }
                    }
                    Step::Replay(at, keep) => {
                        if let Some(offset) = pick(&mut peer.replays, at, keep) { window.replay(offset); }
                    }
                    Step::Rewind => window.rewind(),
                    Step::Restart => window = AttemptWindow::new(LIMIT),
                }
                prop_assert!(window.in_flight() <= LIMIT);
                prop_assert!(window.receipted() <= peer.has);
                prop_assert!(window.receipted() <= window.next());
            }
            // From any state, sending on and rewinding when nothing moves brings everything across.
            for _ in 0..100 {
                peer.chunks.clear();
                window.rewind();
                send(&mut window, &mut peer, LIMIT);
                peer.take(0, false);
                window.receipt(peer.has);
            }
            prop_assert_eq!(peer.has, LENGTH);
            prop_assert_eq!(window.receipted(), LENGTH);
        }
    }
}
