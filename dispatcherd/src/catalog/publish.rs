//! Telling the frontends what this backend can do: whenever the session comes up, and whenever it changes.

use std::sync::Arc;
use std::time::Duration;

use aegir_amqp::PublishError;
use aegir_protocol::catalog::Catalog;
use aegir_protocol::limits::MAX_MESSAGE;
use aegir_protocol::message;
use aegir_protocol::name::FrontendName;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Library;
use crate::frontends::Frontends;

/// How often the directories are looked at: whoever writes a role wants to run it at once.
const LOOK: Duration = Duration::from_secs(2);

/// Keeps the catalog current, and the frontends informed.
#[derive(Debug)]
pub struct Announcer {
    /// Where the roles are.
    pub library: Library,
    /// Who is told.
    pub to: Vec<FrontendName>,
    /// The way to them.
    pub frontends: Frontends,
    /// What the planner uses; none until there was room for copies of the roles.
    pub catalog: watch::Sender<Option<Arc<Catalog>>>,
    /// Reads the directories again at once.
    pub reload: Signal,
}

impl Announcer {
    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let mut status = self.frontends.status();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fingerprint = None;
        let mut untold = true;
        loop {
            tokio::select! {
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // A relayd that was away, or a new store behind it, must hear it all.
                    untold |= status.borrow_and_update().is_up();
                }
                _ = ticks.tick() => untold |= self.look(&mut fingerprint, false).await,
                _ = self.reload.recv() => {
                    untold |= self.look(&mut fingerprint, true).await;
                }
            }
            if untold && self.frontends.status().borrow().is_up() {
                untold = self.tell().await.is_err();
            }
        }
    }

    /// Reads the directories when they have changed. Says whether the catalog has.
    async fn look(&self, fingerprint: &mut Option<u64>, forced: bool) -> bool {
        let library = self.library.clone();
        let before = *fingerprint;
        let read = tokio::task::spawn_blocking(move || {
            let now = library.fingerprint();
            // What changes while it is read shows another fingerprint the next time.
            let catalog = (forced || before != Some(now)).then(|| library.read());
            (now, catalog)
        });
        let (now, catalog) = match read.await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "reading the roles broke off");
                return false;
            }
        };
        let catalog = match catalog.transpose() {
            Ok(catalog) => catalog,
            Err(error) => {
                // Until there is room the roles that were kept before go on. They are read again in a moment.
                tracing::error!(%error, "the roles can't be read anew");
                *fingerprint = None;
                return false;
            }
        };
        *fingerprint = Some(now);
        let Some(catalog) = catalog else { return false };
        let news = self.catalog.borrow().as_ref().is_none_or(|known| known.digest != catalog.digest);
        if news {
            log(&catalog);
            self.catalog.send_replace(Some(catalog));
        }
        news
    }

    async fn tell(&self) -> Result<(), PublishError> {
        let Some(catalog) = self.catalog.borrow().clone() else { return Ok(()) };
        let size = message::encode(&*catalog).len();
        if size > MAX_MESSAGE {
            tracing::error!(
                size,
                limit = MAX_MESSAGE,
                "the catalog is too large to be sent: move roles to another backend"
            );
            return Ok(());
        }
        for frontend in &self.to {
            let outcome = match self.frontends.tell(frontend, &*catalog).await {
                Ok(sent) => sent.confirmed().await,
                Err(error) => Err(error),
            };
            outcome.inspect_err(|error| tracing::warn!(%frontend, %error, "the catalog was not sent"))?;
        }
        tracing::info!(digest = catalog.digest, roles = catalog.roles.len(), "catalog sent");
        Ok(())
    }
}

/// Says once for each new catalog what can't be used.
pub(crate) fn log(catalog: &Catalog) {
    for (role, reasons) in &catalog.left_out {
        tracing::warn!(role, reasons = reasons.join("; "), "a role was left out");
    }
}
