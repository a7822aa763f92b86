//! Publishing a dead letter again.

use aegir_amqp::PublishError;
use aegir_amqp::dead::ReplayError;
use aegir_api::{DeadLetter, KeptBody};
use aegir_protocol::code::Code;
use aegir_protocol::problem::Problem;

use super::service::{DeadLetters, no_such_letter};

impl DeadLetters {
    /// Publishes a dead letter to where it came from, and removes it once the broker has confirmed that. If relayd
    /// ends between the two, the letter stays and the message is there as well.
    ///
    /// # Errors
    /// When there is none, it is incomplete, or the broker does not take it. It stays then.
    pub async fn replay(&self, id: u64) -> Result<DeadLetter, Problem> {
        // One at a time, so that two who ask for the same publish it once.
        let _turn = self.replaying.lock().await;
        let found = self.store.dead_letter(id).await?;
        let (letter, original) = found.ok_or_else(|| no_such_letter(id))?;
        match letter.body {
            KeptBody::Whole => {}
            KeptBody::Redacted | KeptBody::Removed => return Err(incomplete(id)),
        }
        let published = self.publisher.replay(original, letter.replays + 1).await;
        published.map_err(|error| not_published(&letter, &error))?;
        self.remove(id).await?;
        tracing::info!(id, queue = letter.queue, code = letter.code, "dead letter replayed");
        Ok(letter)
    }
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
