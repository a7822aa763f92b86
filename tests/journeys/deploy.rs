//! A static site, deployed on a minion through Ansible; and what minions, sources and playbooks can get wrong.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::world::World;

const PAGE: &str = "<!doctype html><title>example.test</title><p>It works &amp; is whole: äöü\n";

fn site(world: &World, operation: &str, source: &str) -> Value {
    json!({
        "name": format!("static_site.{operation}"),
        "target": {"kind": "site", "name": "example.test"},
        "hosts": [world.cluster.host()],
        "variables": world.cluster.site_variables(Path::new(source)),
    })
}

#[tokio::test]
async fn a_static_site_is_deployed_again_and_deleted() -> Result<()> {
    let world = World::start().await?;
    let source = world.content("example.test", &[("index.html", PAGE), ("a/b.txt", "beside it")])?;
    let id = world.client.succeeds(&site(&world, "deploy", &source)).await?;
    ensure!(world.fetch("example.test", "/").await? == (200, PAGE.as_bytes().to_vec()), "not the page");
    ensure!(world.fetch("example.test", "/a/b.txt").await?.1 == b"beside it");
    let detail = world.client.operation(&id).await?;
    let locks: Vec<String> =
        detail.locks.iter().map(|lock| format!("{}:{} {:?}", lock.kind, lock.id, lock.mode)).collect();
    ensure!(locks == ["host:web1 Shared", "site:example.test Exclusive"], "{locks:?}");
    world.copies_are_equal(&id).await?;

    // The same source again changes nothing, and says so.
    let again = world.client.succeeds(&site(&world, "deploy", &source)).await?;
    let transcript = world.client.text(&again).await?;
    ensure!(!transcript.contains(r#""status":"changed""#), "something changed: {transcript}");
    ensure!(transcript.contains(r#""status":"ok""#), "{transcript}");

    // A dry run of a new content changes nothing either, and says what it would.
    world.content("example.test", &[("index.html", "new")])?;
    let mut dry = site(&world, "deploy", &source);
    dry["dry_run"] = json!(true);
    dry["variables"]["site"]["expected"] = json!("It works");
    let id = world.client.succeeds(&dry).await?;
    ensure!(world.client.text(&id).await?.contains(r#""status":"changed""#));
    ensure!(world.fetch("example.test", "/").await?.1 == PAGE.as_bytes(), "a dry run changed the page");

    world.client.succeeds(&site(&world, "deploy", &source)).await?;
    ensure!(world.fetch("example.test", "/").await?.1 == b"new");
    world.client.succeeds(&site(&world, "verify", &source)).await?;
    world.client.succeeds(&site(&world, "delete", &source)).await?;
    ensure!(world.fetch("example.test", "/").await?.1 != b"new", "the page is still there");
    world.stop().await
}

#[tokio::test]
async fn a_value_arrives_on_the_minion_as_those_very_characters() -> Result<()> {
    let world = World::start().await?;
    let path = world.directory().join("written");
    for text in
        ["{{ lookup('pipe','id') }}", "$(id) `id` ; id | id", "{% raw %}", "ä\"\\'\n\ttab", "!unsafe x"]
    {
        let request = json!({
            "name": "probe.write",
            "target": {"kind": "site", "name": "probe.test"},
            "hosts": [world.cluster.host()],
            "variables": {"site": {"path": path, "text": text}},
        });
        world.client.succeeds(&request).await?;
        ensure!(
            std::fs::read_to_string(&path)? == text,
            "{text:?} became {:?}",
            std::fs::read_to_string(&path)?
        );
    }
    world.stop().await
}

#[tokio::test]
async fn a_source_outside_the_content_roots_is_refused() -> Result<()> {
    let world = World::start().await?;
    let inside = world.content("linked.test", &[("index.html", PAGE)])?;
    std::os::unix::fs::symlink("/etc", format!("{inside}/etc"))?;
    let out = world.content("out.test", &[])?;
    std::fs::remove_dir(&out)?;
    std::os::unix::fs::symlink("/etc", &out)?;
    let cases = [
        ("directory", "/etc", "HEAD"),
        ("directory", out.as_str(), "HEAD"),
        ("directory", inside.as_str(), "HEAD"),
        ("archive", "file:///etc/passwd", "HEAD"),
        ("git", "ext::sh -c id", "HEAD"),
        ("git", "file:///etc", "HEAD"),
        ("git", "https://127.0.0.1:1/x.git", "--upload-pack=id"),
    ];
    for (kind, source, reference) in cases {
        let mut request = site(&world, "deploy", source);
        request["variables"]["site"]["source_kind"] = json!(kind);
        request["variables"]["site"]["ref"] = json!(reference);
        let response = world.client.post("/api/v1/operations", &request).await?;
        if response.status == 422 {
            let problem: Value = response.json()?;
            ensure!(problem["code"] == "variable_invalid", "{source}: {problem}");
            continue;
        }
        let accepted: Value = response.json()?;
        let id = accepted["id"].as_str().unwrap_or_default();
        let detail = world.client.ended(id).await?;
        let code = detail.summary.reason.map(|reason| reason.code).unwrap_or_default();
        ensure!(code == "source_not_allowed", "{source}: {code}\n{}", world.client.text(id).await?);
    }
    ensure!(world.fetch("example.test", "/").await?.1 != PAGE.as_bytes());
    world.stop().await
}

#[tokio::test]
async fn what_a_minion_can_get_wrong_has_a_code() -> Result<()> {
    let world = World::start().await?;
    let request = |host: Value| {
        json!({
            "name": "probe.write",
            "target": {"kind": "site", "name": "probe.test"},
            "hosts": [host],
            "variables": {"site": {"path": "/nonexistent/x", "text": "x"}},
        })
    };
    let changed = |key: &str, value: Value| {
        let mut host = world.cluster.host();
        host[key] = value;
        host
    };
    let other_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    let cases = [
        (changed("port", json!(1)), "minion_unreachable"),
        (changed("user", json!("nobody-of-that-name")), "login_refused"),
        (changed("host_keys", json!([other_key])), "host_key_changed"),
        (changed("host_keys", json!([])), "host_key_unknown"),
        (world.cluster.host(), "task_failed"),
    ];
    for (host, expected) in cases {
        let (id, code) = world.client.fails(&request(host)).await?;
        ensure!(code == expected, "{code} instead of {expected}\n{}", world.client.text(&id).await?);
        world.copies_are_equal(&id).await?;
    }
    let broken = json!({
        "name": "probe.broken", "target": {"kind": "site", "name": "probe.test"}, "hosts": [world.cluster.host()],
    });
    let (id, code) = world.client.fails(&broken).await?;
    ensure!(code == "playbook_invalid", "{code}\n{}", world.client.text(&id).await?);
    world.stop().await
}

#[tokio::test]
async fn a_playbook_runs_once_through_restarts_of_both_daemons() -> Result<()> {
    let mut world = World::start().await?;
    let path = world.directory().join("runs");
    let request = json!({
        "name": "probe.slow",
        "target": {"kind": "site", "name": "probe.test"},
        "hosts": [world.cluster.host()],
        "variables": {"site": {"path": path, "seconds": 5}},
    });
    let id = world.client.submit(&request).await?;
    world.client.until(&id, |_| path.exists()).await?;
    world.cluster.dispatcherd.kill().await?;
    world.cluster.relayd.kill().await?;
    world.cluster.relayd.start_again().await?;
    world.cluster.dispatcherd.start_again().await?;
    let detail = world.client.ended(&id).await?;
    ensure!(detail.summary.state.as_str() == "succeeded", "{detail:#?}");
    ensure!(std::fs::read_to_string(&path)? == "run\n", "it did not run once");
    world.copies_are_equal(&id).await?;
    world.stop().await
}

#[tokio::test]
async fn cancel_stops_the_remote_side_too() -> Result<()> {
    let world = World::start().await?;
    let path = world.directory().join("runs");
    let request = json!({
        "name": "probe.slow",
        "target": {"kind": "site", "name": "probe.test"},
        "hosts": [world.cluster.host()],
        "variables": {"site": {"path": path, "seconds": 98_765}},
    });
    let id = world.client.submit(&request).await?;
    world.client.until(&id, |_| crate::world::runs("sleep\u{0}98765\u{0}")).await?;
    ensure!(world.client.post(&format!("/api/v1/operations/{id}/cancel"), &json!({})).await?.status == 202);
    let detail = world.client.ended(&id).await?;
    ensure!(detail.summary.state.as_str() == "canceled", "{detail:#?}");
    ensure!(!crate::world::runs("sleep\u{0}98765\u{0}"), "the remote side still runs");
    let transcript = world.client.text(&id).await?;
    ensure!(transcript.contains(r#""local":"gone","remote":"gone""#), "{transcript}");
    world.stop().await
}
