//! Bad input gets an answer that says what is wrong, stops no daemon, and loses nothing.

use aegir_amqp::topology::REQUESTS;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::world::World;

fn print() -> Value {
    json!({"name": "noisy.print", "target": {"kind": "site", "name": "bad.test"}})
}

/// The request with one member, at a JSON pointer's parent, set.
fn with(mut request: Value, path: &[&str], value: Value) -> Value {
    let mut at = &mut request;
    for key in path {
        at = &mut at[*key];
    }
    *at = value;
    request
}

#[tokio::test]
async fn a_bad_request_is_pointed_at() -> Result<()> {
    let world = World::start().await?;
    let long = "x".repeat(10_000);
    let cases: Vec<(Value, u16, &str, Option<&str>)> = vec![
        (with(print(), &["name"], json!("nobody.print")), 422, "unknown_role", Some("/name")),
        (with(print(), &["name"], json!("noisy.sing")), 422, "unknown_operation", Some("/name")),
        (with(print(), &["backend"], json!("elsewhere")), 422, "unknown_backend", Some("/backend")),
        (with(print(), &["target", "kind"], json!("host")), 422, "target_kind", Some("/target/kind")),
        (
            with(print(), &["variables"], json!({"site": {"count": "many"}})),
            422,
            "variable_invalid",
            Some("/variables/site/count"),
        ),
        (
            with(print(), &["variables"], json!({"site": {"colour": "red"}})),
            422,
            "variable_undeclared",
            Some("/variables/site/colour"),
        ),
        (
            with(print(), &["variables"], json!({"site": {"ansible_connection": "local"}})),
            422,
            "variable_reserved",
            Some("/variables/site/ansible_connection"),
        ),
        (
            json!({"name": "noisy.whisper", "target": {"kind": "site", "name": "x"}}),
            422,
            "variable_missing",
            Some("/variables/site/password"),
        ),
        (
            json!({"name": "probe.write", "target": {"kind": "site", "name": "x"},
            "variables": {"site": {"path": "/tmp/x", "text": "x"}}}),
            422,
            "no_host_for_task",
            Some("/hosts"),
        ),
        (with(print(), &["target", "name"], json!("a\nb")), 400, "request_malformed", None),
        (with(print(), &["target", "name"], json!("a/b")), 400, "request_malformed", None),
        (with(print(), &["target", "name"], json!("-rf")), 400, "request_malformed", None),
        (with(print(), &["target", "name"], json!(long)), 400, "request_malformed", None),
        (with(print(), &["hosts"], json!([{"name": "-oProxyCommand=id"}])), 400, "request_malformed", None),
        (
            with(print(), &["hosts"], json!([{"name": "web1", "address": "-x"}])),
            400,
            "request_malformed",
            None,
        ),
        (with(print(), &["varables"], json!({})), 400, "request_malformed", None),
        (with(print(), &["priority"], json!(10)), 422, "field_invalid", Some("/priority")),
    ];
    for (request, status, code, pointer) in cases {
        let shown: String = request.to_string().chars().take(200).collect();
        let (got, problem) = world.client.refused(&request).await.context(shown.clone())?;
        ensure!(got == status && problem["code"] == code, "{shown}: {got} {problem}");
        ensure!(problem.to_string().len() < 4096, "{shown}: the answer is too long");
        if let Some(pointer) = pointer {
            let pointers = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
            ensure!(pointers.iter().any(|error| error["pointer"] == pointer), "{shown}: {problem}");
        }
    }
    let body = "{not json".to_owned();
    let (status, problem) = world.post_text("/api/v1/operations", body).await?;
    ensure!(status == 400 && problem["code"] == "request_malformed", "{problem}");
    let body = format!("\"{}\"", "x".repeat(2 * 1024 * 1024));
    let (status, problem) = world.post_text("/api/v1/operations", body).await?;
    ensure!(status == 413 && problem["code"] == "body_too_large", "{problem}");
    world.client.succeeds(&print()).await?;
    world.stop().await
}

#[tokio::test]
async fn a_bad_message_is_dead_lettered_with_its_reason() -> Result<()> {
    let world = World::start().await?;
    let too_large = "x".repeat(1024 * 1024 + 1);
    let bodies: Vec<(&str, &str)> = vec![
        ("not json", "message_malformed"),
        (r#"{"schema":"somebody.else/0","body":{}}"#, "schema_unknown"),
        (r#"{"schema":"aegir.operation/9","body":{}}"#, "schema_too_new"),
        (r#"{"schema":"aegir.heartbeat/0","body":{}}"#, "message_misplaced"),
        (&too_large, "message_too_large"),
    ];
    for queue in world.queues() {
        for (body, code) in &bodies {
            world.put(queue, body.as_bytes()).await?;
            let (header, dead) = world.dead_letter().await?;
            ensure!(header == *code, "{queue:?}: {header} instead of {code}");
            // A request that is no JSON may hold a secret anywhere.
            let searchable = serde_json::from_str::<Value>(body).is_ok();
            let kept = if queue.0 == REQUESTS && !searchable { "" } else { body };
            ensure!(dead == kept.as_bytes(), "{queue:?}: the body was changed");
        }
    }
    world.client.succeeds(&print()).await?;
    world.stop().await
}
