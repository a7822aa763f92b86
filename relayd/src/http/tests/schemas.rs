//! The published schemas say what relayd does: what one refuses the other does, and what is sent fits.

use aegir_protocol::message::{Message as _, decode};
use aegir_protocol::record::Stream;
use aegir_protocol::request::Request;
use axum::body::Body;
use futures_util::StreamExt as _;
use jsonschema::Validator;
use serde_json::{Value, json};

use super::{HttpState, bytes, document};

#[track_caller]
fn schema(name: &str) -> Validator {
    let (_, schema) = schemas().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name}"));
    jsonschema::validator_for(&schema).unwrap()
}

fn schemas() -> impl Iterator<Item = (String, Value)> {
    let all =
        [aegir_protocol::schema::all(), aegir_catalog::schema::all(), aegir_api::schema::all()].concat();
    all.into_iter().map(|(name, schema)| (name, schema.to_value()))
}

fn request() -> Value {
    json!({"name": "example.print", "target": {"kind": "site", "name": "example.test"},
           "variables": {"site": {"text": "x"}}, "hosts": [{"name": "web1", "services": {"nginx": {"a": 1}}}],
           "locks": [{"kind": "disk", "id": "a", "mode": "shared"}]})
}

/// The request with another value, or without one where it is null.
fn with(pointer: &str, value: Value) -> Value {
    let mut request = request();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = request.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer} is nowhere"));
    parent.as_object_mut().unwrap().insert(key.to_owned(), value);
    request
}

fn good() -> Vec<Value> {
    let text = "ä".repeat(255);
    [
        ("/priority", json!(0)),
        ("/priority", json!(9)),
        ("/timeout_seconds", json!(1)),
        ("/timeout_seconds", Value::Null),
        ("/requested_by", json!(text)),
        ("/requested_by", json!("")),
        ("/requested_by", Value::Null),
        ("/traceparent", json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        ("/idempotency_key", json!(text)),
        ("/backend", json!("main")),
        ("/backend", Value::Null),
        ("/dry_run", json!(true)),
        ("/check", json!(true)),
        ("/target/id", json!("a.b:c_d-e.")),
        ("/target/name", json!("1".repeat(253))),
        ("/hosts", json!([])),
        ("/hosts/0/address", json!("::1")),
        ("/hosts/0/port", json!(65535)),
        ("/hosts/0/user", json!("deploy")),
        ("/hosts/0/become", json!(true)),
        (
            "/hosts/0/host_keys",
            json!(["ssh-ed25519 AAAA+/=", " \tsk-ssh-ed25519@openssh.com  AAAA root@web1 ä"]),
        ),
        ("/locks/0/mode", json!("exclusive")),
        ("/variables/site/text", json!("ä\n")),
    ]
    .into_iter()
    .map(|(pointer, value)| with(pointer, value))
    .chain([request()])
    .collect()
}

fn bad() -> Vec<Value> {
    let long = "x".repeat(256);
    let hosts: Vec<_> = (0..257).map(|number| json!({"name": format!("web{number}")})).collect();
    let locks: Vec<_> = (0..257)
        .map(|number| json!({"kind": "disk", "id": format!("d{number}"), "mode": "shared"}))
        .collect();
    let mut bad: Vec<_> = [
        ("/priority", json!(10)),
        ("/priority", json!(-1)),
        ("/priority", json!(1.5)),
        ("/priority", json!("high")),
        ("/priority", json!(256)),
        ("/priority", Value::Null),
        ("/timeout_seconds", json!(0)),
        ("/timeout_seconds", json!(-1)),
        ("/timeout_seconds", json!("5m")),
        ("/requested_by", json!(long)),
        ("/requested_by", json!("a\nb")),
        ("/requested_by", json!("a\u{85}b")),
        ("/requested_by", json!("a\u{7f}")),
        ("/requested_by", json!(3)),
        ("/traceparent", json!(long)),
        ("/traceparent", json!("\u{0}")),
        ("/idempotency_key", json!("")),
        ("/idempotency_key", json!(long)),
        ("/idempotency_key", json!("a\tb")),
        ("/dry_run", json!("yes")),
        ("/check", json!("yes")),
        ("/varables", json!({})),
        ("/name", json!("example")),
        ("/name", json!("Example.print")),
        ("/name", json!("a.b.c")),
        ("/name", Value::Null),
        ("/backend", json!("a/b")),
        ("/target", json!(["site", "1", "x"])),
        ("/target/nam", json!("x")),
        ("/target/kind", json!("Site")),
        ("/target/name", json!("a..b")),
        ("/target/name", json!("")),
        ("/target/name", json!("-x")),
        ("/target/name", json!("a/b")),
        ("/target/name", json!("a\n")),
        ("/target/name", json!("1".repeat(254))),
        ("/target/id", json!("..")),
        ("/hosts", Value::Null),
        ("/hosts", json!({})),
        ("/hosts", json!([{}])),
        ("/hosts", json!([["web1", null, null, null]])),
        ("/hosts", json!(hosts)),
        ("/hosts/0/adress", json!("::1")),
        ("/hosts/0/hostkeys", json!([])),
        ("/hosts/0/name", json!("a..b")),
        ("/hosts/0/name", json!("x".repeat(64))),
        ("/hosts/0/address", json!("-oProxyCommand=x")),
        ("/hosts/0/port", json!(65536)),
        ("/hosts/0/port", json!(-1)),
        ("/hosts/0/port", json!("22")),
        ("/hosts/0/become", json!("yes")),
        ("/hosts/0/host_keys", json!("ssh-ed25519 AAAA")),
        ("/hosts/0/host_keys", json!(["nonsense"])),
        ("/hosts/0/host_keys", json!(["-x AAAA"])),
        ("/hosts/0/host_keys", json!(["ssh-ed25519 AA,AA"])),
        ("/hosts/0/host_keys", json!(["ssh-ed25519 AAAA\nssh-rsa AAAA"])),
        ("/hosts/0/services", json!(["nginx"])),
        ("/hosts/0/services", json!({"nginx": []})),
        ("/hosts/0/services", json!({"a b": {}})),
        ("/hosts/0/services", json!({"a..b": {}})),
        ("/hosts/0/services", json!({ "x".repeat(64): {} })),
        ("/hosts/0/services", json!({"nginx": {"A": 1}})),
        ("/locks", json!(locks)),
        ("/locks/0/mode", json!("both")),
        ("/locks/0/mod", json!("shared")),
        ("/variables", json!([])),
        ("/variables/site", json!(3)),
    ]
    .into_iter()
    .map(|(pointer, value)| with(pointer, value))
    .collect();
    bad.extend([
        json!({}),
        json!([]),
        Value::Null,
        json!("x"),
        json!(["example.print", {"kind": "site", "name": "x"}]),
    ]);
    bad
}

/// Whether relayd finds something wrong with it that no catalog has to be asked for.
async fn is_refused(site: &HttpState, path: &str, body: &Value) -> (bool, String) {
    let response = site.ask("POST", path, body.to_string()).await;
    let status = response.status().as_u16();
    if status < 300 {
        return (false, status.to_string());
    }
    let problem = document(response).await;
    (matches!(problem["code"].as_str(), Some("request_malformed" | "field_invalid")), problem.to_string())
}

#[tokio::test]
async fn schema_and_relayd_have_the_same_verdict_on_a_request() {
    let site = HttpState::new().await;
    let schema = schema("request");
    for (is_good, requests) in [(true, good()), (false, bad())] {
        for request in requests {
            let shown: String = request.to_string().chars().take(400).collect();
            let (refused, answer) = is_refused(&site, "/api/v1/operations", &request).await;
            assert_eq!(refused, !is_good, "relayd on {shown}: {answer}");
            let error = schema.validate(&request).err().map(|error| error.to_string());
            assert_eq!(error.is_none(), is_good, "the schema on {shown}: {error:?}");
        }
    }
}

#[tokio::test]
async fn schema_and_relayd_have_the_same_verdict_on_what_is_asked_of_an_operation() {
    let site = HttpState::new().await;
    let id = site.submit().await;
    let operation = |action: &str| format!("/api/v1/operations/{id}/{action}");
    let many = [
        json!({}),
        json!({"requested_by": null}),
        json!({"requested_by": "kim"}),
        json!({"requested_by": 3}),
        json!({"by": "kim"}),
        json!(["kim"]),
        json!([]),
        json!("kim"),
        Value::Null,
        json!({"plan": "a..b"}),
        json!({"plan": "3f0c"}),
        json!({"from_start": true}),
        json!({"from_start": "yes"}),
        json!({"reason": "x"}),
        json!({"reason": ["x"]}),
        json!({"backend": "-x"}),
        json!({"hosts": [{"name": "web1", "adress": "x"}]}),
        json!({"hosts": [["web1", null, null, null]]}),
    ];
    for (name, path) in [
        ("api.action_request", operation("cancel")),
        ("api.action_request", operation("lost")),
        ("api.retry_request", operation("retry")),
        ("api.approve_request", operation("approve")),
        ("api.pause_request", "/api/v1/backends/main/pause".to_owned()),
        ("api.check_request", "/api/v1/check".to_owned()),
    ] {
        let schema = schema(name);
        for body in &many {
            let (refused, answer) = is_refused(&site, &path, body).await;
            assert_eq!(refused, !schema.is_valid(body), "{name} {body}: {answer}");
        }
    }
}

#[test]
fn the_schema_of_an_envelope_is_that_of_the_message() {
    let schema = schema("envelope.request");
    let name = Request::SCHEMA;
    for (message, is_good) in [
        (json!({"schema": name, "body": request()}), true),
        (json!({"schema": name, "body": with("/hosts/0/adress", json!("x"))}), false),
        (json!({"schema": name, "body": request(), "idempotency_key": "x"}), false),
        (json!({"schema": "aegir.reply/0", "body": request()}), false),
        (json!({"schema": name}), false),
        (json!([name, request()]), false),
    ] {
        assert_eq!(schema.is_valid(&message), is_good, "the schema on {message}");
        assert_eq!(decode::<Request>(message.to_string().as_bytes()).is_ok(), is_good, "relayd on {message}");
    }
    for (name, schema) in schemas() {
        jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn what_is_sent_fits_its_schema() {
    let site = HttpState::new().await;
    let (id, lines) = site.finished(&[(Stream::Stdout, b"a\n"), (Stream::Stderr, b"\xff")]).await;
    let record = schema("record");
    for line in &lines {
        let line: Value = serde_json::from_slice(line).unwrap();
        assert!(record.is_valid(&line), "{line}");
        let mut newer = line.clone();
        newer["kind"] = json!("newer");
        newer["body"] = json!({"x": 1});
        assert!(record.is_valid(&newer), "{newer}");
        for (key, wrong) in [("seq", json!(0)), ("at", json!(3)), ("body", json!({})), ("body", json!([]))] {
            let mut line = line.clone();
            line[key] = wrong;
            assert!(!record.is_valid(&line), "{line}");
        }
    }
    let path = format!("/api/v1/operations/{id}");
    let detail = document(site.get(&path).await).await;
    assert!(schema("api.operation_detail").is_valid(&detail), "{detail}");
    let event = schema("api.event");
    let stream = site.get(&format!("{path}/events")).await.into_body().into_data_stream();
    let all = stream.map(|piece| String::from_utf8(piece.unwrap().to_vec()).unwrap()).collect::<Vec<_>>();
    let all = all.await.concat();
    let mut kinds = Vec::new();
    for text in all.split("\n\n").filter(|text| !text.is_empty()) {
        let fields = text.lines().filter_map(|line| line.split_once(": "));
        let fields = fields.map(|(name, value)| {
            let value = if name == "data" { serde_json::from_str(value).unwrap() } else { json!(value) };
            (name.to_owned(), value)
        });
        let sent = Value::Object(fields.collect());
        assert!(event.is_valid(&sent), "{sent}");
        kinds.push(sent["event"].as_str().unwrap().to_owned());
        let mut wrong = sent;
        wrong["data"] = json!({"seq": 0});
        assert!(!event.is_valid(&wrong), "{wrong}");
    }
    assert_eq!(kinds, ["state", "record", "record", "record", "record", "end"]);
    let refused = site.send("GET", "/api/v1/nodes", &[], Body::empty()).await;
    let problem: Value = serde_json::from_slice(&bytes(refused).await).unwrap();
    assert!(schema("api.problem").is_valid(&problem), "{problem}");
}
