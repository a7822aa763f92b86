//! The role `minion`.

use serde_json::{Map, Value, json};

use crate::play::play;

fn variables(free_space: u64) -> Map<String, Value> {
    Map::from_iter([("free_space".to_owned(), json!(free_space))])
}

#[tokio::test]
async fn a_host_says_what_it_is_and_nothing_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let played = play(directory.path(), "minion", "verify", &variables(1), &json!({}), &[]).await;
    let output = played.changes(false);
    for part in ["\"python\": \"3.", "\"root\": ", "\"free_megabytes\": "] {
        assert!(output.contains(part), "{part} is not in {output}");
    }
}

#[tokio::test]
async fn a_host_without_enough_space_is_not_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let much = variables(1_000_000_000);
    play(directory.path(), "minion", "verify", &much, &json!({}), &["--check"])
        .await
        .refuses("less than the");
}
