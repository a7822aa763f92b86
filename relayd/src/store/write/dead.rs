//! Keeping and removing dead letters.

use std::sync::Arc;

use aegir_api::KeptBody;
use bytes::Bytes;
use jiff::Timestamp;

use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::rows;
use crate::store::writer::WriteCommand;

/// A letter to be kept.
#[derive(Clone, Debug)]
pub struct NewDeadLetter {
    /// The stable code of why it could not be handled.
    pub code: String,
    pub reason: String,
    /// The queue that it came from.
    pub queue: String,
    /// The exchange that it was published to.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// What its sender says that the body is.
    pub content_type: Option<String>,
    /// Its sender's id of it.
    pub message_id: Option<String>,
    /// When it was buried.
    pub buried_at: Option<Timestamp>,
    /// How often it was replayed before.
    pub replays: u32,
    /// Whether its headers were too large to be kept.
    pub headers_dropped: bool,
    /// The properties as AMQP encodes them.
    pub properties: Bytes,
    /// What is kept of the body.
    pub body: Bytes,
    /// How much of the body that is.
    pub kept: KeptBody,
    /// How many bytes the body had.
    pub size: u64,
    /// What a second delivery has in common with the first.
    pub fingerprint: [u8; 32],
    /// Whether the broker delivered it before.
    pub redelivered: bool,
}

impl NewDeadLetter {
    /// How many bytes are kept of it.
    fn held(&self) -> u64 {
        let texts = [&self.reason, &self.queue, &self.exchange, &self.routing_key];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        (self.body.len() + self.properties.len() + texts) as u64
    }
}

/// Keeps letters. One that the broker delivers again, because the first acknowledgement was lost, is kept once.
#[derive(Debug)]
pub struct InsertDeadLetters(pub Arc<[NewDeadLetter]>);

impl WriteCommand for InsertDeadLetters {
    type Answer = ();

    fn size(&self) -> usize {
        self.0.iter().map(|letter| letter.body.len()).sum()
    }

    async fn apply(&self, batch: &mut Batch) -> Result<(), StoreError> {
        for letter in self.0.iter() {
            batch.keep_letter(letter).await?;
        }
        Ok(())
    }
}

impl Batch {
    async fn keep_letter(&mut self, letter: &NewDeadLetter) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO dead_letters (code, reason, queue, exchange, routing_key, content_type, message_id, \
             buried_at, received_at, replays, headers_dropped, properties, body, kept, size, held, fingerprint) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17 \
             WHERE NOT (?18 AND EXISTS (SELECT 1 FROM dead_letters WHERE fingerprint = ?17))",
        )
        .bind(&letter.code)
        .bind(&letter.reason)
        .bind(&letter.queue)
        .bind(&letter.exchange)
        .bind(&letter.routing_key)
        .bind(&letter.content_type)
        .bind(&letter.message_id)
        .bind(letter.buried_at.map(Timestamp::as_microsecond))
        .bind(self.now)
        .bind(letter.replays)
        .bind(letter.headers_dropped)
        .bind(&letter.properties[..])
        .bind(&letter.body[..])
        .bind(letter.kept.as_str())
        .bind(rows::signed(letter.size))
        .bind(rows::signed(letter.held()))
        .bind(&letter.fingerprint[..])
        .bind(letter.redelivered)
        .execute(&mut self.connection)
        .await?;
        Ok(())
    }
}

/// Removes a letter: it was replayed, or nobody wants it.
#[derive(Debug)]
pub struct DeleteDeadLetter {
    pub id: u64,
}

impl WriteCommand for DeleteDeadLetter {
    /// Whether there was one.
    type Answer = bool;

    async fn apply(&self, batch: &mut Batch) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM dead_letters WHERE number = ?1")
            .bind(rows::signed(self.id))
            .execute(&mut batch.connection)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::store::{AfterCommit, CommitEffects, DeadLetterFilter, Store};

    struct Nothing;

    impl AfterCommit for Nothing {
        fn committed(&self, _: CommitEffects) {}
    }

    fn letter(redelivered: bool) -> NewDeadLetter {
        NewDeadLetter {
            code: "message_malformed".to_owned(),
            reason: "not a message".to_owned(),
            queue: "aegir.control.node1".to_owned(),
            exchange: "aegir.control".to_owned(),
            routing_key: "node1".to_owned(),
            content_type: None,
            message_id: None,
            buried_at: Some(Timestamp::UNIX_EPOCH),
            replays: 2,
            headers_dropped: false,
            properties: Bytes::from_static(b"\0\0"),
            body: Bytes::from_static(b"\xff"),
            kept: KeptBody::Whole,
            size: 1,
            fingerprint: [7; 32],
            redelivered,
        }
    }

    #[tokio::test]
    async fn a_letter_that_is_delivered_again_is_kept_once_and_its_twin_twice() {
        let directory = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&directory.path().join("relayd.db")).await.unwrap();
        let cancel = CancellationToken::new();
        let writing = tokio::spawn(writer.run(Arc::new(Nothing), cancel.clone()));
        for (redelivered, count) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
            store.write(InsertDeadLetters([letter(redelivered)].into())).await.unwrap();
            assert_eq!(store.dead_letters_kept().await.unwrap().count, count);
        }
        let list =
            store.dead_letters(&DeadLetterFilter { limit: Some(1), ..Default::default() }).await.unwrap();
        assert_eq!((list.letters[0].id, list.next, list.letters[0].replays), (2, Some(2), 2));
        assert!(store.write(DeleteDeadLetter { id: 2 }).await.unwrap());
        assert!(!store.write(DeleteDeadLetter { id: 2 }).await.unwrap());
        // A number is never given twice.
        store.write(InsertDeadLetters([letter(false)].into())).await.unwrap();
        let (_, original) = store.dead_letter(3).await.unwrap().unwrap();
        assert_eq!((&original.body[..], &original.properties[..]), (&b"\xff"[..], &b"\0\0"[..]));
        let other = DeadLetterFilter { queue: Some("elsewhere".to_owned()), ..Default::default() };
        assert_eq!(store.dead_letters(&other).await.unwrap().letters, []);
        store.close_readers().await;
        cancel.cancel();
        writing.await.unwrap();
    }
}
