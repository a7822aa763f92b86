//! Checking a transcript while its records come in: numbers without a gap, `finished` last, its count and
//! digest right.

use aegir_protocol::limits::MAX_RECORD;
use aegir_protocol::record::{Finished, Header, Record};

use crate::digest::Digest;

/// What is known of a transcript from its start up to an offset.
///
/// It reads each record's header and leaves the body as it is; the digest over all bytes is what takes the
/// time. To go on after a restart, feed it the bytes that are stored.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    offset: u64,
    records: u64,
    digest: Digest,
    finished: Option<Finished>,
    error: Option<VerifyError>,
}

/// What is wrong with a transcript. Offsets are in bytes from its start, of the line in question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A line that is not a record.
    #[error("the line at {offset} bytes is not a record: {message}")]
    NotARecord {
        offset: u64,
        /// What was expected.
        message: String,
    },
    /// A line that is longer than a record may be.
    #[error("the line at {offset} bytes is {bytes} bytes long, more than the {MAX_RECORD} of a record")]
    TooLong { offset: u64, bytes: usize },
    /// A line without its end.
    #[error("the line at {offset} bytes is torn")]
    Torn { offset: u64 },
    /// A record is missing, repeated or out of order.
    #[error("the record at {offset} bytes has number {found} instead of {expected}")]
    Sequence {
        offset: u64,
        /// One more than the one before.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// Something follows `finished`.
    #[error("the line at {offset} bytes follows the finished record")]
    AfterFinished { offset: u64 },
    /// `finished` states another number of records.
    #[error("there are {counted} records, but the finished record states {stated}")]
    Count {
        /// In `finished`.
        stated: u64,
        /// Here.
        counted: u64,
    },
    /// `finished` states another digest: a byte before it was changed.
    #[error("the SHA-256 is {computed}, but the finished record states {stated}")]
    Digest {
        /// In `finished`.
        stated: String,
        /// Of the bytes here.
        computed: String,
    },
}

impl Verifier {
    /// At the start of a transcript.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes were fed.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many lines were fed.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The `finished` record, once it was fed.
    #[must_use]
    pub fn finished(&self) -> Option<&Finished> {
        self.finished.as_ref()
    }

    /// The first thing that was found wrong.
    #[must_use]
    pub fn error(&self) -> Option<&VerifyError> {
        self.error.as_ref()
    }

    /// Whether the transcript is whole, and is what its writer wrote.
    #[must_use]
    pub fn matches(&self) -> bool {
        self.finished.is_some() && self.error.is_none()
    }

    /// Goes on with whole lines, and hands each that has a valid header to `visit`, with the offset at which
    /// it begins.
    ///
    /// All bytes are counted, whatever is wrong with them: a damaged transcript can still be read.
    ///
    /// # Errors
    /// The first thing that was ever found wrong, now or in an earlier call.
    pub fn push(&mut self, bytes: &[u8], mut visit: impl FnMut(u64, &Header<'_>)) -> Result<(), VerifyError> {
        let mut start = 0;
        // The digest takes many lines at once; only before a `finished` record it has to be up to date.
        let mut digested = 0;
        while start < bytes.len() {
            let newline = memchr::memchr(b'\n', &bytes[start..]);
            let end = newline.map_or(bytes.len(), |newline| start + newline + 1);
            let (line, offset) = (&bytes[start..end], self.offset + start as u64);
            self.records += 1;
            if newline.is_none() {
                self.wrong(VerifyError::Torn { offset });
            }
            if line.len() > MAX_RECORD {
                self.wrong(VerifyError::TooLong { offset, bytes: line.len() });
            }
            if self.finished.is_some() {
                self.wrong(VerifyError::AfterFinished { offset });
            }
            match Header::read(line) {
                Ok(header) => {
                    if header.kind == "finished" {
                        self.digest.update(&bytes[digested..start]);
                        digested = start;
                        self.finish(offset, &header);
                    }
                    self.check_number(offset, header.seq);
                    visit(offset, &header);
                }
                Err(error) => self.wrong(VerifyError::NotARecord { offset, message: error.0 }),
            }
            start = end;
        }
        self.digest.update(&bytes[digested..]);
        self.offset += bytes.len() as u64;
        self.error.clone().map_or(Ok(()), Err)
    }

    fn check_number(&mut self, offset: u64, found: u64) {
        if found != self.records {
            self.wrong(VerifyError::Sequence { offset, expected: self.records, found });
        }
    }

    fn finish(&mut self, offset: u64, header: &Header<'_>) {
        let finished = match header.record() {
            Ok(Some(Record::Finished(finished))) => finished,
            Ok(_) => return,
            Err(error) => return self.wrong(VerifyError::NotARecord { offset, message: error.0 }),
        };
        let computed = self.digest.hex();
        if finished.records != self.records {
            self.wrong(VerifyError::Count { stated: finished.records, counted: self.records });
        }
        if finished.sha256 != computed {
            self.wrong(VerifyError::Digest { stated: finished.sha256.clone(), computed });
        }
        self.finished.get_or_insert(finished);
    }

    fn wrong(&mut self, error: VerifyError) {
        self.error.get_or_insert(error);
    }
}
