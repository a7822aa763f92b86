//! The SHA-256 that a transcript carries in its `finished` record.

use sha2::{Digest as _, Sha256};

/// SHA-256 over all bytes so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digest(Sha256);

impl Digest {
    /// Goes on with these bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest so far, in lower-case hex. More bytes may follow.
    pub(crate) fn hex(&self) -> String {
        hex::encode(self.0.clone().finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_after_it_was_read() {
        let mut digest = Digest::default();
        digest.update(b"a");
        assert_ne!(digest.hex(), "");
        digest.update(b"bc");
        assert_eq!(digest.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
