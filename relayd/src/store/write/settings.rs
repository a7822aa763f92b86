//! What relayd keeps for itself.

use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::writer::WriteCommand;

/// Keeps a value under a name.
#[derive(Debug)]
pub struct PutSetting {
    pub name: &'static str,
    /// The value.
    pub value: Vec<u8>,
    /// Whether one that is there already stays.
    pub first_wins: bool,
}

impl WriteCommand for PutSetting {
    type Answer = ();

    async fn apply(&self, batch: &mut Batch) -> Result<(), StoreError> {
        let statement = if self.first_wins {
            "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING"
        } else {
            "INSERT INTO settings (name, value) VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        };
        sqlx::query(statement).bind(self.name).bind(&self.value).execute(&mut batch.connection).await?;
        Ok(())
    }
}
