//! The events of the page's list: each Operation that is new or has changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aegir_api::OperationSummary;
use aegir_protocol::id::OperationId;
use aegir_protocol::problem::Problem;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio_util::sync::CancellationToken;

use super::event::{PING, PING_AFTER, answer, document};
use crate::http::answer::ProblemResponse;
use crate::http::list_query::OperationListQuery;
use crate::http::query::FormParameters;
use crate::http::state::HttpState;
use crate::operations::Operations;
use crate::store::{MAX_PAGE, OperationFilter};

/// What the client knows is forgotten when it is more than this: it may be told the same once more.
const KNOWN: usize = 2000;
/// The list is looked at no more often than this, however much happens.
const EVERY: Duration = Duration::from_millis(250);

/// `GET /events`, with the query of the page: an event `state` for each row of the page, then one for each change of any
/// Operation. The page knows which of them it shows, also those that its query does not find any more.
pub(crate) async fn list(
    State(site): State<HttpState>,
    query: Result<FormParameters<OperationListQuery>, ProblemResponse>,
) -> Response {
    let rows = match query {
        Ok(FormParameters(OperationListQuery(filter))) => filter,
        Err(refusal) => return refusal.into_response(),
    };
    let events = Events {
        changes: site.operations.watch_all(),
        operations: site.operations,
        stop: site.stop,
        rows,
        known: HashMap::new(),
        is_first: true,
    };
    answer(stream::unfold(events, |mut events| async move { Some((events.next().await?, events)) }))
}

struct Events {
    operations: Arc<Operations>,
    stop: CancellationToken,
    changes: broadcast::Receiver<OperationId>,
    /// Those of the page.
    rows: OperationFilter,
    known: HashMap<OperationId, OperationSummary>,
    is_first: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        loop {
            let is_first = std::mem::take(&mut self.is_first);
            let (looked, idle) = if is_first {
                (self.look_at_rows().await, false)
            } else {
                let changed = tokio::select! {
                    changed = changed(&mut self.changes) => changed,
                    () = self.stop.cancelled() => return None,
                };
                match changed {
                    Changed::These(ids) => (self.look_at(ids).await, false),
                    Changed::Unknown => (self.look_at_rows().await, false),
                    // Whether a node is silent changes with time alone.
                    Changed::Nothing => (self.look_at_rows().await.or(Ok(None)), true),
                    Changed::Over => return None,
                }
            };
            match looked {
                Ok(Some(bytes)) => return Some(Ok(bytes)),
                Ok(None) if idle => return Some(Ok(PING)),
                Ok(None) => {}
                Err(problem) => return Some(Err(std::io::Error::other(problem.detail))),
            }
        }
    }

    async fn look_at_rows(&mut self) -> Result<Option<Bytes>, Problem> {
        let rows = self.rows.clone();
        self.look(&rows).await
    }

    async fn look_at(&mut self, ids: Vec<OperationId>) -> Result<Option<Bytes>, Problem> {
        let mut all = BytesMut::new();
        for ids in ids.chunks(MAX_PAGE as usize) {
            let these =
                OperationFilter { ids: ids.to_vec(), limit: Some(MAX_PAGE), ..OperationFilter::default() };
            all.extend_from_slice(&self.look(&these).await?.unwrap_or_default());
        }
        Ok((!all.is_empty()).then(|| all.freeze()))
    }

    /// What of these the client does not know, the oldest first.
    async fn look(&mut self, filter: &OperationFilter) -> Result<Option<Bytes>, Problem> {
        let list = self.operations.list(filter).await?.operations;
        if self.known.len() > KNOWN {
            self.known.clear();
        }
        let mut bytes = BytesMut::new();
        for summary in list.into_iter().rev() {
            if self.known.get(&summary.id) != Some(&summary) {
                bytes.extend_from_slice(&document("state", &summary));
                self.known.insert(summary.id, summary);
            }
        }
        Ok((!bytes.is_empty()).then(|| bytes.freeze()))
    }
}

/// What has been committed since the last look.
enum Changed {
    These(Vec<OperationId>),
    /// More than was kept.
    Unknown,
    Nothing,
    /// relayd ends.
    Over,
}

async fn changed(changes: &mut broadcast::Receiver<OperationId>) -> Changed {
    // Sleeping first makes one event of what changes together.
    tokio::time::sleep(EVERY).await;
    let mut ids = BTreeSet::new();
    match tokio::time::timeout(PING_AFTER, changes.recv()).await {
        Ok(Ok(id)) => ids.insert(id),
        Ok(Err(RecvError::Lagged(_))) => return Changed::Unknown,
        Ok(Err(RecvError::Closed)) => return Changed::Over,
        Err(_) => return Changed::Nothing,
    };
    loop {
        match changes.try_recv() {
            Ok(id) => ids.insert(id),
            Err(TryRecvError::Lagged(_)) => return Changed::Unknown,
            Err(TryRecvError::Empty | TryRecvError::Closed) => {
                return Changed::These(ids.into_iter().collect());
            }
        };
    }
}
