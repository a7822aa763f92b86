//! Reading a long answer to its end, however often the connection breaks in between.
//!
//! relayd closes a connection whose client takes nothing for some minutes, as one behind a pager that somebody leaves open
//! does. What was asked for is still there: it is asked for again from where the first answer broke off.

use std::time::Duration;

use reqwest::{Method, Response};

use crate::client::Client;
use crate::error::{ClientError, chain};

/// How often it is asked for again without any news before that is an error.
const TRIES: u32 = 5;
/// The pause before the second of them; it doubles. The first comes at once: a client that was slow finds relayd there.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Who takes an answer, and knows how far it has come.
pub trait Sink {
    /// Why it may not go on.
    type Error: From<ClientError>;

    /// What is still to be asked for.
    fn path(&self) -> String;

    /// Takes a piece of an answer to [`path`](Self::path); whether there is anything new in it.
    ///
    /// # Errors
    /// When it can't be shown.
    fn take(&mut self, piece: &[u8]) -> Result<bool, Self::Error>;

    /// The answer broke off: what follows answers [`path`](Self::path) as it is now.
    fn broke_off(&mut self);

    /// Whether an answer that has ended here holds all that earlier ones did. One that does not is no end.
    fn is_whole(&self) -> bool {
        true
    }
}

impl Client {
    /// Gives all of an answer to a sink.
    ///
    /// # Errors
    /// When relayd can't be reached the first time, refuses, or the answer breaks off again and again at the same place;
    /// and when the sink can't go on.
    pub async fn download<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let ask = async |sink: &S| self.stream(self.request(Method::GET, &sink.path())).await;
        let mut response = ask(sink).await?;
        let mut tries = 0;
        while let Some(error) = read(&mut response, sink, &mut tries).await? {
            sink.broke_off();
            response = loop {
                if tries == TRIES {
                    return Err(error.into());
                }
                if tries > 0 {
                    tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(tries - 1)).await;
                }
                tries += 1;
                match ask(sink).await {
                    Ok(response) => break response,
                    Err(error) if error.is_transient() => {}
                    Err(error) => return Err(error.into()),
                }
            };
        }
        Ok(())
    }
}

/// Reads to the end, or to where the answer breaks off: why, then. With anything new, `tries` begins anew.
async fn read<S: Sink>(
    response: &mut Response,
    sink: &mut S,
    tries: &mut u32,
) -> Result<Option<ClientError>, S::Error> {
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => {
                if sink.take(&piece)? {
                    *tries = 0;
                }
            }
            Ok(None) if sink.is_whole() => return Ok(None),
            Ok(None) => {
                return Ok(Some(ClientError::BrokeOff("it is shorter than it was before".to_owned())));
            }
            Err(error) => return Ok(Some(ClientError::BrokeOff(chain(&error)))),
        }
    }
}

/// Bytes that are the same whenever they are asked for: what was seen of them is passed over.
pub struct Bytes<P> {
    path: String,
    print: P,
    /// How many were seen.
    seen: u64,
    /// Where the next piece of this answer begins.
    at: u64,
}

impl<E: From<ClientError>, P: FnMut(&[u8]) -> Result<(), E>> Bytes<P> {
    /// From the first on.
    pub fn new(path: String, print: P) -> Self {
        Self { path, print, seen: 0, at: 0 }
    }
}

impl<E: From<ClientError>, P: FnMut(&[u8]) -> Result<(), E>> Sink for Bytes<P> {
    type Error = E;

    fn path(&self) -> String {
        self.path.clone()
    }

    fn take(&mut self, piece: &[u8]) -> Result<bool, E> {
        let passed = usize::try_from(self.seen - self.at).unwrap_or(usize::MAX).min(piece.len());
        self.at += piece.len() as u64;
        let new = &piece[passed..];
        if new.is_empty() {
            return Ok(false);
        }
        self.seen = self.at;
        (self.print)(new).map(|()| true)
    }

    fn broke_off(&mut self) {
        self.at = 0;
    }

    fn is_whole(&self) -> bool {
        self.at >= self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_of_an_answer_is_passed_over() {
        let mut printed = Vec::new();
        let mut bytes = Bytes::new("/x".to_owned(), |piece: &[u8]| {
            printed.extend_from_slice(piece);
            Ok::<_, ClientError>(())
        });
        let mut take = |piece: &str| bytes.take(piece.as_bytes()).unwrap();
        assert!(take("ab") && take("cd"));
        bytes.broke_off();
        let mut take = |piece: &str| bytes.take(piece.as_bytes()).unwrap();
        assert!(!take("a") && !take("bc"));
        assert!(!bytes.is_whole());
        let mut take = |piece: &str| bytes.take(piece.as_bytes()).unwrap();
        assert!(take("de"));
        assert!(bytes.is_whole());
        bytes.broke_off();
        let mut take = |piece: &str| bytes.take(piece.as_bytes()).unwrap();
        assert!(take("abcdef") && !take(""));
        assert_eq!(printed, b"abcdef");
    }
}
