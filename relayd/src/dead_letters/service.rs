//! Dead letters, for those who look after them.

use std::sync::Arc;

use aegir_amqp::Publisher;
use aegir_api::{DeadLetterDetail, DeadLetterList};
use aegir_protocol::code::Code;
use aegir_protocol::problem::Problem;

use tokio::sync::{Mutex, Notify};

use crate::store::write::DeleteDeadLetter;
use crate::store::{DeadLetterFilter, Store};

/// The dead letters that are kept.
pub struct DeadLetters {
    /// Where they are.
    pub store: Store,
    /// For publishing them again.
    pub publisher: Publisher,
    /// Told when some were removed.
    pub removed: Arc<Notify>,
    /// Held while one is replayed.
    pub replaying: Mutex<()>,
}

impl DeadLetters {
    /// A page of dead letters, newest first.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn list(&self, filter: &DeadLetterFilter) -> Result<DeadLetterList, Problem> {
        Ok(self.store.dead_letters(filter).await?)
    }

    /// A dead letter with its body.
    ///
    /// # Errors
    /// When there is none.
    pub async fn show(&self, id: u64) -> Result<DeadLetterDetail, Problem> {
        let found = self.store.dead_letter(id).await?;
        let (letter, original) = found.ok_or_else(|| no_such_letter(id))?;
        Ok(DeadLetterDetail::new(letter, &original.body))
    }

    /// Removes a dead letter.
    ///
    /// # Errors
    /// When there is none.
    pub async fn drop_letter(&self, id: u64) -> Result<(), Problem> {
        if !self.remove(id).await? {
            return Err(no_such_letter(id));
        }
        tracing::info!(id, "dead letter dropped");
        Ok(())
    }

    pub(super) async fn remove(&self, id: u64) -> Result<bool, Problem> {
        let removed = self.store.write(DeleteDeadLetter { id }).await?;
        self.removed.notify_one();
        Ok(removed)
    }

    /// What is to be said of dead letters beside a verdict; nothing while there are none.
    pub(crate) async fn note(&self) -> Result<String, Problem> {
        let kept = self.store.dead_letters_kept().await?;
        Ok(match (kept.count, kept.full) {
            (0, _) => String::new(),
            (count, false) => format!("; {count} dead letters, see `aegir dead ls`"),
            (count, true) => format!(
                "; {count} dead letters, the most that relayd keeps; further ones stay in the queue aegir.dead until \
                 you replay or drop some, see `aegir dead ls`"
            ),
        })
    }
}

pub(super) fn no_such_letter(id: u64) -> Problem {
    Problem::new(Code::NoSuchDeadLetter, format!("unknown dead letter {id}: `aegir dead ls` lists them"))
}
