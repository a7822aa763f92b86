//! What a role hands over about its target.

use std::time::Duration;

use aegir_api::DocumentList;
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::world::World;

fn request(world: &World, text: &str, dry_run: bool) -> Value {
    json!({
        "name": "probe.tell",
        "target": {"kind": "site", "id": "42", "name": "told.test"},
        "hosts": [world.cluster.host()],
        "variables": {"site": {"text": text}},
        "dry_run": dry_run,
    })
}

#[tokio::test]
async fn a_value_is_kept_for_the_target_until_a_later_one_comes() -> Result<()> {
    let world = World::start().await?;
    let path = "/api/v1/targets/site/42/documents";
    let kept = async || anyhow::Ok(world.client.get(path).await?.json::<Value>()?["documents"].clone());
    ensure!(kept().await? == json!([]));
    for text in ["first", "{{ not a template }}"] {
        let id = world.client.succeeds(&request(&world, text, false)).await?;
        let kept = kept().await?;
        ensure!(kept[0]["value"] == json!({"text": text}) && kept[0]["operation"] == json!(id), "{kept:#}");
    }
    ensure!(kept().await?[0]["stale"] == json!(false), "it is fresh for an hour");
    world.client.succeeds(&request(&world, "a dry run's", true)).await?;
    let mut aegir = world.cluster.aegir(&["documents", "site:42", "said"])?;
    let said = spawn_blocking(move || aegir.output()).await??;
    let value: Value = serde_json::from_slice(&said.stdout)?;
    ensure!(value == json!({"text": "{{ not a template }}"}), "{said:?}");

    let nothing = world.client.get("/api/v1/targets/site/..%2f/documents").await?;
    ensure!(nothing.status == 404, "{nothing:?}");
    world.stop().await
}

#[tokio::test]
async fn a_stale_value_is_shown_so_and_asked_for_again() -> Result<()> {
    let world = World::start().await?;
    let path = "/api/v1/targets/site/42/documents";
    let kept = async || anyhow::Ok(world.client.get(path).await?.json::<Value>()?["documents"][1].clone());
    let first = world.client.succeeds(&request(&world, "hello", false)).await?;
    let wait = async {
        loop {
            let kept = kept().await?;
            if kept["stale"] == json!(true) {
                return anyhow::Ok(kept);
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let shown = timeout(Duration::from_secs(30), wait).await??;
    ensure!(shown["name"] == "stale" && shown["operation"] == json!(first), "{shown:#}");
    let asked = world.client.post(&format!("{path}/stale/refresh"), &json!({"requested_by": "kim"})).await?;
    ensure!(asked.status == 201, "{asked:?}");
    let again = asked.json::<Value>()?["id"].as_str().unwrap_or_default().to_owned();
    world.client.ended(&again).await?;
    let shown = kept().await?;
    ensure!(again != first && shown["operation"] == json!(again), "{shown:#}");
    // A field of another entity, both of kinds that only the frontend knows.
    let mut host = world.cluster.host();
    host["services"] = json!({"php-fpm": {}});
    let label = json!({
        "name": "probe.label",
        "target": {"kind": "bundle", "id": "b7", "name": "shops"},
        "hosts": [host],
        "variables": {"bundle": {"label": "{{ shops }}"}},
    });
    let id = world.client.succeeds(&label).await?;
    let all = world.aegir(&["log", &id, "--all"]).await?;
    ensure!(all.contains("PLAY RECAP") && !all.contains("WARNING"), "{all}");
    let other = "/api/v1/targets/codebase/c1/documents";
    let hashes = [
        "e130a5d13096a1bae28c4373b42947532197891c524784de8181baff5cae3df3",
        "a94362fbe5a17bbedc5d1296a23b3994cf93383b609e399e6aa562d963b14774",
    ];
    for (path, name, value, sha256) in [
        ("/api/v1/targets/bundle/b7/documents", "label", "{{ shops }}", hashes[0]),
        (other, "labeled_by", "shops", hashes[1]),
    ] {
        let kept: DocumentList = world.client.get(path).await?.json()?;
        let [document] = &kept.documents[..] else { bail!("{kept:#?}") };
        ensure!(document.name.as_str() == name && document.value == json!(value), "{document:#?}");
        ensure!(document.operation.to_string() == id && document.attempt.get() == 1, "{document:#?}");
        ensure!(document.operation_name.to_string() == "probe.label", "{document:#?}");
        ensure!(document.sha256 == sha256, "{document:#?}");
        let ended = world.client.operation(&id).await?.summary;
        ensure!((ended.requested_at..=ended.changed_at).contains(&document.produced_at), "{document:#?}");
    }
    // It never grows old, so nothing is done again for it; and nothing dangerous for any.
    let mut dangerous = request(&world, "hello", false);
    dangerous["name"] = "probe.tell_over".into();
    world.client.succeeds(&dangerous).await?;
    for (of, why) in
        [(format!("{other}/labeled_by"), "fresh_seconds"), (format!("{path}/said"), "probe.tell_over")]
    {
        let refused = world.client.post(&format!("{of}/refresh"), &json!({})).await?;
        let (status, problem) = (refused.status, refused.json::<Value>()?);
        ensure!(status == 409 && problem["code"] == "not_refreshable", "{problem}");
        ensure!(problem["detail"].as_str().is_some_and(|detail| detail.contains(why)), "{problem}");
    }
    let nothing = world.client.post(&format!("{path}/other/refresh"), &json!({})).await?;
    ensure!(nothing.status == 404, "{nothing:?}");
    world.stop().await
}
