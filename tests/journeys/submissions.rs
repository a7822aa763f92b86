//! The same request, however often it is sent and whatever the broker does meanwhile, is one Operation.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use aegir_amqp::topology::{Lifetime, Queue, QueueArgument, REQUESTS};
use aegir_amqp::{BrokerConfig, BrokerSession, Consume, Outgoing, SessionBuilder, Topology};
use aegir_protocol::message::{decode, encode};
use aegir_protocol::request::{Reply, Request};
use aegir_protocol::state::State;
use aegir_testkit::Cluster;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::world::World;

/// How long anything may take here; far more than it takes, for machines that do much else.
const DEADLINE: Duration = Duration::from_secs(120);
const CLIENTS: usize = 8;

/// Leaves ten marks in a file.
fn request(file: &Path) -> Value {
    let target = json!({"kind": "site", "name": "once.test"});
    json!({"name": "noisy.mark", "target": target, "variables": {"site": {"file": file, "count": 1}}})
}

/// Everything, with a broker that can be killed.
async fn world() -> Result<World> {
    let mut world = World::of(Cluster::builder().broker(|broker| broker)).await?;
    // RabbitMQ 3.10 forgets a quorum queue that is only seconds old when it is killed.
    world.cluster.broker.sync().await?;
    Ok(world)
}

/// There is no other Operation of the kind, and its child has run once.
async fn ran_once(world: &World, id: &str, file: &Path) -> Result<()> {
    let detail = world.client.ended(id).await?;
    ensure!(detail.summary.state == State::Succeeded && detail.attempts.len() == 1, "{detail:#?}");
    let list: Value = world.client.get("/api/v1/operations?name=noisy.mark").await?.json()?;
    let ids: Vec<_> =
        list["operations"].as_array().context("no list")?.iter().map(|one| &one["id"]).collect();
    ensure!(ids == [id], "{ids:?} and not only {id}");
    let marks = std::fs::read_to_string(file)?;
    ensure!(marks.lines().count() == 10 && marks.lines().all(|mark| mark.starts_with("1 ")), "{marks}");
    Ok(())
}

/// Every client sends the request so often, one after the other. Gives each answer's status and Operation.
async fn everyone(client: &Client, request: &Value, times: usize) -> Result<Vec<(u16, String)>> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, request) = (client.clone(), request.clone());
        clients.spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..times {
                let response = client.post("/api/v1/operations", &request).await?;
                let status = response.status.as_u16();
                let answer: Value = response.json()?;
                ensure!(answer["repeated"] == (status == 200), "{status}: {answer}");
                answers.push((status, answer["id"].as_str().context("no id")?.to_owned()));
            }
            Ok(answers)
        });
    }
    let answers: Result<Vec<_>> = clients.join_all().await.into_iter().collect();
    Ok(answers?.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_with_one_key_over_a_restart_of_the_broker_are_one_operation() -> Result<()> {
    let mut world = world().await?;
    let file = world.directory().join("marks");
    let mut request = request(&file);
    request["idempotency_key"] = json!("key-1");
    let (client, broker) = (&world.client, &mut world.cluster.broker);
    let (before, ()) = tokio::try_join!(everyone(client, &request, 25), broker.kill())?;
    let away = everyone(client, &request, 25).await?;
    let (coming, ()) = tokio::try_join!(everyone(client, &request, 25), broker.restart())?;
    let back = everyone(client, &request, 50).await?;
    let answers = [before, away, coming, back].concat();
    ensure!(answers.len() == 1000);
    let ids: BTreeSet<_> = answers.iter().map(|(_, id)| id).collect();
    ensure!(ids.len() == 1, "{ids:?}");
    let created = answers.iter().filter(|(status, _)| *status == 201).count();
    ensure!(created == 1, "{created} answers say that it is new");
    ran_once(&world, &answers[0].1, &file).await?;

    request["variables"]["site"]["count"] = json!(2);
    let (status, problem) = world.client.refused(&request).await?;
    ensure!(status == 409 && problem["code"] == "idempotency_conflict", "{problem}");
    world.stop().await
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T> {
    timeout(DEADLINE, work).await.context("it took too long")
}

/// Sends the same message once for each of these correlation ids. What was not confirmed is sent again.
async fn send(link: BrokerSession, message: Outgoing, ids: Vec<String>) -> Result<()> {
    let publisher = link.publisher();
    for id in ids {
        while publisher.publish(message.clone().correlation_id(&id)).await.is_err() {
            ensure!(link.up().await, "the session was stopped");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_hundreds_of_times_over_a_restart_of_the_broker_is_one_operation() -> Result<()> {
    let mut world = world().await?;
    let file = world.directory().join("marks");
    let request: Request = serde_json::from_value(request(&file))?;
    let message = Outgoing::new(REQUESTS, "main", encode(&request)).message_id("once").reply_to("answers");
    let mut topology = Topology::base();
    topology.queues.push(Queue {
        name: "answers".to_owned(),
        lifetime: Lifetime::Durable,
        arguments: [("x-queue-type".to_owned(), QueueArgument::Text("quorum".to_owned()))].into(),
    });
    let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
    let session = || {
        SessionBuilder::new(BrokerConfig::from_url(world.cluster.broker.url()), "frontend", topology.clone())
    };
    let mut consuming = session();
    let (mut replies, _) = consuming.consume(Consume::queue("answers", 100));
    ensure!(consuming.start(cancel.clone(), &tracker).up().await);
    let links: Vec<_> = (0..CLIENTS).map(|_| session().start(cancel.clone(), &tracker)).collect();
    for link in &links {
        ensure!(link.up().await);
    }
    world.cluster.broker.sync().await?;

    let mut missing = BTreeSet::new();
    let mut round = |name: &str| {
        let mut senders = JoinSet::new();
        for (client, link) in links.iter().enumerate() {
            let ids: Vec<_> = (0..50).map(|number| format!("{name} {client} {number}")).collect();
            missing.extend(ids.iter().cloned());
            senders.spawn(send(link.clone(), message.clone(), ids));
        }
        senders.join_all()
    };
    let mut reply = async || {
        let delivery = replies.recv().await.context("the session was stopped")?;
        let answered = delivery.correlation_id().context("no correlation id")?.to_owned();
        let reply: Reply = decode(&delivery.body())?;
        // If the broker has gone meanwhile, the reply comes again.
        let _ = delivery.ack().await;
        let accepted = reply.accepted.with_context(|| format!("{:?}", reply.problem))?;
        anyhow::Ok((answered, accepted.id))
    };
    let first = round("first");
    // Killed in the middle: one is answered, and hundreds are to come.
    let (answered, id) = within(reply()).await??;
    world.cluster.broker.kill().await?;
    world.cluster.broker.restart().await?;
    let first = within(first).await?;
    let second = within(round("second")).await?;
    first.into_iter().chain(second).collect::<Result<()>>()?;
    missing.remove(&answered);
    let answered = within(async {
        while !missing.is_empty() {
            let (answered, other) = reply().await?;
            ensure!(other == id, "{answered} is {other} and not {id}");
            missing.remove(&answered);
        }
        Ok(())
    });
    let answered = answered.await;
    answered.with_context(|| format!("not answered: {missing:?}"))??;
    ran_once(&world, &id.to_string(), &file).await?;
    cancel.cancel();
    world.stop().await
}
