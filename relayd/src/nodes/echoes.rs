//! Questions to nodes that wait for their answer.

use std::collections::HashMap;
use std::sync::Mutex;

use aegir_protocol::message::Echoed;
use tokio::sync::oneshot;
use uuid::Uuid;

/// The questions that were asked.
#[derive(Default)]
pub struct PendingEchoes(Mutex<HashMap<Uuid, oneshot::Sender<Echoed>>>);

/// A question; forgotten when this goes.
pub struct PendingEcho<'a> {
    /// Its id.
    pub id: Uuid,
    /// The answer.
    pub answer: oneshot::Receiver<Echoed>,
    echoes: &'a PendingEchoes,
}

impl PendingEchoes {
    /// A new question.
    #[must_use]
    pub fn ask(&self) -> PendingEcho<'_> {
        let (sender, answer) = oneshot::channel();
        let id = Uuid::new_v4();
        self.lock().insert(id, sender);
        PendingEcho { id, answer, echoes: self }
    }

    /// An answer has come. To a question that nobody waits for any more it means nothing.
    pub fn answered(&self, echoed: Echoed) {
        if let Some(sender) = self.lock().remove(&echoed.id) {
            let _ = sender.send(echoed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, oneshot::Sender<Echoed>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for PendingEcho<'_> {
    fn drop(&mut self) {
        self.echoes.lock().remove(&self.id);
    }
}
