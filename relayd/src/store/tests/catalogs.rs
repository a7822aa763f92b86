//! What is kept of what backends can do.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_catalog_is_kept_as_it_came_for_a_version_that_understands_more_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relayd.db");
    let opened = Opened::at(&path).await;
    let document = json!({
        "backend": "main", "node": "n1", "recipient": "r", "digest": "1", "left_out": {}, "from_the_future": 1,
        "roles": {"strange": {"from_the_future": 1}},
    });
    let catalog = serde_json::from_value(document.clone()).unwrap();
    let ingest = Ingest::Catalog(Box::new(catalog), document.to_string().into());
    assert_eq!(opened.ingest(ingest).await, Settlement::Acknowledge);
    opened.close().await;
    let opened = Opened::at(&path).await;
    let stored: String =
        sqlx::query_scalar("SELECT document FROM catalogs").fetch_one(&opened.store.readers).await.unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&stored).unwrap(), document);
    let catalogs = opened.store.catalogs().await.unwrap();
    assert!(catalogs[0].left_out.contains_key("strange"), "{catalogs:?}");
    opened.close().await;
}
