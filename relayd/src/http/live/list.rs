//! The events of the page's list: each Operation that is new or has changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aegir_api::OperationSummary;
use aegir_protocol::id::OperationId;
use aegir_protocol::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::event::{PING, PING_AFTER, answer, document};
use crate::http::state::HttpState;
use crate::operations::Operations;
use crate::store::OperationFilter;

/// How many Operations are watched: the newest.
const NEWEST: u32 = 100;
/// The list is looked at no more often than this, however much happens.
const EVERY: Duration = Duration::from_millis(250);

/// `GET /events`: an event `state` for each of the newest Operations, then one for each change.
pub(crate) async fn list(State(site): State<HttpState>) -> Response {
    let events = Events {
        watch: site.operations.watch_all(),
        operations: site.operations,
        stop: site.stop,
        told: HashMap::new(),
        is_first: true,
    };
    answer(stream::unfold(events, |mut events| async move { Some((events.next().await?, events)) }))
}

struct Events {
    operations: Arc<Operations>,
    stop: CancellationToken,
    watch: watch::Receiver<u64>,
    /// What the client knows.
    told: HashMap<OperationId, OperationSummary>,
    is_first: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        loop {
            if !std::mem::take(&mut self.is_first) {
                let wake = async {
                    // Sleeping first makes one event of what changes together.
                    tokio::time::sleep(EVERY).await;
                    tokio::time::timeout(PING_AFTER, self.watch.changed()).await
                };
                tokio::select! {
                    woken = wake => match woken {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return None,
                        Err(_) => return Some(Ok(self.look().await.ok().flatten().unwrap_or(PING))),
                    },
                    () = self.stop.cancelled() => return None,
                }
            }
            match self.look().await {
                Ok(Some(bytes)) => return Some(Ok(bytes)),
                Ok(None) => {}
                Err(problem) => return Some(Err(std::io::Error::other(problem.detail))),
            }
        }
    }

    /// What is new, the oldest first.
    async fn look(&mut self) -> Result<Option<Bytes>, Problem> {
        self.watch.mark_unchanged();
        let filter = OperationFilter { limit: Some(NEWEST), ..OperationFilter::default() };
        let list = self.operations.list(&filter).await?.operations;
        let mut bytes = BytesMut::new();
        for summary in list.iter().rev().filter(|summary| self.told.get(&summary.id) != Some(summary)) {
            bytes.extend_from_slice(&document("state", summary));
        }
        self.told = list.into_iter().map(|summary| (summary.id, summary)).collect();
        Ok((!bytes.is_empty()).then(|| bytes.freeze()))
    }
}
