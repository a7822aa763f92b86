//! Waiting for files to change, without polling: one inotify instance for a whole daemon.
//!
//! There is no task behind it. Of all that wait, one reads the events and wakes the others; when it stops
//! waiting, the next takes its place. While nobody waits, events stay in the kernel.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Tells when files change. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FileWatcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inotify: AsyncFd<OwnedFd>,
    /// By watch descriptor. The kernel gives the same one to all that watch the same file.
    watched: Mutex<HashMap<i32, watch::Sender<()>>>,
    /// Held by the one that reads the events.
    turn: tokio::sync::Mutex<()>,
}

/// What happens to one file or directory, from the moment the watch was set.
#[derive(Debug)]
pub struct FileChanges {
    shared: Arc<Shared>,
    descriptor: i32,
    seen: watch::Receiver<()>,
}

/// Why a file can't be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No inotify instance.
    #[error("can't set up inotify; if too many are open, raise fs.inotify.max_user_instances")]
    Setup(#[source] io::Error),
    /// This file can't be watched.
    #[error("can't watch {path}; if no space is left, raise fs.inotify.max_user_watches")]
    Watch { path: PathBuf, source: io::Error },
    /// Events can't be read any more.
    #[error("can't read inotify events")]
    Read(#[source] io::Error),
}

impl FileWatcher {
    /// Sets up inotify, within a tokio runtime that has I/O.
    ///
    /// # Errors
    /// When this user has too many instances, which is the usual cause.
    pub fn new() -> Result<Self, WatchError> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(|errno| WatchError::Setup(errno.into()))?;
        #[expect(
            deprecated,
            reason = "the new form is an unsafe fn, for types that could swap the descriptor; \
            an OwnedFd can't"
        )]
        let inotify = AsyncFd::with_interest(inotify, Interest::READABLE).map_err(WatchError::Setup)?;
        let shared =
            Shared { inotify, watched: Mutex::new(HashMap::new()), turn: tokio::sync::Mutex::new(()) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Watches a file's content. Set the watch first and read then: nothing is missed in between.
    ///
    /// # Errors
    /// When it does not exist or can't be watched.
    pub fn watch_file(&self, path: &Path) -> Result<FileChanges, WatchError> {
        self.watch(path, WatchFlags::MODIFY)
    }

    /// Watches a directory for files that are made in it, moved into it, closed after writing, or taken away.
    ///
    /// # Errors
    /// When it does not exist, is no directory, or can't be watched.
    pub fn watch_directory(&self, path: &Path) -> Result<FileChanges, WatchError> {
        let made = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE;
        let taken = WatchFlags::DELETE | WatchFlags::MOVED_FROM;
        self.watch(path, made | taken | WatchFlags::ONLYDIR)
    }

    /// Waits until there is a file at `path`. Its directory must exist.
    ///
    /// # Errors
    /// When the directory can't be watched or read.
    pub async fn wait_for_file(&self, path: &Path) -> Result<(), WatchError> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut changes = self.watch_directory(directory.unwrap_or(Path::new(".")))?;
        let failed = |source| WatchError::Watch { path: path.to_owned(), source };
        while !path.try_exists().map_err(failed)? {
            changes.changed().await?;
        }
        Ok(())
    }

    fn watch(&self, path: &Path, flags: WatchFlags) -> Result<FileChanges, WatchError> {
        // The lock is held over the system call, so that a watch that is just being given up is not handed out.
        let mut watched = self.shared.watched();
        let descriptor = inotify::add_watch(self.shared.inotify.get_ref(), path, flags)
            .map_err(|errno| WatchError::Watch { path: path.to_owned(), source: errno.into() })?;
        let seen = watched.entry(descriptor).or_insert_with(|| watch::Sender::new(())).subscribe();
        drop(watched);
        Ok(FileChanges { shared: Arc::clone(&self.shared), descriptor, seen })
    }
}

impl Shared {
    fn watched(&self) -> MutexGuard<'_, HashMap<i32, watch::Sender<()>>> {
        // The map is whole at every point where a panic could happen.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn to read, then reads events for all. Ends only with an error.
    async fn read_events(&self) -> io::Error {
        let _turn = self.turn.lock().await;
        loop {
            let mut ready = match self.inotify.readable().await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            match self.dispatch() {
                Ok(()) => ready.clear_ready(),
                Err(error) => return error,
            }
        }
    }

    /// Reads the events that are there and wakes those whom they concern.
    fn dispatch(&self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        loop {
            let (descriptor, flags) = match events.next() {
                Ok(event) => (event.wd(), event.events()),
                Err(Errno::WOULDBLOCK) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let watched = self.watched();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                // Which events were lost is not known, so everybody looks again.
                watched.values().for_each(|changes| changes.send_replace(()));
            } else if let Some(changes) = watched.get(&descriptor) {
                changes.send_replace(());
            }
        }
    }
}

impl FileChanges {
    /// Waits until something has changed since this was last waited for. Many changes may be told as one, and
    /// one that the caller has seen already may be told again. May be dropped at any point without a loss.
    ///
    /// # Errors
    /// When events can't be read.
    pub async fn changed(&mut self) -> Result<(), WatchError> {
        tokio::select! {
            biased;
            seen = self.seen.changed() => {
                seen.expect("the sender stays in the map while anybody watches");
                Ok(())
            }
            error = self.shared.read_events() => Err(WatchError::Read(error)),
        }
    }
}

impl Drop for FileChanges {
    fn drop(&mut self) {
        let mut watched = self.shared.watched();
        let last = watched.get(&self.descriptor).is_some_and(|changes| changes.receiver_count() == 1);
        if last {
            watched.remove(&self.descriptor);
            // It fails when the file is gone and its watch with it.
            let _ = inotify::remove_watch(self.shared.inotify.get_ref(), self.descriptor);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn wakes_all_that_watch_and_only_them() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        let mut file = fs::File::create(&one).unwrap();
        fs::write(&two, "").unwrap();
        let watcher = FileWatcher::new().unwrap();
        let mut first = watcher.watch_file(&one).unwrap();
        let mut again = watcher.watch_file(&one).unwrap();
        let mut other = watcher.watch_file(&two).unwrap();
        file.write_all(b"x").unwrap();
        let both = async {
            let (first, again) = tokio::join!(first.changed(), again.changed());
            first.unwrap();
            again.unwrap();
        };
        tokio::select! {
            biased;
            _ = other.changed() => panic!("nothing happened to the other"),
            all = timeout(SOON, both) => all.unwrap(),
        }
    }

    #[tokio::test]
    async fn a_change_before_the_wait_is_not_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut file = fs::File::create(&path).unwrap();
        let mut changes = FileWatcher::new().unwrap().watch_file(&path).unwrap();
        for _ in 0..100 {
            file.write_all(b"x").unwrap();
        }
        timeout(SOON, changes.changed()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn another_takes_over_when_the_one_that_reads_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut file = fs::File::create(&path).unwrap();
        let watcher = FileWatcher::new().unwrap();
        let mut reads = watcher.watch_file(&path).unwrap();
        let mut waits = watcher.watch_file(&path).unwrap();
        let reader = tokio::spawn(async move { reads.changed().await });
        tokio::task::yield_now().await;
        let waiter = tokio::spawn(async move { waits.changed().await });
        tokio::task::yield_now().await;
        reader.abort();
        assert!(reader.await.unwrap_err().is_cancelled());
        file.write_all(b"x").unwrap();
        timeout(SOON, waiter).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_moved_in_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cancel.json");
        let watcher = FileWatcher::new().unwrap();
        let wait = tokio::spawn({
            let path = path.clone();
            async move { watcher.wait_for_file(&path).await }
        });
        tokio::task::yield_now().await;
        let temporary = directory.path().join("temporary");
        fs::write(&temporary, "{}").unwrap();
        assert!(!wait.is_finished());
        fs::rename(&temporary, &path).unwrap();
        timeout(SOON, wait).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn watches_are_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        let watcher = FileWatcher::new().unwrap();
        let (one, two) = (watcher.watch_file(&path).unwrap(), watcher.watch_file(&path).unwrap());
        drop(one);
        assert_eq!(watcher.shared.watched().len(), 1);
        drop(two);
        assert_eq!(watcher.shared.watched().len(), 0);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut changes = watcher.watch_file(&path).unwrap();
        file.write_all(b"x").unwrap();
        timeout(SOON, changes.changed()).await.unwrap().unwrap();
    }
}
