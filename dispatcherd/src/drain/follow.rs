//! The daemon watches `drain` and writes `draining.json`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegir_transcript::WatchError;
use tokio::sync::watch;

use super::files::{Draining, answer, wanted};
use crate::node::Node;
use crate::slots::{Occupancy, SlotEvent};

/// Follows the wish.
#[derive(Debug)]
pub struct Drain {
    /// What it is part of.
    pub node: Arc<Node>,
    /// Where the wish is.
    pub state: PathBuf,
    /// What is left.
    pub occupancy: watch::Receiver<Occupancy>,
}

impl Drain {
    /// Follows the wish until it is dropped.
    pub async fn run(mut self) {
        if let Err(error) = self.follow().await {
            tracing::error!(%error, "`dispatcherd drain` is not heeded any more until the next start");
        }
    }

    async fn follow(&mut self) -> Result<(), WatchError> {
        let mut changes = self.node.shipper.watcher.watch_directory(&self.state)?;
        let (mut told, mut said) = (None, None);
        loop {
            let wanted = wanted(&self.state);
            let occupancy = self.occupancy.borrow_and_update().clone();
            if told != Some(wanted) {
                told = Some(wanted);
                self.node.happened(SlotEvent::Draining(wanted)).await;
            }
            // Not before it is so: somebody may wait for nothing to be left, and switch the machine off then.
            let word = (wanted && occupancy.draining).then(|| Draining {
                process: std::process::id(),
                running: occupancy.running,
                claiming: occupancy.claiming,
                waiting: occupancy.waiting,
            });
            // What can't be written is tried again with the next change; the node drains all the same.
            if said.as_ref() != Some(&word) {
                let (path, saying) = (answer(&self.state), word.clone());
                if self.node.on_disk(move |_| say(&path, saying.as_ref())).await {
                    said = Some(word);
                }
            }
            tokio::select! {
                changed = changes.changed() => changed?,
                changed = self.occupancy.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Leaves the word, or takes it back. Whether that was done.
fn say(path: &Path, word: Option<&Draining>) -> bool {
    let written = match word {
        Some(word) => {
            let bytes = serde_json::to_vec(word).expect("such a word has string keys");
            aegir_service::atomic::write_file(path, &bytes, 0o640)
        }
        None => std::fs::remove_file(path),
    };
    match written {
        Ok(()) => true,
        Err(error) if word.is_none() && error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "what is still running can't be said");
            false
        }
    }
}
