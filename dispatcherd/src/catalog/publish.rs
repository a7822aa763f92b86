//! Telling the frontends what this backend can do: whenever the session comes up, whenever it changes, and when one asks.

use std::sync::Arc;
use std::time::Duration;

use aegir_catalog::Catalog;
use aegir_protocol::name::FrontendName;
use tokio::signal::unix::Signal;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::catalog_reader::CatalogReader;
use crate::frontends::Frontends;

/// How often the directories are looked at: whoever writes a role wants to run it at once.
const LOOK: Duration = Duration::from_secs(2);
/// How long after it was sent it is sent again because somebody asks: a frontend asks with every heartbeat, also while it
/// is under way. Twice as long each time, up to [`SELDOM`]: an older relayd may not be able to read it at all.
const AGAIN: Duration = Duration::from_secs(10);
const SELDOM: Duration = Duration::from_secs(3600);

/// Keeps the catalog current, and the frontends informed.
#[derive(Debug)]
pub struct CatalogPublisher {
    /// Where the roles are.
    pub catalog_reader: CatalogReader,
    /// Who is told.
    pub to: Vec<FrontendName>,
    /// The way to them.
    pub frontends: Frontends,
    /// What the planner uses; none until there was room for copies of the roles.
    pub catalog: watch::Sender<Option<Arc<Catalog>>>,
    /// A frontend does not have it.
    pub wanted: Arc<Notify>,
    /// Reads the directories again at once.
    pub reload: Signal,
}

impl CatalogPublisher {
    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let mut status = self.frontends.status();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fingerprint = None;
        let mut unsent = self.to.clone();
        let mut sent_at: Option<Instant> = None;
        let mut again = AGAIN;
        loop {
            let publish_all = tokio::select! {
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // What was sent last may be gone with a broker that has lost its queues.
                    status.borrow_and_update().is_up()
                }
                _ = ticks.tick() => self.look(&mut fingerprint, false).await,
                _ = self.reload.recv() => self.look(&mut fingerprint, true).await,
                () = self.wanted.notified() => {
                    let since = sent_at.map_or(Duration::MAX, |sent_at| sent_at.elapsed());
                    let due = since >= again;
                    if due {
                        // After a while without a wish it is another relayd's.
                        again = if since >= 2 * again { AGAIN } else { SELDOM.min(2 * again) };
                    }
                    due
                }
            };
            if publish_all {
                unsent.clone_from(&self.to);
            }
            if !unsent.is_empty() && self.frontends.status().borrow().is_up() {
                self.publish(&mut unsent).await;
                sent_at = Some(Instant::now());
            }
        }
    }

    /// Reads the directories when they have changed. Says whether the catalog has.
    async fn look(&self, fingerprint: &mut Option<u64>, forced: bool) -> bool {
        let catalog_reader = self.catalog_reader.clone();
        let before = *fingerprint;
        let read = tokio::task::spawn_blocking(move || {
            let now = catalog_reader.fingerprint();
            // What changes while it is read shows another fingerprint the next time.
            let catalog = (forced || before != Some(now)).then(|| catalog_reader.read());
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

    /// Tells those who are not told yet. One who can't be told keeps nobody else from it.
    async fn publish(&self, unsent: &mut Vec<FrontendName>) {
        let Some(catalog) = self.catalog.borrow().clone() else { return };
        for frontend in std::mem::take(unsent) {
            let outcome = match self.frontends.send(&frontend, &*catalog).await {
                Ok(sent) => sent.confirmed().await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::warn!(%frontend, %error, "the catalog was not sent");
                unsent.push(frontend);
            } else {
                tracing::info!(%frontend, digest = catalog.digest, roles = catalog.roles.len(), "catalog sent");
            }
        }
    }
}

/// Says once for each new catalog what can't be used.
pub(crate) fn log(catalog: &Catalog) {
    for (role, reasons) in &catalog.left_out {
        tracing::warn!(role, reasons = reasons.join("; "), "a role was left out");
    }
}
