//! Errors that say nothing against what was tried.

use std::io;

use aegir_protocol::code::Code;

/// Whether there is no room left: on the disk, or in the user's share of it.
#[must_use]
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error says nothing against what was tried, only that the machine can't do it now: a full or read-only
/// file system, too many open files. What meets it waits, however long, and loses nothing.
#[must_use]
pub fn is_transient(error: &io::Error) -> bool {
    let too_many_open = error.raw_os_error().is_some_and(|code| {
        [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].iter().any(|errno| errno.raw_os_error() == code)
    });
    is_disk_full(error) || error.kind() == io::ErrorKind::ReadOnlyFilesystem || too_many_open
}

/// The code of what could not be begun because of this error. With [`Code::DiskFull`] it is begun when there is room.
#[must_use]
pub fn code(error: &io::Error) -> Code {
    if is_transient(error) { Code::DiskFull } else { Code::RunnerFailed }
}
