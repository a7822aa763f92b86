//! The one task that writes, with group commit.
//!
//! It takes all that waits into one transaction, commits, runs the effects, then answers everybody. Under
//! load a sync of the disk is shared by as many as wait for it.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use prometheus_client::metrics::counter::Counter;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::effects::{AfterCommit, CommitEffects};
use super::error::StoreError;
use super::open;
use super::tails::Tails;

/// The most commands in one transaction.
const MAX_COMMANDS: usize = 512;
/// The most bytes of payload in one transaction.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Something to write. It may be applied more than once, each time in a transaction of its own, if an earlier
/// one was rolled back.
pub trait WriteCommand: Send + 'static {
    /// What the caller gets once it is committed.
    type Answer: Send + 'static;

    /// About how many bytes it writes.
    fn size(&self) -> usize {
        0
    }

    /// Writes it.
    fn apply(&self, batch: &mut Batch) -> impl Future<Output = Result<Self::Answer, StoreError>> + Send;
}

/// A command on its way to the writer.
pub(super) trait QueuedWrite: Send {
    fn size(&self) -> usize;
    fn apply<'a>(&'a mut self, batch: &'a mut Batch) -> BoxFuture<'a, Result<(), StoreError>>;
    fn settle(self: Box<Self>, result: Result<(), StoreError>);
}

struct Waiting<C: WriteCommand> {
    command: C,
    answer: Option<C::Answer>,
    caller: oneshot::Sender<Result<C::Answer, StoreError>>,
}

impl<C: WriteCommand + Sync> QueuedWrite for Waiting<C> {
    fn size(&self) -> usize {
        self.command.size()
    }

    fn apply<'a>(&'a mut self, batch: &'a mut Batch) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.answer = Some(self.command.apply(batch).await?);
            Ok(())
        })
    }

    fn settle(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { answer, caller, .. } = *self;
        let answer = result.and_then(|()| answer.ok_or(StoreError::Closed));
        // A caller that has gone away does not want to know.
        let _ = caller.send(answer);
    }
}

/// What a caller waits for.
pub(super) type Answered<A> = oneshot::Receiver<Result<A, StoreError>>;

pub(super) fn queue_write<C: WriteCommand + Sync>(command: C) -> (Box<dyn QueuedWrite>, Answered<C::Answer>) {
    let (caller, answer) = oneshot::channel();
    (Box::new(Waiting { command, answer: None, caller }), answer)
}

/// Counts what the writer does. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Transactions committed.
    pub commits: Counter,
    /// Transactions that failed.
    pub failures: Counter,
    /// Transcript bytes stored.
    pub transcript_bytes: Counter,
}

/// The writer.
pub struct StoreWriter {
    pub(super) path: PathBuf,
    pub(super) connection: Option<SqliteConnection>,
    pub(super) jobs: mpsc::Receiver<Box<dyn QueuedWrite>>,
    pub(super) tails: Tails,
    pub(super) counters: Counters,
}

impl StoreWriter {
    /// Writes until `cancel`, then what had been handed over by then, and closes the file.
    pub async fn run(mut self, after: Arc<dyn AfterCommit>, cancel: CancellationToken) {
        loop {
            let first = tokio::select! {
                biased;
                job = self.jobs.recv() => job,
                () = cancel.cancelled(), if !self.jobs.is_closed() => {
                    self.jobs.close();
                    continue;
                }
            };
            let Some(first) = first else { break };
            let jobs = self.gather(first);
            self.write(jobs, &*after).await;
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(error = %error, "the store did not close cleanly; nothing is lost by that");
        }
    }

    /// The first job and all that wait behind it, as far as they fit one transaction.
    fn gather(&mut self, first: Box<dyn QueuedWrite>) -> Vec<Box<dyn QueuedWrite>> {
        let mut bytes = first.size();
        let mut jobs = vec![first];
        while jobs.len() < MAX_COMMANDS && bytes < MAX_BYTES {
            let Ok(job) = self.jobs.try_recv() else { break };
            bytes += job.size();
            jobs.push(job);
        }
        jobs
    }

    async fn write(&mut self, mut jobs: Vec<Box<dyn QueuedWrite>>, after: &dyn AfterCommit) {
        match self.transaction(&mut jobs, after).await {
            Ok(()) => settle(jobs, &Ok(())),
            // One of them has met a fault of this program. It must not take the others down with it.
            Err(error) if !error.is_transient() && jobs.len() > 1 => {
                tracing::error!(error = %error, "a command failed; each of its transaction is tried alone");
                for job in jobs {
                    let mut alone = vec![job];
                    let result = self.transaction(&mut alone, after).await;
                    settle(alone, &result);
                }
            }
            Err(error) => {
                tracing::error!(error = %error, commands = jobs.len(), "nothing could be stored");
                settle(jobs, &Err(error));
            }
        }
    }

    async fn transaction(
        &mut self,
        jobs: &mut [Box<dyn QueuedWrite>],
        after: &dyn AfterCommit,
    ) -> Result<(), StoreError> {
        let result = self.try_transaction(jobs).await;
        match result {
            Ok(effects) => {
                self.counters.commits.inc();
                after.committed(effects);
                Ok(())
            }
            Err(error) => {
                self.counters.failures.inc();
                Err(error)
            }
        }
    }

    /// After an error the connection is dropped, which rolls back: SQLite has done so itself after some
    /// errors and not after others, and a new connection has no such doubt.
    async fn try_transaction(
        &mut self,
        jobs: &mut [Box<dyn QueuedWrite>],
    ) -> Result<CommitEffects, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => open::writer(&self.path).await?,
        };
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await?;
        let mut batch = Batch::new(connection, std::mem::take(&mut self.tails));
        let mut result = Ok(());
        for job in jobs {
            result = job.apply(&mut batch).await;
            if result.is_err() {
                break;
            }
        }
        let (mut connection, tails, touched, effects, transcript_bytes) = batch.into_parts();
        self.tails = tails;
        result?;
        sqlx::query("COMMIT").execute(&mut connection).await?;
        self.connection = Some(connection);
        self.tails.keep(touched);
        self.counters.transcript_bytes.inc_by(transcript_bytes);
        Ok(effects)
    }
}

fn settle(jobs: Vec<Box<dyn QueuedWrite>>, result: &Result<(), StoreError>) {
    for job in jobs {
        job.settle(result.clone());
    }
}
