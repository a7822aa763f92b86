//! Pieces of transcripts.

use aegir_protocol::id::{Attempt, OperationId};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use sqlx::Row as _;

use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::rows;

/// A piece of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranscriptPiece {
    /// Of which attempt.
    pub attempt: Attempt,
    /// The number of the first record here. In a piece asked for by byte offset: of the record that the first
    /// byte belongs to.
    pub first_seq: u64,
    /// Where in the transcript the first byte is.
    pub offset: u64,
    /// The piece. Asked for by record, it holds whole records; asked for by offset, any bytes.
    pub bytes: Bytes,
    /// Whether this reaches the end of what is stored now.
    pub end: bool,
    /// Whether what is stored now has its `finished` record, so that nothing more will come.
    pub complete: bool,
}

/// An attempt's row, as far as reading its transcript needs it.
struct Stored {
    operation: i64,
    attempt: Attempt,
    bytes: u64,
    records: u64,
    closed: bool,
}

/// From where to read.
#[derive(Clone, Copy)]
enum StartAt {
    Record(u64),
    Byte(u64),
}

impl Store {
    /// Whole records from number `from_seq` (at least 1) on: as many as fit `max_bytes`, but at least one.
    /// `None` when there is no such attempt.
    pub(crate) async fn records(
        &self,
        id: OperationId,
        attempt: Option<Attempt>,
        from_seq: u64,
        max_bytes: usize,
    ) -> Result<Option<TranscriptPiece>, StoreError> {
        self.piece(id, attempt, StartAt::Record(from_seq.max(1)), max_bytes).await
    }

    /// Bytes from `offset` on, `max_bytes` at most. `None` when there is no such attempt.
    pub(crate) async fn raw(
        &self,
        id: OperationId,
        attempt: Option<Attempt>,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<TranscriptPiece>, StoreError> {
        self.piece(id, attempt, StartAt::Byte(offset), max_bytes.max(1)).await
    }

    async fn piece(
        &self,
        id: OperationId,
        attempt: Option<Attempt>,
        from: StartAt,
        max_bytes: usize,
    ) -> Result<Option<TranscriptPiece>, StoreError> {
        // One transaction: the transcript can be dropped and sent anew while it is read.
        let mut read = self.readers.begin().await?;
        let row = sqlx::query(
            "SELECT a.operation, a.attempt, a.bytes, a.records, a.closed FROM operations o \
             JOIN attempts a ON a.operation = o.number AND a.attempt = coalesce(?2, o.attempt) \
             WHERE o.id = ?1",
        )
        .bind(id.to_string())
        .bind(attempt.map(Attempt::get))
        .fetch_optional(&mut *read)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let stored = Stored {
            operation: row.try_get("operation")?,
            attempt: rows::attempt(row.try_get("attempt")?)?,
            bytes: rows::unsigned("bytes", row.try_get("bytes")?)?,
            records: rows::unsigned("records", row.try_get("records")?)?,
            closed: row.try_get("closed")?,
        };
        let mut piece = TranscriptPiece {
            attempt: stored.attempt,
            first_seq: stored.records + 1,
            offset: stored.bytes,
            bytes: Bytes::new(),
            end: true,
            complete: stored.closed,
        };
        let beyond = match from {
            StartAt::Record(seq) => seq > stored.records,
            StartAt::Byte(offset) => offset >= stored.bytes,
        };
        if beyond {
            return Ok(Some(piece));
        }
        let statement = match from {
            StartAt::Record(_) => {
                "SELECT start, first_seq, bytes FROM chunks WHERE operation = ?1 AND attempt = ?2 AND \
                 first_seq >= (SELECT max(first_seq) FROM chunks WHERE operation = ?1 AND attempt = ?2 AND \
                 first_seq <= ?3) ORDER BY first_seq"
            }
            StartAt::Byte(_) => {
                "SELECT start, first_seq, bytes FROM chunks WHERE operation = ?1 AND attempt = ?2 AND \
                 start >= (SELECT max(start) FROM chunks WHERE operation = ?1 AND attempt = ?2 AND \
                 start <= ?3) ORDER BY start"
            }
        };
        let wanted = match from {
            StartAt::Record(seq) => seq,
            StartAt::Byte(offset) => offset,
        };
        let mut bytes = BytesMut::new();
        let mut chunks = sqlx::query(statement)
            .bind(stored.operation)
            .bind(stored.attempt.get())
            .bind(rows::signed(wanted))
            .fetch(&mut *read);
        let mut cut = false;
        while let Some(row) = chunks.try_next().await? {
            let chunk: &[u8] = row.try_get("bytes")?;
            let mut rest = chunk;
            if bytes.is_empty() {
                let start = rows::unsigned("start", row.try_get("start")?)?;
                let first_seq = rows::unsigned("first_seq", row.try_get("first_seq")?)?;
                let (skip, seq) = skip(chunk, start, first_seq, from);
                rest = &chunk[skip..];
                piece.offset = start + skip as u64;
                piece.first_seq = seq;
            }
            let room = max_bytes.saturating_sub(bytes.len());
            if rest.len() <= room {
                bytes.extend_from_slice(rest);
                continue;
            }
            let fits = match from {
                StartAt::Byte(_) => room,
                StartAt::Record(_) => whole_records(rest, room, bytes.is_empty()),
            };
            bytes.extend_from_slice(&rest[..fits]);
            cut = fits < rest.len();
            break;
        }
        let reached = piece.offset + bytes.len() as u64;
        piece.end = !cut && reached >= stored.bytes;
        piece.bytes = bytes.freeze();
        Ok(Some(piece))
    }
}

/// How many bytes of a chunk lie before what is wanted, and the number of the record that follows them.
fn skip(chunk: &[u8], start: u64, first_seq: u64, from: StartAt) -> (usize, u64) {
    match from {
        StartAt::Record(seq) => {
            let before = seq.saturating_sub(first_seq);
            let mut skipped = 0;
            for _ in 0..before {
                let Some(newline) = chunk[skipped..].iter().position(|&byte| byte == b'\n') else { break };
                skipped += newline + 1;
            }
            (skipped, first_seq + before)
        }
        StartAt::Byte(offset) => {
            let skipped = usize::try_from(offset - start).map_or(chunk.len(), |skip| skip.min(chunk.len()));
            let records = chunk[..skipped].iter().filter(|&&byte| byte == b'\n').count();
            (skipped, first_seq + records as u64)
        }
    }
}

/// How many bytes of whole records fit; of the very first record all, if it must be.
fn whole_records(rest: &[u8], room: usize, at_least_one: bool) -> usize {
    let fits = rest[..room].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    if fits == 0 && at_least_one {
        return rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |newline| newline + 1);
    }
    fits
}
