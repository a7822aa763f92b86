//! Further attempts: by hand, by the manifest, and when a node is silent for longer than a lease. Pausing.

use std::path::{Path, PathBuf};

use aegir_api::OperationDetail;
use aegir_protocol::state::{Outcome, State};
use aegir_testkit::{Cluster, Dispatcherd};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::world::World;

fn request(operation: &str, file: &Path, seconds: u64) -> Value {
    json!({
        "name": format!("noisy.{operation}"),
        "target": {"kind": "site", "name": "attempts.test"},
        "variables": {"site": {"file": file, "count": seconds}},
    })
}

/// Who acted when: attempts and moments, in the order of the file.
fn marks(file: &Path) -> Result<Vec<(u32, u64)>> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(attempt, at)| Ok((attempt.parse()?, at.parse()?))).collect()
}

fn outcomes(detail: &OperationDetail) -> Vec<Option<Outcome>> {
    detail.attempts.iter().map(|attempt| attempt.outcome).collect()
}

/// A relayd that gives an attempt up so long after its lease.
async fn with_margin(seconds: u64) -> Result<World> {
    let setting = format!("lease_margin_seconds = {seconds}");
    World::of(Cluster::builder().relayd(move |relayd| relayd.setting(&setting))).await
}

/// Waits until an attempt has left its first mark.
async fn acts(world: &World, id: &str, file: &Path, attempt: u32) -> Result<()> {
    world
        .client
        .until(id, |_| marks(file).is_ok_and(|marks| marks.iter().any(|(acts, _)| *acts == attempt)))
        .await
        .map(drop)
}

/// A second node of the same backend.
async fn second_node(world: &World) -> Result<Dispatcherd> {
    let cluster = &world.cluster;
    let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("roles");
    Dispatcherd::builder(&cluster.directory().join("dispatcherd2"), cluster.broker.url())
        .frontend(&cluster.name)
        .backend(&cluster.name)
        .node(&format!("{}-2", cluster.dispatcherd.node()))
        .roles(&roles)
        .allow_programs()
        .setting("transcript_retention_seconds = 3600")
        .start()
        .await
}

fn transcript(node: &Dispatcherd, id: &str, attempt: u32) -> PathBuf {
    node.state_directory().join("operations").join(id).join(attempt.to_string()).join("transcript")
}

#[tokio::test]
async fn what_failed_is_tried_again_as_its_manifest_says_and_then_by_hand() -> Result<()> {
    let world = World::start().await?;
    let file = world.directory().join("marks");
    let id = world.client.submit(&request("flaky", &file, 0)).await?;
    let mut follow = world.cluster.aegir(&["log", "-f", &id])?;
    let followed = spawn_blocking(move || follow.output());
    let detail = world.client.until(&id, |detail| detail.summary.state == State::Succeeded).await?;
    ensure!(outcomes(&detail) == [Some(Outcome::Failed), Some(Outcome::Failed), Some(Outcome::Succeeded)]);
    let waits = detail.ledger.iter().filter(|entry| entry.state == State::Waiting).count();
    ensure!(waits == 3, "{detail:#?}");
    // One who follows is told the end once, and the ends of attempts as what they are.
    let followed = followed.await??;
    let told = String::from_utf8_lossy(&followed.stdout);
    let ends: Vec<_> = told
        .lines()
        .filter(|line| line.starts_with("Attempt ") || line.starts_with("Succeeded"))
        .filter_map(|line| line.split_once(" after "))
        .map(|(end, _)| end)
        .collect();
    let expected = ["Attempt 1 failed", "Attempt 2 failed", "Succeeded at attempt 3"];
    ensure!(ends == expected && followed.status.success(), "{followed:?}");
    let again = world.client.post(&format!("/api/v1/operations/{id}/retry"), &json!({})).await?;
    ensure!(again.status == 409, "what has succeeded is not tried again");

    // One whose manifest says nothing stays where it is until somebody asks.
    let (id, _) = world
        .client
        .fails(&json!({
            "name": "noisy.fail", "target": {"kind": "site", "name": "attempts.test"},
        }))
        .await?;
    world.client.ask(&id, "retry").await?;
    let detail = world
        .client
        .until(&id, |detail| detail.attempts.len() == 2 && detail.attempts[1].transcript_complete)
        .await?;
    ensure!(outcomes(&detail) == [Some(Outcome::Failed); 2], "{detail:#?}");
    ensure!(detail.attempts.iter().all(|attempt| attempt.transcript_complete), "{detail:#?}");
    world.stop().await
}

#[tokio::test]
async fn what_a_silent_node_had_under_a_lease_goes_on_at_another_and_never_at_both() -> Result<()> {
    let mut world = with_margin(3).await?;
    let file = world.directory().join("marks");
    let id = world.client.submit(&request("leased", &file, 8)).await?;
    acts(&world, &id, &file, 1).await?;
    // The runner and its child go on; nobody renews their lease.
    world.cluster.dispatcherd.kill().await?;
    let mut second = second_node(&world).await?;
    let detail = world.client.until(&id, |detail| detail.summary.state.outcome().is_some()).await?;
    ensure!(detail.summary.state == State::Succeeded, "{detail:#?}");
    ensure!(outcomes(&detail) == [Some(Outcome::Lost), Some(Outcome::Succeeded)], "{detail:#?}");
    ensure!(detail.attempts[0].reason.as_ref().is_some_and(|reason| reason.code == "lease_expired"));
    let acted = marks(&file)?;
    let last = acted.iter().filter(|(attempt, _)| *attempt == 1).map(|(_, at)| at).max();
    let first = acted.iter().filter(|(attempt, _)| *attempt == 2).map(|(_, at)| at).min();
    ensure!(last < first, "both attempts acted at once: {acted:?}");

    // What the first node has to say when it is back is added to its own attempt.
    world.cluster.dispatcherd.start_again().await?;
    let detail = world.client.until(&id, |detail| detail.attempts[0].transcript_complete).await?;
    ensure!(detail.summary.state == State::Succeeded, "{detail:#?}");
    for (attempt, node) in [(1, &world.cluster.dispatcherd), (2, &second)] {
        let theirs = std::fs::read(transcript(node, &id, attempt))?;
        ensure!(
            world.client.raw_of(&id, Some(attempt)).await? == theirs,
            "attempt {attempt} is not the same"
        );
    }
    second.stop().await?;
    world.stop().await
}

#[tokio::test]
async fn a_lease_is_renewed_over_restarts_of_everybody() -> Result<()> {
    let mut world = with_margin(1).await?;
    let file = world.directory().join("marks");
    let id = world.client.submit(&request("leased", &file, 12)).await?;
    acts(&world, &id, &file, 1).await?;
    world.cluster.dispatcherd.restart().await?;
    world.cluster.relayd.restart().await?;
    let detail = world.client.ended(&id).await?;
    ensure!(detail.summary.state == State::Succeeded && detail.attempts.len() == 1, "{detail:#?}");
    ensure!(marks(&file)?.len() == 120, "it did not run once");
    world.copies_are_equal(&id).await?;
    world.stop().await
}

#[tokio::test]
async fn what_was_declared_lost_is_stopped_when_its_node_is_back_and_before_it_is_tried_again() -> Result<()>
{
    let mut world = World::start().await?;
    let file = world.directory().join("marks");
    let id = world.client.submit(&request("mark", &file, 600)).await?;
    acts(&world, &id, &file, 1).await?;
    world.cluster.dispatcherd.kill().await?;
    world.client.ask(&id, "lost").await?;
    let detail = world.client.operation(&id).await?;
    ensure!(detail.summary.state == State::Lost, "{detail:#?}");
    world.client.ask(&id, "retry").await?;
    let before = marks(&file)?.len();
    world
        .client
        .until(&id, |_| marks(&file).is_ok_and(|marks| marks.len() > before))
        .await
        .context("it runs on")?;
    world.cluster.dispatcherd.start_again().await?;
    acts(&world, &id, &file, 2).await?;
    let acted = marks(&file)?;
    let turn = acted.iter().position(|(attempt, _)| *attempt == 2).context("the second attempt acts")?;
    ensure!(acted[turn..].iter().all(|(attempt, _)| *attempt == 2), "both attempts acted at once: {acted:?}");
    world.client.ask(&id, "cancel").await?;
    let detail = world.client.ended(&id).await?;
    ensure!(outcomes(&detail) == [Some(Outcome::Lost), Some(Outcome::Canceled)], "{detail:#?}");
    world.stop().await
}

#[tokio::test]
async fn nothing_starts_on_a_paused_backend() -> Result<()> {
    let world = World::start().await?;
    let backend = world.client.operation(&world.client.succeeds(&nothing()).await?).await?.summary.backend;
    let path = |action: &str| format!("/api/v1/backends/{backend}/{action}");
    let runs = world.client.submit(&request("mark", &world.directory().join("marks"), 2)).await?;
    world.client.until(&runs, |detail| detail.summary.state == State::Running).await?;
    let paused = world.client.post(&path("pause"), &json!({"requested_by": "kim"})).await?;
    ensure!(paused.status == 200, "{paused:?}");
    let waits = world.client.submit(&nothing()).await?;
    let detail = world.client.ended(&runs).await?;
    ensure!(detail.summary.state == State::Succeeded, "what runs is not touched: {detail:#?}");
    let detail = world.client.operation(&waits).await?;
    ensure!(detail.summary.state == State::Queued && detail.paused.is_some(), "{detail:#?}");
    let resumed = world.client.post(&path("resume"), &json!({})).await?;
    ensure!(resumed.status == 200, "{resumed:?}");
    let detail = world.client.ended(&waits).await?;
    ensure!(detail.summary.state == State::Succeeded, "{detail:#?}");
    world.stop().await
}

fn nothing() -> Value {
    json!({"name": "noisy.nothing", "target": {"kind": "site", "name": "nothing.test"}})
}

/// An Operation whose second Task fails until there is room.
fn resume(world: &World, path: &Path) -> Value {
    json!({
        "name": "probe.resume",
        "target": {"kind": "site", "name": "resume.test"},
        "hosts": [world.cluster.host()],
        "variables": {"site": {"path": path, "text": "the word"}},
    })
}

fn dumps(path: &Path) -> Result<usize> {
    Ok(std::fs::read_to_string(path.with_extension("dumps"))?.lines().count())
}

#[tokio::test]
async fn a_further_attempt_goes_on_with_the_first_task_that_is_not_done() -> Result<()> {
    let world = World::start().await?;
    let path = world.directory().join("load");
    let id = world.client.submit(&resume(&world, &path)).await?;
    world.client.ended(&id).await?;
    world.client.ask(&id, "retry").await?;
    let detail = world.client.ended(&id).await?;
    ensure!(outcomes(&detail) == [Some(Outcome::Failed); 2] && dumps(&path)? == 1, "{detail:#?}");

    std::fs::write(path.with_extension("room"), "")?;
    world.client.ask(&id, "retry").await?;
    let detail = world.client.ended(&id).await?;
    ensure!(detail.summary.state == State::Succeeded && dumps(&path)? == 1, "{detail:#?}");
    let loaded = std::fs::read_to_string(&path)?;
    ensure!(loaded == format!("{}.dumps the word in {id}", path.display()), "{loaded}");
    for attempt in [1, 3] {
        let raw = String::from_utf8(world.client.raw_of(&id, Some(attempt)).await?)?;
        ensure!(!raw.contains("the word in") && raw.contains(r#""done_in":1"#) == (attempt == 3), "{raw}");
    }
    world.stop().await
}

#[tokio::test]
async fn a_further_attempt_begins_from_the_start_where_that_is_asked_for() -> Result<()> {
    let world = World::start().await?;
    let path = world.directory().join("load");
    let id = world.client.submit(&resume(&world, &path)).await?;
    world.client.ended(&id).await?;
    let mut aegir = world.cluster.aegir(&["retry", &id, "--from-start"])?;
    let retried = spawn_blocking(move || aegir.output()).await??;
    ensure!(retried.status.success(), "{retried:?}");
    world.client.ended(&id).await?;
    ensure!(dumps(&path)? == 2);
    world.stop().await
}
