//! Opening the database file.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};

use super::error::StoreError;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How many readers work at the same time.
const READERS: u32 = 4;

/// Why the store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file can't be opened or made.
    #[error(
        "can't open the store {path}: {error}; check that the directory exists and relayd may write there"
    )]
    File {
        /// Which file.
        path: String,
        /// What SQLite says.
        #[source]
        error: sqlx::Error,
    },
    /// The tables can't be made or brought up to date.
    #[error("can't bring the tables of the store {path} up to date: {error}")]
    Migrate {
        /// Which file.
        path: String,
        /// What went wrong.
        #[source]
        error: MigrateError,
    },
    /// What relayd keeps there can't be read.
    #[error("can't read the store {path}: {error}")]
    Read {
        /// Which file.
        path: String,
        /// What went wrong.
        #[source]
        error: StoreError,
    },
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
        .disable_statement_logging()
}

/// The one connection that writes.
pub(super) async fn writer(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    // A file that has gone while relayd ran is not made anew: an empty store would refuse all that nodes send.
    let options = options(path)
        .create_if_missing(false)
        .page_size(8192)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledgement to the broker follows each commit: a commit must survive a loss of power.
        .synchronous(SqliteSynchronous::Full);
    SqliteConnection::connect_with(&options).await
}

/// Makes the file, if there is none, for its owner only. SQLite gives its companions the same mode.
fn private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

/// The database with its tables up to date: the writer's connection, and those that read.
pub(super) async fn open(path: &Path) -> Result<(SqliteConnection, SqlitePool), OpenError> {
    let shown = || path.display().to_string();
    private(path).map_err(|error| OpenError::File { path: shown(), error: sqlx::Error::Io(error) })?;
    let mut connection = writer(path).await.map_err(|error| OpenError::File { path: shown(), error })?;
    MIGRATIONS.run(&mut connection).await.map_err(|error| OpenError::Migrate { path: shown(), error })?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(10))
        .test_before_acquire(false)
        // A reader of a transcript stops after some chunks; by default SQLite would read fifty of them ahead.
        .connect_with(options(path).read_only(true).row_buffer_size(1))
        .await
        .map_err(|error| OpenError::File { path: shown(), error })?;
    Ok((connection, readers))
}
