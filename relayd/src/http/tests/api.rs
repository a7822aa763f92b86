//! Submitting, listing, canceling, and everything that is refused.

use aegir_protocol::limits::MAX_MESSAGE;
use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{HttpState, document, header, problem, text};

fn request() -> Value {
    json!({"name": "example.print", "target": {"kind": "site", "name": "example.test"},
           "variables": {"site": {"text": "x"}}})
}

#[tokio::test]
async fn the_api_wants_the_token_and_health_does_not() {
    let site = HttpState::new().await;
    for path in ["/api/v1/operations", "/api/v1/catalog", "/api/v1/nodes", "/metrics"] {
        for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("cookie", "aegir_session=wrong")]] {
            let response = site.send("GET", path, headers, Body::empty()).await;
            assert_eq!(header(&response, "www-authenticate"), "Bearer");
            assert_eq!(problem(response).await, (401, "unauthorized".to_owned(), None));
        }
        assert_eq!(site.get(path).await.status(), StatusCode::OK, "{path}");
    }
    let response = site.send("GET", "/healthz", &[], Body::empty()).await;
    assert_eq!(response.status(), StatusCode::OK);
    // There is no broker.
    let response = site.send("GET", "/readyz", &[], Body::empty()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(text(response).await.contains("broker"));
}

#[tokio::test]
async fn a_request_is_stored_once_for_a_key() {
    let site = HttpState::new().await;
    let bearer = format!("Bearer {}", site.token);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k1")];
    let first = site.send("POST", "/api/v1/operations", &headers, request().to_string()).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let location = header(&first, "location").to_owned();
    let accepted = document(first).await;
    assert_eq!(location, format!("/api/v1/operations/{}", accepted["id"].as_str().unwrap()));
    assert_eq!((&accepted["repeated"], &accepted["published"]), (&json!(false), &json!(false)));

    let again = site.send("POST", "/api/v1/operations", &headers, request().to_string()).await;
    assert_eq!(again.status(), StatusCode::OK);
    assert_eq!(document(again).await["id"], accepted["id"]);

    let mut other = request();
    other["dry_run"] = json!(true);
    let conflict = site.send("POST", "/api/v1/operations", &headers, other.to_string()).await;
    assert_eq!(problem(conflict).await, (409, "idempotency_conflict".to_owned(), None));

    let shown = document(site.get(&location).await).await;
    assert_eq!(shown["summary"]["id"], accepted["id"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let site = HttpState::new().await;
    let post = async |body: String| problem(site.ask("POST", "/api/v1/operations", body).await).await;
    let expect =
        |status, code: &str, pointer: Option<&str>| (status, code.to_owned(), pointer.map(str::to_owned));
    assert_eq!(post("{".to_owned()).await, expect(400, "request_malformed", None));
    let mut wrong = request();
    wrong["target"]["name"] = json!("-rf");
    assert_eq!(post(wrong.to_string()).await, expect(400, "request_malformed", Some("/target/name")));
    let mut wrong = request();
    wrong["name"] = json!("example.other");
    assert_eq!(post(wrong.to_string()).await, expect(422, "unknown_operation", Some("/name")));
    let mut wrong = request();
    wrong["variables"]["site"]["ansible_connection"] = json!("local");
    let pointer = Some("/variables/site/ansible_connection");
    assert_eq!(post(wrong.to_string()).await, expect(422, "variable_reserved", pointer));
    assert_eq!(post("x".repeat(MAX_MESSAGE + 1)).await, expect(413, "body_too_large", None));
    // Without a length that is announced, too.
    let chunks = (0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]));
    let endless = Body::from_stream(futures_util::stream::iter(chunks));
    let response = site.ask("POST", "/api/v1/operations", endless).await;
    assert_eq!(problem(response).await, expect(413, "body_too_large", None));
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let site = HttpState::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, site.submit().await.to_string());
    }
    let list = async |query: &str| {
        let list = document(site.get(&format!("/api/v1/operations?{query}")).await).await;
        let ids =
            list["operations"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), list["next"].as_str().map(str::to_owned))
    };
    assert_eq!(list("").await, (ids.clone(), None));
    let (page, next) = list("limit=2").await;
    assert_eq!(page, ids[..2]);
    assert_eq!(list(&format!("limit=2&before={}", next.unwrap())).await, (vec![ids[2].clone()], None));
    // The first holds the lock on the target; the others wait for it.
    assert_eq!(list("state=queued").await.0, ids[2..]);
    assert_eq!(list("state=waiting,queued&target=site:example.test&name=example.print").await.0, ids);
    assert_eq!(list("target=site:other.test").await.0, Vec::<String>::new());
}

#[tokio::test]
async fn canceling_is_accepted_once() {
    let site = HttpState::new().await;
    let id = site.submit().await;
    let path = format!("/api/v1/operations/{id}/cancel");
    let response = site.ask("POST", &path, r#"{"requested_by": "kim"}"#).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(document(response).await["state"], "canceled");
    assert_eq!(problem(site.ask("POST", &path, Body::empty()).await).await.1, "already_ended");

    let id = site.submit().await;
    site.claim(id).await;
    let path = format!("/api/v1/operations/{id}/cancel");
    assert_eq!(document(site.ask("POST", &path, Body::empty()).await).await["cancel_requested"], true);
    let again = problem(site.ask("POST", &path, Body::empty()).await).await;
    assert_eq!(again, (409, "already_canceled".to_owned(), None));
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let site = HttpState::new().await;
    let none = "019235f0-7a3c-7def-8000-000000000001";
    for path in ["", "/transcript", "/transcript/raw", "/output", "/events"] {
        for id in [none, "x", "..%2F.."] {
            let response = site.get(&format!("/api/v1/operations/{id}{path}")).await;
            assert_eq!(problem(response).await, (404, "no_such_operation".to_owned(), None), "{id}{path}");
        }
    }
    for path in ["/nothing", "/api/v1/nothing", "/api/v2/operations"] {
        assert_eq!(problem(site.get(path).await).await, (404, "not_found".to_owned(), None), "{path}");
    }
}

#[tokio::test]
async fn a_check_stops_at_the_first_closed_hop() {
    let site = HttpState::new().await;
    let report = document(site.ask("POST", "/api/v1/check", "{}").await).await;
    assert_eq!(report["ok"], false);
    let hops = report["hops"].as_array().unwrap();
    assert_eq!((hops[0]["name"].as_str(), hops[0]["ok"].as_bool()), (Some("store"), Some(true)));
    assert_eq!((hops[1]["name"].as_str(), hops[1]["ok"].as_bool()), (Some("broker"), Some(false)));
    assert_eq!(hops.len(), 2);
}

#[test]
fn the_reference_lists_every_path() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/http-api.md");
    let reference = std::fs::read_to_string(path).unwrap();
    let routes =
        include_str!("../api/mod.rs").split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    assert!(routes.clone().count() > 5);
    for route in routes {
        assert!(reference.contains(&format!("/api/v1{route}")), "{route} is not explained");
    }
}
