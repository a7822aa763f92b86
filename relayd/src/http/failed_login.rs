//! What happens when a token or a sign-in link is wrong.

use std::time::Duration;

/// How long the answer takes.
const PAUSE: Duration = Duration::from_millis(500);

/// Logs it, and waits: who guesses gets nowhere.
pub(super) async fn failed_login(what: &'static str) {
    tracing::warn!("{what}");
    tokio::time::sleep(PAUSE).await;
}
