//! A commit that comes after what it was answered for: [`Bug::AcknowledgeBeforeCommit`].

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;

use crate::bugs::Bug;

/// How long a commit is put off when nothing else is stored.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// Commits what was answered for before. After a start there is nothing, which SQLite calls an error.
pub(super) async fn commit(connection: &mut SqliteConnection) {
    if Bug::AcknowledgeBeforeCommit.is_awake() {
        let _ = sqlx::query("COMMIT").execute(connection).await;
    }
}
