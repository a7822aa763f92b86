//! The frontends: each order is submitted, submitted again, called off or tried again as it says.

use std::collections::BTreeSet;
use std::time::Duration;

use aegir_protocol::state::State;
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::frontend::Frontend;
use super::order::{Order, SubmitBy};
use super::post::Post;

/// How long an Operation may take to end, waiting for others and for the end of all faults included.
const PATIENCE: Duration = Duration::from_secs(240);
const INTERVAL: Duration = Duration::from_secs(1);

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
    frontend: &Frontend,
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
    frontend: &Frontend,
    post: &Post,
) -> anyhow::Result<BTreeSet<String>> {
    let key = order.key();
    match order.way {
        SubmitBy::Http => try_join_all((0..=order.repeats).map(|_| frontend.submit(&key, request)))
            .await
            .map(|ids| ids.into_iter().collect()),
        SubmitBy::Amqp => {
            try_join_all((0..=order.repeats).map(|_| post.submit(&key, request))).await?;
            arrived(&key, frontend).await
        }
    }
}

/// What relayd has made of a confirmed request.
async fn arrived(key: &str, frontend: &Frontend) -> anyhow::Result<BTreeSet<String>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = frontend.operations().await?;
        let ours = all.into_iter().filter(|summary| summary.requested_by.as_deref() == Some(key));
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

async fn play(order: &Order, frontend: &Frontend, placed: &mut Placed) -> anyhow::Result<()> {
    let Some(id) = placed.ids.first().cloned() else { return Ok(()) };
    if let Some(after) = order.cancel_after {
        sleep(after).await;
        // Whatever the answer is: that of the first asking may have been lost, and a later one says that it is known.
        placed.canceled = true;
        frontend.ask(&id, "cancel").await?;
    }
    if order.retry && ended(frontend, &id).await? != State::Succeeded {
        // It may have been begun by the manifest meanwhile.
        frontend.ask(&id, "retry").await?;
    }
    ended(frontend, &id).await?;
    Ok(())
}

/// Waits for the end of the latest attempt.
async fn ended(frontend: &Frontend, id: &str) -> anyhow::Result<State> {
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
