//! Adds the Tasks that earlier attempts have finished to an Operation before it is published.

use std::collections::BTreeMap;

use aegir_protocol::limits::MAX_MESSAGE;
use aegir_protocol::message::encode;
use aegir_protocol::operation::{Done, DoneTask, Operation};
use sqlx::Row as _;

use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::rows;

impl Store {
    /// Adds to an Operation what its earlier attempts have finished, as far as a message holds it.
    pub(super) async fn add_done(&self, number: i64, operation: &mut Operation) -> Result<(), StoreError> {
        let done = sqlx::query("SELECT task, attempt, digest FROM done WHERE operation = ?1 ORDER BY task")
            .bind(number)
            .fetch_all(&self.readers)
            .await?;
        let Some(first) = done.first() else { return Ok(()) };
        let digest = first.try_get("digest")?;
        let mut tasks = BTreeMap::new();
        for row in &done {
            let (task, attempt) = (row.try_get("task")?, rows::attempt(row.try_get("attempt")?)?);
            tasks.insert(task, DoneTask { task, attempt, outputs: BTreeMap::new() });
        }
        let outputs = sqlx::query("SELECT task, name, value FROM outputs WHERE operation = ?1")
            .bind(number)
            .fetch_all(&self.readers)
            .await?;
        for row in &outputs {
            let Some(task) = tasks.get_mut(&row.try_get::<u32, _>("task")?) else { continue };
            let name = rows::parse("name", row.try_get("name")?)?;
            let value = rows::read("value", serde_json::from_str(row.try_get("value")?).ok(), "")?;
            task.outputs.insert(name, value);
        }
        operation.done = Some(Done { digest, tasks: tasks.into_values().collect() });
        let bytes = encode(operation).len();
        if bytes > MAX_MESSAGE {
            tracing::warn!(
                operation_id = %operation.id, bytes,
                "what earlier attempts have finished is more than a message holds ({MAX_MESSAGE} bytes): this one \
                 begins from the start"
            );
            operation.done = None;
        }
        Ok(())
    }
}
