//! Looks at everything, after all faults are over and all Operations have ended.

use std::fs;
use std::io;
use std::time::Duration;

use aegir_api::{OperationDetail, OperationList};
use aegir_client::Client;
use aegir_protocol::record::Stream;
use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::clock::Time;
use super::evidence::{Evidence, Mark, OrderEvidence, Stored, Try};
use super::inject::InjectionLog;
use super::load::{ALL, Placed};
use super::order::{LoadKind, Order};
use super::schedule::Schedule;
use super::system::ChaosSystem;

/// How long the last bytes may be under way after the last end.
const SHIPPING: Duration = Duration::from_secs(90);
/// How long an answer may take: the machine may have much else to do.
const REQUEST: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(200);

pub(super) async fn gather(
    schedule: &Schedule,
    time: Time,
    placed: Vec<Placed>,
    injected: InjectionLog,
    system: &ChaosSystem,
) -> anyhow::Result<Evidence> {
    // It is to be there now, and is asked once.
    let frontend = system.relayd.client().clone().timeout(REQUEST);
    let mut evidence = Evidence {
        seed: schedule.seed,
        time,
        runners_killed: injected.runners_killed,
        children_killed: injected.children_killed,
        unseen: injected.errors,
        ..Evidence::default()
    };
    let all = frontend.get::<OperationList>(ALL).await?.operations;
    let deadline = Instant::now() + SHIPPING;
    for (order, placed) in schedule.orders.iter().zip(placed) {
        evidence.unseen.extend(placed.trouble);
        let key = order.key();
        let mut stored = Vec::new();
        for summary in all.iter().filter(|summary| summary.requested_by.as_ref() == Some(&key)) {
            let id = summary.id.to_string();
            let detail = shipped(&frontend, &id, system, deadline).await?;
            let mut attempts = Vec::new();
            for attempt in &detail.attempts {
                let number = attempt.attempt.get();
                match look_at(&frontend, order, &id, number, system, &mut evidence.unseen).await {
                    Ok(seen) => attempts.push(seen),
                    Err(error) => evidence.unseen.push(format!("{key}: {error:#}")),
                }
            }
            stored.push(Stored { detail, attempts });
        }
        let marks = marks(order, system)?;
        evidence.orders.push(OrderEvidence {
            order: order.clone(),
            ids: placed.ids,
            canceled: placed.canceled,
            stored,
            marks,
        });
    }
    Ok(evidence)
}

/// Waits until relayd has all that the nodes have of an Operation, or until the deadline: then the checker sees it.
async fn shipped(
    frontend: &Client,
    id: &str,
    system: &ChaosSystem,
    deadline: Instant,
) -> anyhow::Result<OperationDetail> {
    loop {
        let detail = frontend.operation(id.parse()?).await?;
        let all_here = detail.attempts.iter().all(|attempt| {
            let at_a_node = system.nodes.iter().map(|node| {
                let path = node.attempt(id, attempt.attempt.get()).join("transcript");
                fs::metadata(path).map_or(0, |metadata| metadata.len())
            });
            attempt.transcript_complete || at_a_node.sum::<u64>() == attempt.transcript_bytes
        });
        if all_here || Instant::now() > deadline {
            return Ok(detail);
        }
        sleep(INTERVAL).await;
    }
}

async fn look_at(
    frontend: &Client,
    order: &Order,
    id: &str,
    attempt: u32,
    system: &ChaosSystem,
    unseen: &mut Vec<String>,
) -> anyhow::Result<Try> {
    let path = format!("/api/v1/operations/{id}/transcript/raw?attempt={attempt}");
    let mut seen = Try { attempt, raw: frontend.bytes(&path).await?.into(), ..Try::default() };
    for node in &system.nodes {
        let path = node.attempt(id, attempt).join("transcript");
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        seen.copies.insert(node.dispatcherd.node().to_owned(), bytes);
    }
    if order.work != LoadKind::Play {
        for task in (1..).take(order.work.tasks().len()) {
            for stream in [Stream::Stdout, Stream::Stderr] {
                let query = format!("attempt={attempt}&task={task}&stream={}", stream.as_str());
                match frontend.bytes(&format!("/api/v1/operations/{id}/output?{query}")).await {
                    Ok(bytes) => drop(seen.outputs.insert((task, stream), bytes.into())),
                    Err(error) => unseen.push(format!("{}: {error}", order.key())),
                }
            }
        }
    }
    Ok(seen)
}

fn marks(order: &Order, system: &ChaosSystem) -> anyhow::Result<Vec<Mark>> {
    let path = system.marks(order.number);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    text.lines().map(|line| Mark::parse(line).with_context(|| format!("not a mark: {line:?}"))).collect()
}
