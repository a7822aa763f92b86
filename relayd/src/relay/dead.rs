//! Dead letters, for those who look after them.

use aegir_amqp::PublishError;
use aegir_amqp::dead::ReplayError;
use aegir_protocol::api::Problem;
use aegir_protocol::code::Code;
use aegir_protocol::dead_letter::{DeadLetter, DeadLetterDetail, DeadLetterList, KeptBody};

use super::Relay;
use crate::store::DeadLetterFilter;
use crate::store::write::DeleteDeadLetter;

impl Relay {
    /// A page of dead letters, newest first.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<DeadLetterList, Problem> {
        Ok(self.0.store.dead_letters(filter).await?)
    }

    /// A dead letter with its body.
    ///
    /// # Errors
    /// When there is none.
    pub async fn dead_letter(&self, id: u64) -> Result<DeadLetterDetail, Problem> {
        let found = self.0.store.dead_letter(id).await?;
        let (letter, original) = found.ok_or_else(|| no_such_letter(id))?;
        Ok(DeadLetterDetail::new(letter, &original.body))
    }

    /// Publishes a dead letter to where it came from, and removes it once the broker has confirmed that. If relayd
    /// ends between the two, the letter stays and the message is there as well.
    ///
    /// # Errors
    /// When there is none, it is incomplete, or the broker does not take it. It stays then.
    pub async fn replay_dead_letter(&self, id: u64) -> Result<DeadLetter, Problem> {
        // One at a time, so that two who ask for the same publish it once.
        let _turn = self.0.replaying.lock().await;
        let found = self.0.store.dead_letter(id).await?;
        let (letter, original) = found.ok_or_else(|| no_such_letter(id))?;
        match letter.body {
            KeptBody::Whole => {}
            KeptBody::Redacted | KeptBody::Removed => return Err(incomplete(id)),
        }
        let published = self.0.link.publisher().replay(original, letter.replays + 1).await;
        published.map_err(|error| not_published(&letter, &error))?;
        self.remove(id).await?;
        tracing::info!(id, queue = letter.queue, code = letter.code, "dead letter replayed");
        Ok(letter)
    }

    /// Removes a dead letter.
    ///
    /// # Errors
    /// When there is none.
    pub async fn drop_dead_letter(&self, id: u64) -> Result<(), Problem> {
        if !self.remove(id).await? {
            return Err(no_such_letter(id));
        }
        tracing::info!(id, "dead letter dropped");
        Ok(())
    }

    async fn remove(&self, id: u64) -> Result<bool, Problem> {
        let removed = self.0.store.write(DeleteDeadLetter { id }).await?;
        self.0.dead_removed.notify_one();
        Ok(removed)
    }

    /// What is to be said of dead letters beside a verdict; nothing while there are none.
    pub(super) async fn dead_letters_note(&self) -> Result<String, Problem> {
        let kept = self.0.store.dead_letters_kept().await?;
        Ok(match (kept.count, kept.full) {
            (0, _) => String::new(),
            (count, false) => format!("; {count} dead letters, see `aegir dead ls`"),
            (count, true) => format!(
                "; {count} dead letters, and no more are kept: the rest waits in the queue aegir.dead until some \
                 are replayed or dropped, see `aegir dead ls`"
            ),
        })
    }
}

fn no_such_letter(id: u64) -> Problem {
    Problem::new(Code::NoSuchDeadLetter, format!("there is no dead letter {id}: `aegir dead ls` lists them"))
}

fn incomplete(id: u64) -> Problem {
    let detail = format!(
        "dead letter {id} is not whole: it may have held secrets in the clear, and they were removed. Have its sender \
         send it again, sealed or by HTTP, then drop it"
    );
    Problem::new(Code::DeadLetterIncomplete, detail)
}

fn not_published(letter: &DeadLetter, error: &ReplayError) -> Problem {
    let id = letter.id;
    let code = match error {
        ReplayError::Publish(PublishError::Unroutable { .. }) => Code::DeadLetterUnroutable,
        ReplayError::Publish(error) if error.is_transient() => Code::BrokerUnavailable,
        ReplayError::Publish(_) | ReplayError::Properties => Code::Internal,
    };
    Problem::new(code, format!("dead letter {id} was not replayed and is still here: {error}"))
}
