//! relayd is away while everything is printing.

use std::time::Instant;

use aegir_protocol::limits::{ATTEMPT_WINDOW, FRONTEND_WINDOW};
use aegir_testkit::Cluster;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::time::sleep;

use super::{DEADLINE, INTERVAL};
use crate::world::World;

/// More attempts than fill the broker with what each has there at least: with less room than for a whole chunk in its
/// window, which is half of that, it waits for a receipt. Together they print several times what may be on the broker.
const OPERATIONS: u64 = FRONTEND_WINDOW / (ATTEMPT_WINDOW / 2) + 4;
const LINES: u64 = 9_000;

#[tokio::test]
async fn while_relayd_is_away_its_queue_stays_at_its_limit_and_the_rest_waits_in_the_spool() -> Result<()> {
    let slots = format!("slots = {OPERATIONS}");
    let builder = Cluster::builder().broker(|broker| broker).dispatcherd(move |node| node.setting(&slots));
    let mut world = World::of(builder).await?;
    let gate = world.directory().join("gate");
    let mut ids = Vec::new();
    for number in 0..OPERATIONS {
        let request = json!({
            "name": "noisy.flood",
            "target": {"kind": "site", "name": format!("flood{number}.test")},
            "variables": {"site": {"gate": gate, "count": LINES}},
        });
        ids.push(world.client.submit(&request).await?);
    }
    for id in &ids {
        let ready = |detail: &aegir_api::OperationDetail| {
            detail.attempts.first().is_some_and(|attempt| attempt.transcript_records >= 3)
        };
        world.client.until(id, ready).await?;
    }
    world.cluster.relayd.kill().await?;
    std::fs::write(&gate, "")?;
    for id in &ids {
        world.finishes_at_the_node(id).await?;
    }
    // What may go out has gone out when the queue does not grow any more.
    let limit = usize::try_from(FRONTEND_WINDOW)?;
    let full = limit - limit / 8;
    let begin = Instant::now();
    let (mut held, mut messages) = world.waiting_for_relayd().await?;
    while held < full {
        ensure!(begin.elapsed() < DEADLINE, "{held} of {limit} bytes are on the broker\n{}", world.logs());
        sleep(INTERVAL).await;
        (held, messages) = world.waiting_for_relayd().await?;
    }
    // Nor does it grow by much when every attempt has asked what relayd has.
    let asked = messages + usize::try_from(OPERATIONS)?;
    while messages < asked {
        ensure!(
            begin.elapsed() < DEADLINE,
            "{messages} messages are on the broker, not {asked}\n{}",
            world.logs()
        );
        sleep(INTERVAL).await;
        (held, messages) = world.waiting_for_relayd().await?;
        // Each message has a header of its own besides.
        ensure!(held < limit + limit / 8, "{held} bytes are on the broker, {limit} may be");
    }
    println!("{held} bytes of {} wait on the broker", OPERATIONS * LINES * 100);

    world.cluster.relayd.start_again().await?;
    let expected: Vec<u8> = std::iter::once("ready\n".to_owned())
        .chain((0..LINES).map(|n| format!("{n:08} {}\n", "x".repeat(90))))
        .flat_map(String::into_bytes)
        .collect();
    for id in &ids {
        world.client.ended(id).await?;
        ensure!(world.client.output(id, 1, "stdout").await? == expected, "the output of {id} is not whole");
        world.copies_are_equal(id).await?;
    }
    world.stop().await
}

impl World {
    /// Waits until the node's copy of a transcript is whole.
    async fn finishes_at_the_node(&self, id: &str) -> Result<()> {
        let path = self.transcript_at_the_node(id);
        let begin = Instant::now();
        while !aegir_transcript::verify(&path).is_ok_and(|report| report.matches) {
            ensure!(begin.elapsed() < DEADLINE, "{id} does not finish\n{}", self.logs());
            sleep(INTERVAL).await;
        }
        Ok(())
    }

    /// How many bytes wait for relayd on the broker, in how many messages.
    async fn waiting_for_relayd(&mut self) -> Result<(usize, usize)> {
        // `rabbitmqctl list_queues` does not count the bytes of quorum queues.
        let look = r#"{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"aegir.transcripts.main">>)),
            {ok, {_, Seen}, _} = ra:local_query(amqqueue:get_pid(Q), fun rabbit_fifo:overview/1),
            {maps:get(enqueue_message_bytes, Seen) + maps:get(checkout_message_bytes, Seen),
             maps:get(num_messages, Seen)}."#;
        let said = self.cluster.broker.control(&["eval", look]).await?;
        let numbers = said.trim().trim_matches(['{', '}']).split_once(',');
        let (bytes, messages) = numbers.with_context(|| format!("no numbers: {said}"))?;
        Ok((bytes.parse()?, messages.parse()?))
    }
}
