//! The table of locks, and asking `crate::locks` about it.

use aegir_protocol::operation::{Lock, LockMode};
use sqlx::Row as _;

use super::batch::Batch;
use super::error::StoreError;
use super::rows;
use crate::locks::{Others, Rank, candidates, grantable};

/// Of a thing, the first in rank of those who share it, have it alone, wait to share it, wait to have it alone;
/// each by one look into the index.
const FIRSTS: &str = "\
    SELECT * FROM (SELECT mode, held, rank, operation FROM locks WHERE kind = ?1 AND id = ?2 AND held = 1 \
        AND mode = 'shared' AND operation <> ?3 ORDER BY rank, operation LIMIT 1) \
    UNION ALL \
    SELECT * FROM (SELECT mode, held, rank, operation FROM locks WHERE kind = ?1 AND id = ?2 AND held = 1 \
        AND mode = 'exclusive' AND operation <> ?3 ORDER BY rank, operation LIMIT 1) \
    UNION ALL \
    SELECT * FROM (SELECT mode, held, rank, operation FROM locks WHERE kind = ?1 AND id = ?2 AND held = 0 \
        AND mode = 'shared' AND operation <> ?3 ORDER BY rank, operation LIMIT 1) \
    UNION ALL \
    SELECT * FROM (SELECT mode, held, rank, operation FROM locks WHERE kind = ?1 AND id = ?2 AND held = 0 \
        AND mode = 'exclusive' AND operation <> ?3 ORDER BY rank, operation LIMIT 1)";

impl Batch {
    /// Puts an Operation in the lines for its locks.
    pub(super) async fn request_locks(
        &mut self,
        number: i64,
        priority: u8,
        locks: &[Lock],
    ) -> Result<(), StoreError> {
        for lock in locks {
            sqlx::query(
                "INSERT INTO locks (operation, kind, id, mode, held, rank) VALUES (?1, ?2, ?3, ?4, 0, ?5)",
            )
            .bind(number)
            .bind(lock.kind.as_str())
            .bind(lock.id.as_str())
            .bind(rows::mode(lock.mode))
            .bind(-i64::from(priority))
            .execute(&mut self.connection)
            .await?;
        }
        Ok(())
    }

    /// The same for a further attempt, which wants the same locks. Says whether it has got them.
    pub(super) async fn request_locks_again(&mut self, number: i64) -> Result<bool, StoreError> {
        let text: String = sqlx::query_scalar("SELECT document FROM operations WHERE number = ?1")
            .bind(number)
            .fetch_one(&mut self.connection)
            .await?;
        let operation = rows::document(&text)?;
        self.request_locks(number, operation.priority, &operation.locks).await?;
        self.take_locks(number).await
    }

    /// Takes all locks of a waiting Operation, or none. Says which.
    pub(super) async fn take_locks(&mut self, number: i64) -> Result<bool, StoreError> {
        let locks = sqlx::query("SELECT kind, id, mode, rank FROM locks WHERE operation = ?1")
            .bind(number)
            .fetch_all(&mut self.connection)
            .await?;
        let mut wanted = Vec::with_capacity(locks.len());
        let mut priority = 0;
        for lock in &locks {
            let (kind, id): (&str, &str) = (lock.try_get("kind")?, lock.try_get("id")?);
            priority = priority_of(lock.try_get("rank")?)?;
            wanted.push((rows::lock_mode(lock.try_get("mode")?)?, self.others(number, kind, id).await?));
        }
        if !grantable(Rank::new(priority, number), &wanted) {
            return Ok(false);
        }
        sqlx::query("UPDATE locks SET held = 1 WHERE operation = ?1")
            .bind(number)
            .execute(&mut self.connection)
            .await?;
        Ok(true)
    }

    async fn others(&mut self, number: i64, kind: &str, id: &str) -> Result<Others, StoreError> {
        let firsts =
            sqlx::query(FIRSTS).bind(kind).bind(id).bind(number).fetch_all(&mut self.connection).await?;
        let mut others = Others::default();
        for first in &firsts {
            let rank = Rank::new(priority_of(first.try_get("rank")?)?, first.try_get("operation")?);
            match (rows::lock_mode(first.try_get("mode")?)?, first.try_get("held")?) {
                (LockMode::Shared, true) => others.held_shared = true,
                (LockMode::Exclusive, true) => others.held_exclusive = true,
                (LockMode::Shared, false) => others.waiting_shared = Some(rank),
                (LockMode::Exclusive, false) => others.waiting_exclusive = Some(rank),
            }
        }
        Ok(others)
    }

    /// Lets go of all that an Operation holds or waits for, and gives it to those who may have it now: their
    /// numbers.
    pub(super) async fn release(&mut self, number: i64) -> Result<Vec<i64>, StoreError> {
        let released = sqlx::query("DELETE FROM locks WHERE operation = ?1 RETURNING kind, id, mode")
            .bind(number)
            .fetch_all(&mut self.connection)
            .await?;
        let mut waiters = Vec::new();
        for lock in &released {
            let mode = rows::lock_mode(lock.try_get("mode")?)?;
            let line = self.line(lock.try_get("kind")?, lock.try_get("id")?).await?;
            waiters.extend(candidates(mode, line));
        }
        waiters.sort_unstable();
        waiters.dedup();
        let mut granted = Vec::new();
        for (_, number) in waiters {
            if self.take_locks(number).await? {
                granted.push(number);
            }
        }
        Ok(granted)
    }

    /// Who waits for a thing: all that share up to the first that does not, and that one.
    async fn line(&mut self, kind: &str, id: &str) -> Result<Vec<(LockMode, (Rank, i64))>, StoreError> {
        let exclusive = sqlx::query(
            "SELECT rank, operation FROM locks WHERE kind = ?1 AND id = ?2 AND held = 0 \
             AND mode = 'exclusive' ORDER BY rank, operation LIMIT 1",
        )
        .bind(kind)
        .bind(id)
        .fetch_optional(&mut self.connection)
        .await?;
        let exclusive: Option<(i64, i64)> = exclusive
            .map(|row| Ok::<_, sqlx::Error>((row.try_get("rank")?, row.try_get("operation")?)))
            .transpose()?;
        let (rank, operation) = exclusive.unwrap_or((i64::MAX, i64::MAX));
        let sharing = sqlx::query(
            "SELECT rank, operation FROM locks WHERE kind = ?1 AND id = ?2 AND held = 0 \
             AND mode = 'shared' AND (rank, operation) < (?3, ?4) ORDER BY rank, operation",
        )
        .bind(kind)
        .bind(id)
        .bind(rank)
        .bind(operation)
        .fetch_all(&mut self.connection)
        .await?;
        let mut line = Vec::with_capacity(sharing.len() + 1);
        for row in &sharing {
            line.push((LockMode::Shared, (row.try_get("rank")?, row.try_get("operation")?)));
        }
        line.extend(exclusive.map(|first| (LockMode::Exclusive, first)));
        line.into_iter()
            .map(|(mode, (rank, number))| Ok((mode, (Rank::new(priority_of(rank)?, number), number))))
            .collect()
    }
}

fn priority_of(rank: i64) -> Result<u8, StoreError> {
    rows::read("rank", rank.checked_neg().and_then(|priority| u8::try_from(priority).ok()), rank)
}
