//! Sealing: a secret leaves relayd, and is stored, only as what its backend alone can open.

use age::x25519::Recipient;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Why a secret can't be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The backend's key is none.
    #[error("the backend's public key is not an age recipient: {0}")]
    Recipient(&'static str),
    /// age gives up.
    #[error("age can't encrypt: {0}")]
    Encrypt(#[from] age::EncryptError),
}

/// A backend's public key.
#[derive(Clone, Debug)]
pub struct Seal(Recipient);

impl Seal {
    /// The seal for a catalog's `recipient`.
    ///
    /// # Errors
    /// When that is not an age recipient.
    pub fn new(recipient: &str) -> Result<Self, SealError> {
        recipient.parse().map(Self).map_err(SealError::Recipient)
    }

    /// The value of the field `sealed`: an age file, in base64.
    ///
    /// # Errors
    /// When age gives up.
    pub fn seal(&self, plain: &str) -> Result<String, SealError> {
        Ok(STANDARD.encode(age::encrypt(&self.0, plain.as_bytes())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_backend_opens_it() {
        let identity = age::x25519::Identity::generate();
        let seal = Seal::new(&identity.to_public().to_string()).unwrap();
        let plain = "a secret\nof two lines";
        let sealed = STANDARD.decode(seal.seal(plain).unwrap()).unwrap();
        assert!(!sealed.windows(6).any(|window| window == &plain.as_bytes()[..6]));
        assert_eq!(age::decrypt(&identity, &sealed).unwrap(), plain.as_bytes());
        assert!(age::decrypt(&age::x25519::Identity::generate(), &sealed).is_err());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(Seal::new("not a key").is_err());
    }
}
