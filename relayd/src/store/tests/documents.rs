//! What is kept of what roles hand over.

use aegir_protocol::record::Document;
use serde_json::{Value, json};

use super::*;

/// The beginning of a transcript that hands these values over, one after the other.
fn handing_over(operation: &Operation, values: &[Value]) -> Vec<u8> {
    let mut bytes = transcript(operation, 0).remove(0);
    for (seq, value) in (2..).zip(values) {
        let name = "backup".parse().unwrap();
        let document = Document { task: 1, name, value: value.clone(), sha256: "00".to_owned() };
        bytes.extend(Record::Document(document).to_line(seq, Timestamp::UNIX_EPOCH));
    }
    bytes
}

#[tokio::test]
async fn the_latest_value_is_kept_whichever_comes_last() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Opened::at(&directory.path().join("relayd.db")).await;
    let (early, late) = (operation("a", &[]), operation("a", &[]));
    let dry = Operation { check: true, ..operation("a", &[]) };
    for operation in [&early, &late, &dry] {
        opened.submit(operation).await;
        opened.claim(operation.id).await;
    }
    let kept = async || {
        let list = opened.store.documents(&"site".parse().unwrap(), &"a".parse().unwrap()).await.unwrap();
        list.documents
            .into_iter()
            .map(|one| (one.name.to_string(), one.value, one.operation))
            .collect::<Vec<_>>()
    };
    assert_eq!(kept().await, []);
    for (operation, values) in [(&late, [json!(3), json!({"path": "/b"})]), (&early, [json!(1), json!(2)])] {
        let bytes = handing_over(operation, &values);
        assert_eq!(opened.chunk(operation.id, 0, &bytes).await, Settled::Done);
        assert_eq!(kept().await, [("backup".to_owned(), json!({"path": "/b"}), late.id)]);
    }
    opened.chunk(dry.id, 0, &handing_over(&dry, &[json!(9)])).await;
    assert_eq!(kept().await.len(), 1);
    assert_eq!(kept().await[0].2, late.id, "what a dry run says is not so");
    opened.close().await;
}
