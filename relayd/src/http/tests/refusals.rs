//! What is refused is refused in one way: a problem with the right code, whatever was wrong and whoever found it.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::json;

use super::{HttpState, document, header, problem};

/// Every route of the API with what it needs in its path, and the names of its parameters.
const ROUTES: &[(&str, &str, &[&str])] = &[
    ("GET", "/operations", &["state", "target", "name", "limit", "before"]),
    ("POST", "/operations", &[]),
    ("GET", "/operations/{id}", &[]),
    ("POST", "/operations/{id}/cancel", &[]),
    ("POST", "/operations/{id}/retry", &[]),
    ("POST", "/operations/{id}/approve", &[]),
    ("POST", "/operations/{id}/lost", &[]),
    ("GET", "/operations/{id}/transcript", &["attempt", "from", "limit", "tail"]),
    ("GET", "/operations/{id}/transcript/raw", &["attempt", "offset"]),
    ("GET", "/operations/{id}/output", &["attempt", "task", "stream"]),
    ("GET", "/operations/{id}/events", &["attempt", "from", "tail"]),
    ("GET", "/backends", &[]),
    ("POST", "/backends/main/pause", &[]),
    ("POST", "/backends/main/resume", &[]),
    ("GET", "/catalog", &[]),
    ("GET", "/targets/site/example.test/documents", &[]),
    ("POST", "/targets/site/example.test/documents/packages/refresh", &[]),
    ("GET", "/nodes", &[]),
    ("POST", "/check", &[]),
    ("GET", "/dead", &["code", "queue", "limit", "before"]),
    ("GET", "/dead/17", &[]),
    ("DELETE", "/dead/17", &[]),
    ("POST", "/dead/17/replay", &[]),
    ("POST", "/sign-in-links", &[]),
];

async fn refused(site: &HttpState, method: &str, path: &str, says: &str) {
    let response = site.ask(method, path, Body::empty()).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{method} {path}");
    assert_eq!(header(&response, "content-type"), "application/problem+json", "{method} {path}");
    let problem = document(response).await;
    assert_eq!(problem["code"], "parameter_invalid", "{method} {path}: {problem}");
    assert!(problem["detail"].as_str().unwrap().contains(says), "{method} {path}: {problem}");
}

#[tokio::test]
async fn no_route_takes_a_parameter_that_it_does_not_know_or_that_is_empty() {
    let site = HttpState::new().await;
    let (id, _) = site.finished(&[]).await;
    for (method, path, parameters) in ROUTES {
        let path = format!("/api/v1{}", path.replace("{id}", &id.to_string()));
        refused(&site, method, &format!("{path}?colour=red"), "\"colour\"").await;
        for parameter in *parameters {
            let says = format!("parameter {parameter} is empty");
            refused(&site, method, &format!("{path}?{parameter}="), &says).await;
            let says = format!("parameter {parameter} was sent twice");
            refused(&site, method, &format!("{path}?{parameter}=1&{parameter}=1"), &says).await;
        }
    }
}

#[tokio::test]
async fn a_parameter_that_can_not_be_is_named_with_what_can() {
    let site = HttpState::new().await;
    let (id, _) = site.finished(&[]).await;
    let none = "019235f0-7a3c-7def-8000-000000000001";
    for (path, wrong, says) in [
        ("/operations", "limit=0", "1 to 500 is expected"),
        ("/operations", "limit=501", "1 to 500 is expected"),
        ("/operations", "limit=x", "1 to 500 is expected"),
        ("/operations", "state=green", "waiting, queued"),
        ("/operations", "state=queued,", "can't be \"queued,\": word 2 of 2 is empty; one or more"),
        ("/operations", "state=,queued", "word 1 of 2 is empty"),
        ("/operations", "state=queued,,lost", "word 2 of 3 is empty"),
        ("/operations", "state=queued,green,", "word 2 of 3 is \"green\""),
        ("/operations", "state=,", "word 1 of 2 is empty"),
        ("/operations", "target=a/b", "KIND:NAME"),
        ("/operations", "name=x", "ROLE.OPERATION"),
        ("/operations", "before=x", "the id of an Operation"),
        ("/operations", &format!("before={none}"), "there is no such Operation"),
        ("/operations/{id}/transcript", "from=0", "1 or more"),
        ("/operations/{id}/transcript", "limit=0", "1 or more"),
        ("/operations/{id}/transcript", "tail=-1", "0 or more"),
        ("/operations/{id}/transcript", "attempt=0", "1 or more"),
        ("/operations/{id}/transcript/raw", "offset=-1", "0 or more"),
        ("/operations/{id}/output", "task=0", "the number of one of the attempt's Tasks"),
        ("/operations/{id}/output", "task=99", "1 (the attempt has one Task) is expected"),
        ("/operations/{id}/output", "stream=both", "stdout or stderr"),
        ("/operations/{id}/events", "from=0", "1 or more"),
        ("/operations/{id}/events", "attempt=x", "1 or more"),
        ("/dead", "limit=0", "1 to 500"),
        ("/dead", "before=x", "a number"),
    ] {
        let path = path.replace("{id}", &id.to_string());
        refused(&site, "GET", &format!("/api/v1{path}?{wrong}"), says).await;
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_is_not_there() {
    let site = HttpState::new().await;
    let not_found = (404, "not_found".to_owned(), None);
    for (method, path) in [
        ("GET", "/%ff%fe"),
        ("GET", "/api/v1/%ff%fe"),
        ("POST", "/api/v1/backends/%ff%fe/pause"),
        ("POST", "/api/v1/backends/%ff%fe/resume"),
        ("POST", "/api/v1/backends/-x/pause"),
        ("GET", "/api/v1/targets/%ff%fe/x/documents"),
        ("GET", "/api/v1/targets/site/%ff%fe/documents"),
        ("GET", "/api/v1/targets/Site/x/documents"),
        ("POST", "/api/v1/targets/site/x/documents/%ff%fe/refresh"),
        ("GET", "/assets/%ff%fe"),
    ] {
        assert_eq!(problem(site.ask(method, path, Body::empty()).await).await, not_found, "{path}");
    }
    for (path, code) in
        [("/api/v1/operations/%ff%fe", "no_such_operation"), ("/api/v1/dead/%ff%fe", "no_such_dead_letter")]
    {
        assert_eq!(problem(site.get(path).await).await, (404, code.to_owned(), None), "{path}");
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_says_which_it_does() {
    let site = HttpState::new().await;
    for (method, path, allow) in [
        ("DELETE", "/api/v1/operations", "GET,HEAD,POST"),
        ("GET", "/api/v1/backends/main/pause", "POST"),
        ("PUT", "/api/v1/nodes", "GET,HEAD"),
        ("POST", "/healthz", "GET,HEAD"),
        ("BREW", "/problems", "GET,HEAD"),
    ] {
        let response = site.ask(method, path, Body::empty()).await;
        let mut allowed: Vec<_> = header(&response, "allow").split(',').map(str::trim).collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{path}");
        assert_eq!(problem(response).await, (405, "method_not_allowed".to_owned(), None), "{path}");
    }
}

#[tokio::test]
async fn a_backend_that_nobody_knows_is_neither_paused_nor_resumed() {
    let site = HttpState::new().await;
    for action in ["pause", "resume"] {
        let response = site.ask("POST", &format!("/api/v1/backends/nope/{action}"), "").await;
        assert_eq!(problem(response).await, (404, "no_such_backend".to_owned(), None), "{action}");
        let response = site.ask("POST", &format!("/api/v1/backends/main/{action}"), "").await;
        assert_eq!(response.status(), StatusCode::OK, "{action}");
    }
}

#[tokio::test]
async fn an_idempotency_key_is_there_or_not() {
    let site = HttpState::new().await;
    let request = json!({"name": "example.print", "target": {"kind": "site", "name": "example.test"},
                         "variables": {"site": {"text": "x"}}});
    let bearer = format!("Bearer {}", site.token);
    let post = async |keys: &[&str]| {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(keys.iter().map(|key| ("idempotency-key", *key)));
        site.send("POST", "/api/v1/operations", &headers, request.to_string()).await
    };
    let long = "x".repeat(256);
    for keys in [&[""][..], &["a", "b"], &[&long]] {
        assert_eq!(problem(post(keys).await).await.1, "field_invalid", "{keys:?}");
    }
    for keys in [&[][..], &[&long[1..]]] {
        assert_eq!(post(keys).await.status(), StatusCode::CREATED, "{keys:?}");
    }
}
