//! Dead letters.

use aegir_amqp::dead::Original;
use aegir_api::{DeadLetter, DeadLetterList, DeadLettersKept, KeptBody};
use aegir_protocol::limits::{MAX_DEAD_LETTER_BYTES, MAX_DEAD_LETTERS};
use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::rows;

/// The most letters on a page of the list.
const MAX_PAGE: u32 = 500;
/// How many there are on a page when nobody says.
const PAGE: u32 = 50;

/// Which letters to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// Only those with this code.
    pub code: Option<String>,
    /// Only those from this queue.
    pub queue: Option<String>,
    /// How many at most; 50 when absent, 500 at most.
    pub limit: Option<u32>,
    /// Only those that came before this one.
    pub before: Option<u64>,
}

const COLUMNS: &str = "SELECT number, code, reason, queue, exchange, routing_key, content_type, message_id, \
                       buried_at, received_at, replays, headers_dropped, kept, size FROM dead_letters";

fn letter(row: &SqliteRow) -> Result<DeadLetter, StoreError> {
    let buried_at: Option<i64> = row.try_get("buried_at")?;
    let kept: String = row.try_get("kept")?;
    Ok(DeadLetter {
        id: rows::unsigned("number", row.try_get("number")?)?,
        code: row.try_get("code")?,
        reason: row.try_get("reason")?,
        queue: row.try_get("queue")?,
        exchange: row.try_get("exchange")?,
        routing_key: row.try_get("routing_key")?,
        content_type: row.try_get("content_type")?,
        message_id: row.try_get("message_id")?,
        buried_at: buried_at.map(rows::time).transpose()?,
        received_at: rows::time(row.try_get("received_at")?)?,
        size: rows::unsigned("size", row.try_get("size")?)?,
        body: rows::read("kept", KeptBody::from_word(&kept), &kept)?,
        headers_dropped: row.try_get("headers_dropped")?,
        replays: row.try_get("replays")?,
    })
}

impl Store {
    /// A page of letters, newest first, and how many there are in all.
    pub(crate) async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<DeadLetterList, StoreError> {
        let limit = filter.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push(" WHERE true");
        if let Some(code) = &filter.code {
            query.push(" AND code = ").push_bind(code);
        }
        if let Some(queue) = &filter.queue {
            query.push(" AND queue = ").push_bind(queue);
        }
        if let Some(before) = filter.before {
            query.push(" AND number < ").push_bind(rows::signed(before));
        }
        // One more than the page holds tells whether there is another.
        query.push(" ORDER BY number DESC LIMIT ").push_bind(i64::from(limit) + 1);
        let found = query.build().fetch_all(&self.readers).await?;
        let mut letters = found.iter().map(letter).collect::<Result<Vec<_>, _>>()?;
        let more = letters.len() > limit as usize;
        letters.truncate(limit as usize);
        let next = letters.last().filter(|_| more).map(|last| last.id);
        Ok(DeadLetterList { letters, next, kept: self.dead_letters_kept().await? })
    }

    /// A letter, and the message to be published again.
    pub(crate) async fn dead_letter(&self, id: u64) -> Result<Option<(DeadLetter, Original)>, StoreError> {
        let row = sqlx::query("SELECT * FROM dead_letters WHERE number = ?1")
            .bind(rows::signed(id))
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let bytes = |column: &str| row.try_get::<Vec<u8>, _>(column).map(Bytes::from);
        let letter = letter(&row)?;
        let original = Original {
            exchange: letter.exchange.clone(),
            routing_key: letter.routing_key.clone(),
            properties: bytes("properties")?,
            body: bytes("body")?,
        };
        Ok(Some((letter, original)))
    }

    /// How many there are.
    pub(crate) async fn dead_letters_kept(&self) -> Result<DeadLettersKept, StoreError> {
        let row = sqlx::query("SELECT count(*) AS count, coalesce(sum(held), 0) AS bytes FROM dead_letters")
            .fetch_one(&self.readers)
            .await?;
        let count = rows::unsigned("count", row.try_get("count")?)?;
        let bytes = rows::unsigned("bytes", row.try_get("bytes")?)?;
        Ok(DeadLettersKept { count, bytes, full: is_full(count, bytes) })
    }
}

/// Whether this is as much as is kept.
pub(crate) fn is_full(count: u64, bytes: u64) -> bool {
    count >= MAX_DEAD_LETTERS || bytes >= MAX_DEAD_LETTER_BYTES
}
