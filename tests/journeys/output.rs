//! What a child prints arrives whole, live, and byte for byte.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use aegir_protocol::state::State;

use crate::world::World;

fn print(kind: &str, count: u64) -> Value {
    json!({
        "name": "noisy.print",
        "target": {"kind": "site", "name": format!("{kind}.test")},
        "variables": {"site": {"kind": kind, "count": count}},
    })
}

/// What `tests/roles/noisy` prints for this kind: stdout and stderr.
fn expected(kind: &str, count: u64) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    match kind {
        "numbered" => {
            for n in 1..=count {
                out.extend(format!("out {n} {:08x}\n", n * 2_654_435_761 % (1 << 32)).bytes());
                if n % 10 == 0 {
                    err.extend(format!("err {n}\n").bytes());
                }
            }
        }
        "binary" => {
            for n in 0..count {
                out.extend((0..257_u64).map(|k| (n * k % 256) as u8));
                out.extend(b"\0\xff\xfe\n\r\n\x1b[31m");
            }
        }
        "long" => (0..count).for_each(|n| out.extend(format!("{n:09} ").bytes())),
        "unfinished" => out.extend(b"first\nlast without a newline"),
        "nothing" => {}
        other => panic!("no such kind: {other}"),
    }
    (out, err)
}

#[tokio::test]
async fn what_children_print_is_rebuilt_exactly() -> Result<()> {
    let world = World::start().await?;
    // The long one is a single line of 100 MB.
    for (kind, count) in
        [("numbered", 50_000), ("binary", 3_000), ("unfinished", 1), ("nothing", 0), ("long", 10_000_000)]
    {
        let id = world.client.succeeds(&print(kind, count)).await?;
        let (out, err) = expected(kind, count);
        ensure!(world.client.output(&id, 1, "stdout").await? == out, "{kind}: stdout differs");
        ensure!(world.client.output(&id, 1, "stderr").await? == err, "{kind}: stderr differs");
        world.copies_are_equal(&id).await.context(kind)?;
    }
    world.stop().await
}

#[tokio::test]
async fn a_failing_task_ends_the_operation_with_its_exit_code() -> Result<()> {
    let world = World::start().await?;
    let request = json!({"name": "noisy.fail", "target": {"kind": "site", "name": "fail.test"}});
    let (id, code) = world.client.fails(&request).await?;
    ensure!(code == "task_failed", "{code}");
    let transcript = world.client.text(&id).await?;
    ensure!(transcript.contains(r#""exit":{"code":3"#), "{transcript}");
    ensure!(transcript.contains("about to fail"), "{transcript}");
    ensure!(
        !transcript.contains(r#""kind":"task_started","body":{"task":3"#),
        "the third Task ran: {transcript}"
    );
    world.copies_are_equal(&id).await?;
    world.stop().await
}

#[tokio::test]
async fn an_operation_waits_for_a_site_that_its_manifest_locks_beside_the_target() -> Result<()> {
    let world = World::start().await?;
    let gate = world.directory().join("gate");
    let flood = json!({
        "name": "noisy.flood",
        "target": {"kind": "site", "name": "a.test"},
        "variables": {"site": {"gate": gate, "count": 1}},
    });
    let first = world.client.submit(&flood).await?;
    world.client.until(&first, |detail| detail.summary.state == State::Running).await?;
    let copy = |to: &str, from: &str| {
        json!({
            "name": "noisy.copy",
            "target": {"kind": "site", "name": to},
            "variables": {"site": {"from": from}},
        })
    };
    let second = world.client.submit(&copy("b.test", "a.test")).await?;
    let detail = world.client.operation(&second).await?;
    ensure!(detail.summary.state == State::Waiting, "{detail:?}");
    ensure!(detail.waits_for.iter().any(|id| id.to_string() == first), "{detail:?}");
    // What names another site does not wait, so nothing but the lock holds the second one up.
    world.client.succeeds(&copy("c.test", "d.test")).await?;
    ensure!(world.client.operation(&second).await?.summary.state == State::Waiting);
    let (status, problem) = world.client.refused(&copy("b.test", "no site")).await?;
    ensure!(status == 422 && problem["errors"][0]["pointer"] == "/variables/site/from", "{problem}");

    std::fs::write(&gate, "")?;
    ensure!(world.client.ended(&first).await?.summary.state == State::Succeeded);
    ensure!(world.client.ended(&second).await?.summary.state == State::Succeeded);
    world.stop().await
}

#[tokio::test]
async fn cancel_reaches_a_waiting_a_queued_and_a_running_operation() -> Result<()> {
    let world = World::start().await?;
    let sleep = |site: &str| {
        json!({
            "name": "noisy.sleep",
            "target": {"kind": "site", "name": site},
            "variables": {"site": {"count": 600}},
        })
    };
    let running = world.client.submit(&sleep("a.test")).await?;
    world.client.until(&running, |detail| detail.summary.state == State::Running).await?;
    // The same target is locked, so this one waits behind it.
    let waiting = world.client.submit(&sleep("a.test")).await?;
    let detail = world.client.operation(&waiting).await?;
    ensure!(detail.summary.state == State::Waiting, "{detail:?}");
    ensure!(detail.waits_for.iter().any(|id| id.to_string() == running), "{detail:?}");

    let cancel = |id: &str| format!("/api/v1/operations/{id}/cancel");
    let by = json!({"requested_by": "a test"});
    ensure!(world.client.post(&cancel(&waiting), &by).await?.status == 202);
    let ended = world.client.ended(&waiting).await?;
    ensure!(ended.summary.state == State::Canceled && ended.attempts.iter().all(|a| a.node.is_none()));

    ensure!(world.client.post(&cancel(&running), &by).await?.status == 202);
    let ended = world.client.ended(&running).await?;
    ensure!(ended.summary.state == State::Canceled, "{ended:?}");
    let transcript = world.client.text(&running).await?;
    ensure!(transcript.contains(r#""local":"gone""#), "{transcript}");
    let again: Value = world.client.post(&cancel(&running), &by).await?.json()?;
    ensure!(again["code"] == "already_ended", "{again}");
    world.copies_are_equal(&running).await?;
    world.stop().await
}
