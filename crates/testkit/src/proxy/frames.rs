//! Telling AMQP's frames apart: type (1 byte), channel (2), length (4), payload, end (1).

/// The type of a method frame, which is the first that a broker sends.
const METHOD: u8 = 1;
const HEARTBEAT: u8 = 8;
const HEADER: usize = 7;
/// A whole heartbeat.
const BEAT: [u8; 8] = [HEARTBEAT, 0, 0, 0, 0, 0, 0, 0xCE];

/// What a broker has sent and was not passed on yet.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Whole frames that wait.
    held: Vec<u8>,
    /// The start of a frame.
    partial: Vec<u8>,
    /// Whether these are frames at all: not over TLS.
    opaque: Option<bool>,
}

impl Frames {
    /// Takes what the broker sends.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        if self.opaque.is_none() {
            self.opaque = self.partial.first().map(|first| *first != METHOD);
        }
    }

    /// What may go on now, in order, except that heartbeats overtake what is held. A broker that sends something else
    /// sends no heartbeats meanwhile, so that one goes in the place of what is held.
    pub(crate) fn pull(&mut self, heartbeats_only: bool) -> Vec<u8> {
        if self.opaque == Some(true) {
            return std::mem::take(&mut self.partial);
        }
        let mut heartbeats = Vec::new();
        let mut start = 0;
        while let Some(length) = frame_length(&self.partial[start..]) {
            let frame = &self.partial[start..start + length];
            if frame[0] == HEARTBEAT { &mut heartbeats } else { &mut self.held }.extend_from_slice(frame);
            start += length;
        }
        self.partial.drain(..start);
        if heartbeats_only {
            if heartbeats.is_empty() && start > 0 {
                heartbeats.extend_from_slice(&BEAT);
            }
            return heartbeats;
        }
        let mut out = std::mem::take(&mut self.held);
        out.extend_from_slice(&heartbeats);
        out
    }
}

/// The length of the first frame, if all of it is there.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(bytes.get(3..HEADER)?.try_into().ok()?);
    let whole = HEADER + usize::try_from(length).ok()? + 1;
    (bytes.len() >= whole).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1], &length[..], payload, &[0xCE]].concat()
    }

    #[test]
    fn heartbeats_overtake_what_is_held_and_nothing_is_lost() {
        let (first, beat, second) = (frame(1, b"start"), BEAT.to_vec(), frame(3, b"body"));
        let all = [first.clone(), beat, second.clone()].concat();
        for cut in 0..all.len() {
            let mut frames = Frames::default();
            frames.push(&all[..cut]);
            let mut early = frames.pull(true);
            frames.push(&all[cut..]);
            early.extend(frames.pull(true));
            assert!(!early.is_empty() && early.chunks(BEAT.len()).all(|chunk| chunk == BEAT), "cut at {cut}");
            assert_eq!(frames.pull(false), [first.clone(), second.clone()].concat(), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_amqp_passes_as_it_is() {
        let mut frames = Frames::default();
        frames.push(&[22, 3, 3]);
        assert_eq!(frames.pull(true), [22, 3, 3]);
    }
}
