//! The store's handle.

use std::path::Path;

use sqlx::sqlite::SqlitePool;
use tokio::sync::mpsc;

use super::error::StoreError;
use super::open::{self, OpenError};
use super::tails::Tails;
use super::writer::{Counters, QueuedWrite, StoreWriter, WriteCommand, queue_write};

/// How many commands wait for the writer before callers wait themselves.
const QUEUE: usize = 1024;

/// The store, as everybody but its writer has it.
#[derive(Clone)]
pub struct Store {
    pub(super) readers: SqlitePool,
    jobs: mpsc::Sender<Box<dyn QueuedWrite>>,
    counters: Counters,
}

impl Store {
    /// Opens the database at this path, makes it if there is none, and brings its tables up to date. The
    /// writer is to be [run](StoreWriter::run).
    ///
    /// # Errors
    /// When the file can't be used, or holds what a newer version has written.
    pub async fn open(path: &Path) -> Result<(Self, StoreWriter), OpenError> {
        let (connection, readers) = open::open(path).await?;
        let (sender, jobs) = mpsc::channel(QUEUE);
        let counters = Counters::default();
        let store = Self { readers, jobs: sender, counters: counters.clone() };
        let path = path.to_owned();
        let tails = Tails::default();
        Ok((store, StoreWriter { path, connection: Some(connection), jobs, tails, counters }))
    }

    /// Writes, and answers once that is committed.
    ///
    /// # Errors
    /// When it is not stored.
    pub async fn write<C: WriteCommand + Sync>(&self, command: C) -> Result<C::Answer, StoreError> {
        let (job, answer) = queue_write(command);
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// What the writer has done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Closes the readers' connections; do so before the writer ends.
    pub async fn close_readers(&self) {
        self.readers.close().await;
    }
}
