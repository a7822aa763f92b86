//! What is kept of what roles hand over.

use aegir_protocol::record::Document;
use serde_json::{Value, json};

use super::*;

/// The beginning of a transcript that hands these values over, one after the other.
fn handing_over(operation: &Operation, values: &[(&str, Value)]) -> Vec<u8> {
    let mut bytes = transcript(operation, 0).remove(0);
    for (seq, (name, value)) in (2..).zip(values) {
        let name = name.parse().unwrap();
        let document = Document {
            task: 1,
            name,
            entity: None,
            value: value.clone(),
            sha256: "00".to_owned(),
            fresh_seconds: None,
        };
        bytes.extend(Record::Document(document).to_line(seq, Timestamp::UNIX_EPOCH));
    }
    bytes
}

/// What is kept for the site `a`.
async fn kept(opened: &Opened) -> Vec<(String, Value, OperationId)> {
    let list = opened.store.documents(&"site".parse().unwrap(), &"a".parse().unwrap()).await.unwrap();
    list.documents.into_iter().map(|one| (one.name.to_string(), one.value, one.operation)).collect()
}

#[tokio::test]
async fn what_was_granted_later_is_kept_whichever_comes_last() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Opened::at(&directory.path().join("relayd.db")).await;
    // Whoever was asked for first need not have run first.
    let (late, early) = (operation("a", &[]), operation("a", &[]));
    let dry = Operation { dry_run: true, ..operation("a", &[]) };
    for operation in [&late, &early, &dry] {
        opened.submit(operation).await;
    }
    for operation in [&early, &late, &dry] {
        opened.claim(operation.id).await;
    }
    assert_eq!(kept(&opened).await, []);
    let backup = |value: Value| ("backup", value);
    let latest = [("backup".to_owned(), json!({"path": "/b"}), late.id)];
    for (operation, first, second) in
        [(&late, json!(3), json!({"path": "/b"})), (&early, json!(1), json!(2)), (&dry, json!(8), json!(9))]
    {
        let bytes = handing_over(operation, &[backup(first), backup(second)]);
        assert_eq!(opened.chunk(operation.id, 0, &bytes).await, Settlement::Acknowledge);
        assert_eq!(kept(&opened).await, latest, "after {}", operation.id);
    }
    opened.close().await;
}

#[tokio::test]
async fn a_target_has_a_hundred_at_most_and_those_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (opened, operation) = claimed(&directory.path().join("relayd.db")).await;
    let names: Vec<_> = (0..120).map(|n| format!("d{n:03}")).collect();
    let mut values: Vec<_> = names.iter().map(|name| (name.as_str(), json!(1))).collect();
    let bytes = handing_over(&operation, &values);
    assert_eq!(opened.chunk(operation.id, 0, &bytes).await, Settlement::Acknowledge);
    values.push(("d000", json!(2)));
    let more = &handing_over(&operation, &values)[bytes.len()..];
    assert_eq!(opened.chunk(operation.id, bytes.len(), more).await, Settlement::Acknowledge);
    let kept = kept(&opened).await;
    assert_eq!(kept.len(), 100);
    assert_eq!(kept[0], ("d000".to_owned(), json!(2), operation.id));
    opened.close().await;
}
