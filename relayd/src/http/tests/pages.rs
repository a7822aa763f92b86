//! The page: signing in, what it shows, and what it refuses.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::json;

use super::{HttpState, document, header, problem, text};

async fn link(site: &HttpState) -> String {
    let response = site.ask("POST", "/api/v1/sign-in-links", "{}").await;
    assert_eq!(response.status(), StatusCode::CREATED);
    document(response).await["path"].as_str().unwrap().to_owned()
}

/// Signs in; the cookie as a browser sends it back.
async fn sign_in(site: &HttpState) -> String {
    let path = link(site).await;
    let response = site.send("GET", &path, &[], Body::empty()).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(header(&response, "location"), "/");
    let cookie = header(&response, "set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_link_signs_in_once() {
    let site = HttpState::new().await;
    let response = site.send("GET", "/", &[], Body::empty()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(text(response).await.contains("aegir sign-in"));

    let path = link(&site).await;
    // A program that previews links does not use it up.
    let preview = site.send("HEAD", &path, &[], Body::empty()).await;
    assert_eq!(preview.status(), StatusCode::NO_CONTENT);
    let first = site.send("GET", &path, &[], Body::empty()).await;
    assert_eq!(first.status(), StatusCode::SEE_OTHER);
    let second = site.send("GET", &path, &[], Body::empty()).await;
    assert_eq!(second.status(), StatusCode::UNAUTHORIZED);
    assert!(second.headers().get("set-cookie").is_none());
    assert!(text(second).await.contains("has been used"));
    let guessed = site.send("GET", "/sign-in?code=guessed", &[], Body::empty()).await;
    assert_eq!(guessed.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_sees_the_pages_until_it_is_ended() {
    let site = HttpState::new().await;
    let cookie = sign_in(&site).await;
    let id = site.submit().await;
    for path in ["/".to_owned(), format!("/operations/{id}"), format!("/api/v1/operations/{id}")] {
        let response = site.send("GET", &path, &[("cookie", &cookie)], Body::empty()).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
    let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
    let response = site.send("POST", "/sign-out", &headers, Body::empty()).await;
    assert!(header(&response, "set-cookie").contains("Max-Age=0"));
    let response = site.send("GET", "/", &[("cookie", &cookie)], Body::empty()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn another_site_can_not_press_buttons() {
    let site = HttpState::new().await;
    let cookie = sign_in(&site).await;
    let id = site.submit().await;
    let (page, api) = (format!("/operations/{id}/cancel"), format!("/api/v1/operations/{id}/cancel"));
    let foreign: [&[(&str, &str)]; 4] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "http://evil.test"), ("host", "127.0.0.1:7180")],
        &[],
    ];
    for headers in foreign {
        let headers = [&[("cookie", cookie.as_str())], headers].concat();
        let response = site.send("POST", &api, &headers, Body::empty()).await;
        assert_eq!(problem(response).await, (403, "cross_site".to_owned(), None));
        let response = site.send("POST", &page, &headers, Body::empty()).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert!(text(response).await.contains("cross_site"));
    }
    let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
    let response = site.send("POST", &page, &headers, Body::empty()).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(header(&response, "location"), format!("/operations/{id}"));
    let response = site.send("POST", &page, &headers, Body::empty()).await;
    assert!(text(response).await.contains("already_ended"));
    let response = site.send("POST", &format!("/operations/{id}/approve"), &headers, Body::empty()).await;
    assert!(text(response).await.contains("no_plan"));
}

#[tokio::test]
async fn nothing_that_others_wrote_is_html_and_nothing_stands_in_the_page() {
    let site = HttpState::new().await;
    let id = site.submit().await;
    for path in ["/".to_owned(), format!("/operations/{id}")] {
        let response = site.get(&path).await;
        let policy = header(&response, "content-security-policy").to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert!(!header(&response, "x-request-id").is_empty());
        let page = text(response).await;
        assert!(!page.contains("<b>kim") && page.contains("&#60;b&#62;kim"), "{page}");
        assert!(page.contains("kim&#60;/b&#62;&lt;U+202E&gt;x"), "{page}");
        assert!(
            !page.contains("style=") && !page.contains("onclick") && !page.contains("<script>"),
            "{page}"
        );
        for asset in page.split('"').filter(|part| part.starts_with("/assets/")) {
            let response = site.send("GET", asset, &[], Body::empty()).await;
            assert_eq!(response.status(), StatusCode::OK, "{asset}");
            assert!(header(&response, "cache-control").contains("immutable"));
        }
    }
    let response = site.send("GET", "/assets/other.js", &[], Body::empty()).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_has_no_room_on_its_node_says_so() {
    let site = HttpState::new().await;
    let id = site.submit().await;
    site.claim(id).await;
    let reason = json!({"code": "disk_full", "message": "no room"});
    let at = "2026-11-23T12:00:00Z";
    let heartbeat = json!({
        "node": "n1", "backend": "main", "version": "0", "at": at, "slots": 1, "waiting": [],
        "running": [{"operation": id, "attempt": 1}], "spool_bytes": 0, "accepting": true,
        "blocked": [{"operation": id, "attempt": 1, "since": at, "reason": reason}],
    });
    site.services.operations.nodes.observe(serde_json::from_value(heartbeat).unwrap());
    let page = text(site.get(&format!("/operations/{id}")).await).await;
    assert!(page.contains(">blocked<"), "{page}");
    assert!(page.contains(&format!(">Blocked on node n1 since {at}: no room (disk_full)<")), "{page}");
    assert!(text(site.get("/").await).await.contains(">blocked<"));
}

#[tokio::test]
async fn the_page_of_what_is_not_there_says_so() {
    let site = HttpState::new().await;
    let response = site.get("/operations/019235f0-7a3c-7def-8000-000000000001").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(text(response).await.contains("no_such_operation"));
    let response = site.get("/?state=green").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    // What a form sends when nothing is chosen.
    assert_eq!(site.get("/?state=&target=").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_problem_leads_to_its_explanation() {
    let site = HttpState::new().await;
    let problem = document(site.send("GET", "/api/v1/nodes", &[], Body::empty()).await).await;
    let path = problem["type"].as_str().unwrap();
    let response = site.send("GET", path, &[], Body::empty()).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    assert!(header(&response, "content-type").starts_with("text/html"));
    let page = text(response).await;
    assert!(
        page.contains("No valid token or cookie.") && page.contains("<code>aegir sign-in</code>"),
        "{page}"
    );
    assert!(!page.contains("already_ended"), "{page}");
    for path in ["/problems", "/problems/nonsense", "/problems/%ff"] {
        let response = site.send("GET", path, &[], Body::empty()).await;
        let expect = if path == "/problems" { StatusCode::OK } else { StatusCode::NOT_FOUND };
        assert_eq!(response.status(), expect, "{path}");
        assert!(text(response).await.contains("href=\"/problems/already_ended\""), "{path}");
    }
}
