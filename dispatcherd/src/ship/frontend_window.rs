//! The window that all attempts of a frontend share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aegir_protocol::limits::FRONTEND_WINDOW;
use aegir_protocol::name::FrontendName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hands out the right to have bytes on the broker. Who asks first gets first, and everybody asks for one
/// chunk at a time, so attempts take turns. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct FrontendWindow {
    windows: Arc<Mutex<HashMap<FrontendName, Arc<Semaphore>>>>,
}

impl FrontendWindow {
    /// Waits for room for so many bytes; the room is given back when the permit is dropped.
    pub async fn acquire(&self, frontend: &FrontendName, bytes: usize) -> OwnedSemaphorePermit {
        let all = usize::try_from(FRONTEND_WINDOW).unwrap_or(Semaphore::MAX_PERMITS);
        let window = {
            let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
            let window = windows.entry(frontend.clone()).or_insert_with(|| Arc::new(Semaphore::new(all)));
            Arc::clone(window)
        };
        let bytes = u32::try_from(bytes.min(all)).unwrap_or(u32::MAX);
        window.acquire_many_owned(bytes).await.expect("nobody closes the semaphore")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_frontend_that_is_full_does_not_hold_up_another() {
        let frontend_window = FrontendWindow::default();
        let (main, other) = ("main".parse().unwrap(), "other".parse().unwrap());
        let all = frontend_window.acquire(&main, usize::MAX).await;
        drop(frontend_window.acquire(&other, 1).await);
        let waiting = tokio::spawn({
            let (frontend_window, main) = (frontend_window.clone(), main);
            async move { frontend_window.acquire(&main, 1).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(all);
        drop(tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap());
    }
}
