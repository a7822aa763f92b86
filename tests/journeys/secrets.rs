//! A secret is nowhere in the clear but in the child that needs it.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::world::World;

const SECRET: &str = r#"s3cr3t "quoted" wörd & more"#;

/// Whether any file below a directory contains these bytes.
pub(crate) fn contains(directory: &Path, needle: &[u8]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory)? {
            let (kind, path) = {
                let entry = entry?;
                (entry.file_type()?, entry.path())
            };
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                // A file of the broker or the journal may go while we look.
                let bytes = std::fs::read(&path).unwrap_or_default();
                if bytes.windows(needle.len()).any(|window| window == needle) {
                    found.push(path.display().to_string());
                }
            }
        }
    }
    Ok(found)
}

#[tokio::test]
async fn a_secret_is_sealed_at_rest_and_masked_in_the_transcript() -> Result<()> {
    let world = World::start().await?;
    let request = json!({
        "name": "noisy.whisper",
        "target": {"kind": "site", "name": "secret.test"},
        "variables": {"site": {"password": {"secret": SECRET}}},
    });
    let id = world.client.succeeds(&request).await?;
    let output = String::from_utf8(world.client.output(&id, 1, "stdout").await?)?;
    for (line, prefix) in output.lines().zip(["plain ", "json ", "base64 "]) {
        let rest = line.strip_prefix(prefix).unwrap_or_default();
        ensure!(rest.trim_matches(['"', '=']).chars().all(|c| c == '*'), "not masked: {line}");
    }
    // The last line has the secret across the cut between two records.
    ensure!(output.lines().nth(3).is_some_and(|line| line.ends_with("***")), "not masked across the cut");
    let detail = world.client.get(&format!("/api/v1/operations/{id}")).await?.body;
    let detail = std::str::from_utf8(&detail)?;
    ensure!(detail.contains("sealed"), "{detail}");
    ensure!(!detail.contains("s3cr3t"), "{detail}");
    world.copies_are_equal(&id).await?;
    // Store, broker, journal, spool and logs.
    let leaks = contains(world.directory(), b"s3cr3t")?;
    ensure!(leaks.is_empty(), "in the clear: {leaks:?}");
    world.stop().await
}

#[tokio::test]
async fn a_secret_that_can_not_be_masked_is_refused() -> Result<()> {
    let world = World::start().await?;
    for value in [json!({"secret": "short"}), json!("in the clear")] {
        let request = json!({
            "name": "noisy.whisper",
            "target": {"kind": "site", "name": "secret.test"},
            "variables": {"site": {"password": value}},
        });
        let (status, problem) = world.client.refused(&request).await?;
        ensure!(status == 422 && problem["code"] == "secret_invalid", "{problem}");
        ensure!(problem["errors"][0]["pointer"] == "/variables/site/password", "{problem}");
        ensure!(!problem.to_string().contains("in the clear\""), "the value is in the answer: {problem}");
    }
    world.stop().await
}
