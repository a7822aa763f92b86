//! The frontends: each order is submitted, submitted again, called off or tried again as it says.

use std::collections::BTreeSet;
use std::time::Duration;

use aegir_api::{OperationList, OperationSummary};
use aegir_client::{Client, ClientError};
use aegir_protocol::id::OperationId;
use aegir_protocol::state::State;
use anyhow::Context as _;
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::order::{Order, SubmitBy};
use super::post::Post;

/// How long an Operation may take to end, waiting for others and for the end of all faults included.
const PATIENCE: Duration = Duration::from_secs(240);
const INTERVAL: Duration = Duration::from_secs(1);
/// Every Operation.
pub(super) const ALL: &str = "/api/v1/operations?limit=500";

/// What became of an order as its frontend saw it.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) ids: BTreeSet<String>,
    pub(super) canceled: bool,
    /// What the frontend could not do.
    pub(super) trouble: Vec<String>,
}

/// Plays the frontend of an order, from `begin` until its last attempt has ended.
pub(super) async fn place(
    order: &Order,
    request: &Value,
    frontend: &Client,
    post: &Post,
    begin: Instant,
) -> Placed {
    let mut placed = Placed::default();
    sleep_until(begin + order.at).await;
    let played = async {
        placed.ids = submit(order, request, frontend, post).await?;
        play(order, frontend, &mut placed).await
    };
    if let Err(error) = played.await {
        placed.trouble.push(format!("{}: {error:#}", order.key()));
    }
    placed
}

/// Submits as often as the order says, all at once, as clients do that have not heard of each other.
async fn submit(
    order: &Order,
    request: &Value,
    frontend: &Client,
    post: &Post,
) -> anyhow::Result<BTreeSet<String>> {
    let key = order.key();
    match order.way {
        SubmitBy::Http => try_join_all((0..=order.repeats).map(|_| submit_once(frontend, request, &key)))
            .await
            .map(|ids| ids.into_iter().collect()),
        SubmitBy::Amqp => {
            try_join_all((0..=order.repeats).map(|_| post.submit(&key, request))).await?;
            arrived(&key, frontend).await
        }
    }
}

async fn submit_once(frontend: &Client, request: &Value, key: &str) -> anyhow::Result<String> {
    let accepted = frontend.submit(request, Some(key)).await;
    accepted.map(|accepted| accepted.id.to_string()).with_context(|| format!("submitting {key}"))
}

/// What relayd has made of a confirmed request.
async fn arrived(key: &str, frontend: &Client) -> anyhow::Result<BTreeSet<String>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all: OperationList = frontend.get(ALL).await?;
        let ours = all.operations.into_iter().filter(|summary| summary.requested_by.as_deref() == Some(key));
        let ids: BTreeSet<String> = ours.map(|summary| summary.id.to_string()).collect();
        if !ids.is_empty() {
            return Ok(ids);
        }
        if Instant::now() > deadline {
            anyhow::bail!(
                "the broker has confirmed its request, and relayd does not have it after {PATIENCE:?}"
            );
        }
        sleep(INTERVAL).await;
    }
}

async fn play(order: &Order, frontend: &Client, placed: &mut Placed) -> anyhow::Result<()> {
    let Some(id) = placed.ids.first() else { return Ok(()) };
    let id = id.parse()?;
    if let Some(after) = order.cancel_after {
        sleep(after).await;
        // Whatever the answer is: that of the first asking may have been lost, and a later one says that it is known.
        placed.canceled = true;
        ask(frontend, id, "cancel").await?;
    }
    if order.retry && ended(frontend, id).await? != State::Succeeded {
        // It may have been begun by the manifest meanwhile.
        ask(frontend, id, "retry").await?;
    }
    ended(frontend, id).await?;
    Ok(())
}

/// Asks something of an Operation; it may have been done, or be no longer possible.
async fn ask(frontend: &Client, id: OperationId, action: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/operations/{id}/{action}");
    match frontend.post::<OperationSummary>(&path, &json!({})).await {
        Err(ClientError::Refused(problem)) if problem.status == 409 => Ok(()),
        answer => answer.map(drop).with_context(|| format!("{action} {id}")),
    }
}

/// Waits for the end of the latest attempt.
async fn ended(frontend: &Client, id: OperationId) -> anyhow::Result<State> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = frontend.operation(id).await?.summary.state;
        if state.outcome().is_some() {
            return Ok(state);
        }
        if Instant::now() > deadline {
            anyhow::bail!("it is still {state} after {PATIENCE:?}");
        }
        sleep(INTERVAL).await;
    }
}
