//! Transcripts as records, as bytes, and as what was printed.

use aegir_protocol::record::Stream;
use axum::http::StatusCode;

use super::{HttpState, bytes, header, problem};

#[tokio::test]
async fn records_come_in_ranges() {
    let site = HttpState::new().await;
    let outputs: Vec<(Stream, &[u8])> =
        vec![(Stream::Stdout, b"a\n"), (Stream::Stderr, b"b\n"), (Stream::Stdout, b"c\n")];
    let (id, lines) = site.finished(&outputs).await;
    assert_eq!(lines.len(), 5);
    for (query, expect) in [
        ("", &lines[..]),
        ("from=3", &lines[2..]),
        ("from=2&limit=2", &lines[1..3]),
        ("tail=0", &[]),
        ("tail=2", &lines[3..]),
        ("tail=99", &lines[..]),
        ("tail=4&limit=1", &lines[1..2]),
        ("from=99", &[]),
        ("attempt=1&from=5", &lines[4..]),
    ] {
        let response = site.get(&format!("/api/v1/operations/{id}/transcript?{query}")).await;
        assert_eq!(header(&response, "content-type"), "application/jsonl");
        assert_eq!(header(&response, "aegir-attempt"), "1");
        assert_eq!(header(&response, "aegir-transcript-complete"), "true");
        assert_eq!(bytes(response).await, expect.concat(), "{query}");
    }
    for offset in [0, 1, 500] {
        let response = site.get(&format!("/api/v1/operations/{id}/transcript/raw?offset={offset}")).await;
        assert_eq!(bytes(response).await, lines.concat()[offset..]);
    }
    let response = site.get(&format!("/api/v1/operations/{id}/transcript?attempt=2")).await;
    assert_eq!(problem(response).await, (404, "no_such_attempt".to_owned(), None));
}

#[tokio::test]
async fn what_was_printed_comes_back_byte_for_byte() {
    let site = HttpState::new().await;
    let noise: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
    // More than one piece of the reader.
    let outputs: Vec<(Stream, &[u8])> = (0..16)
        .map(|index| (if index % 3 == 0 { Stream::Stderr } else { Stream::Stdout }, &noise[index..]))
        .collect();
    let (id, lines) = site.finished(&outputs).await;
    let printed = |stream: Option<Stream>| -> Vec<u8> {
        let chosen = outputs.iter().filter(|(of, _)| stream.is_none_or(|stream| stream == *of));
        chosen.flat_map(|(_, bytes)| bytes.to_vec()).collect()
    };
    let output =
        async |query: &str| bytes(site.get(&format!("/api/v1/operations/{id}/output{query}")).await).await;
    assert_eq!(output("?stream=stdout").await, printed(Some(Stream::Stdout)));
    assert_eq!(output("?stream=stderr&task=1").await, printed(Some(Stream::Stderr)));
    assert_eq!(output("").await, printed(None));
    let response = site.get(&format!("/api/v1/operations/{id}/output?task=2")).await;
    assert_eq!(problem(response).await, (400, "parameter_invalid".to_owned(), None));
    let raw = bytes(site.get(&format!("/api/v1/operations/{id}/transcript/raw")).await).await;
    assert!(raw == lines.concat(), "the raw transcript differs");
}

#[tokio::test]
async fn before_its_start_an_operation_has_an_empty_transcript() {
    let site = HttpState::new().await;
    let id = site.submit().await;
    for path in ["transcript", "transcript/raw", "output"] {
        let response = site.get(&format!("/api/v1/operations/{id}/{path}")).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&response, "aegir-transcript-complete"), "false");
        assert_eq!(bytes(response).await, b""[..]);
    }
}
